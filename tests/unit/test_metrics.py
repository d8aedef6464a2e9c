"""Metrics: rtpengine's names and labels, numbers that are the relay's own, and nothing that is not known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rtprelay.observe.families import CATALOGUE, GLOBAL, INTERFACE, Kind
from rtprelay.observe.metrics import Metrics, Sources
from tests.unit.wire_examples import exchanges, metrics

Sample = tuple[str, tuple[tuple[str, str], ...]]


def seen_statistics() -> dict[str, Any]:
    """rtpengine's own reply to `statistics`."""
    (answer,) = [received for sent, received in exchanges() if b'"statistics"' in sent]
    found: dict[str, Any] = json.loads(answer.partition(b" ")[2])["statistics"]
    return found


def scrape(
    statistics: Mapping[str, Any],
    prefix: str = "rtpengine_",
    counts: Mapping[str, int] | None = None,
    connections: Callable[[], int] = lambda: 0,
) -> str:
    sources = Sources(
        statistics=lambda: statistics,
        data_plane=lambda: counts or {},
        internal=dict,
        turned_away=dict,
        connections=connections,
    )
    body, content_type = Metrics(sources, prefix).render()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    return body.decode()


def samples(text: str) -> dict[Sample, float]:
    """By name and labels."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? ([-+.\deE]+)", line)
        if match is not None:
            labels = tuple(sorted(re.findall(r'(\w+)="([^"]*)"', match[2] or "")))
            found[match[1], labels] = float(match[3])
    return found


def test_a_dashboard_made_for_rtpengine_finds_its_series() -> None:
    """From rtpengine's statistics we make what rtpengine itself made of them, as far as it was recorded."""
    theirs, ours = samples(metrics()), samples(scrape(seen_statistics()))
    assert len(theirs) > 100
    # Requests that nobody made have no series here.
    assert {sample for sample in theirs if "_request" not in sample[0]} <= ours.keys()
    assert {name for name, _ in theirs} <= {name for name, _ in ours}
    # The two were asked for seconds apart: what did not move meanwhile is the same.
    still = [sample for sample in theirs if not re.search("uptime|request|errors_total|ports|sessions$", sample[0])]
    assert len(still) > 60
    assert {sample: ours[sample] for sample in still} == {sample: theirs[sample] for sample in still}


def test_every_sample_is_of_a_family_in_the_catalogue() -> None:
    known = {family.name: family for family in CATALOGUE}
    assert len(known) == len(CATALOGUE)
    text = scrape(seen_statistics(), prefix="x_", counts={"drop_source": 3})
    for name, labels in samples(text):
        if name.startswith("x_"):
            assert tuple(label for label, _ in labels) == tuple(sorted(known[name.removeprefix("x_")].labels))


def test_a_prometheus_client_understands_the_text() -> None:
    families = list(text_string_to_metric_families(scrape(seen_statistics())))
    kinds = {(sample.name, family.type) for family in families for sample in family.samples}
    assert {
        ("rtpengine_sessions", "gauge"),
        ("rtpengine_sessions_total", "counter"),
        ("rtpengine_packets_total", "counter"),
        ("rtpengine_rtp_skips", "unknown"),
        ("process_cpu_seconds_total", "counter"),
    } <= kinds


def test_counters_end_in_total_and_nothing_else_does() -> None:
    assert all((family.kind is Kind.COUNTER) == family.name.endswith("_total") for family in CATALOGUE)


def test_what_the_relay_does_not_know_is_not_said() -> None:
    text = scrape({"currentstatistics": {"sessionsown": 7}})
    assert samples(text)["rtpengine_sessions", (("type", "own"),)] == 7
    assert "foreign" not in text
    assert "rtpengine_packets_total" not in text
    assert samples(scrape({}))["rtpengine_control_connections", ()] == 0


def test_numbers_are_read_at_each_scrape() -> None:
    connections = iter([1, 2])
    sources = Sources(
        statistics=dict, data_plane=dict, internal=dict, turned_away=dict, connections=lambda: next(connections)
    )
    rendered = Metrics(sources)
    seen = [samples(rendered.render()[0].decode())["rtpengine_control_connections", ()] for _ in range(2)]
    assert seen == [1, 2]


def test_counters_by_name_become_labels() -> None:
    found = samples(scrape({}, counts={"drop_source": 3, "punt_stun": 2**40}))
    assert found["rtpengine_data_plane_total", (("reason", "drop_source"),)] == 3
    assert found["rtpengine_data_plane_total", (("reason", "punt_stun"),)] == 2**40


def test_a_name_from_the_wire_cannot_forge_a_line() -> None:
    forged = 'a"} 1\nrtpengine_sessions{type="own'
    text = scrape({"controlstatistics": {"proxies": [{"proxy": forged, "errorcount": 1}]}})
    (line,) = [line for line in text.splitlines() if line.startswith("rtpengine_errors_total")]
    assert line == 'rtpengine_errors_total{proxy="a\\"} 1\\nrtpengine_sessions{type=\\"own"} 1.0'


def test_requests_are_counted_by_proxy_and_name() -> None:
    proxies = [{"proxy": "192.0.2.1", "offercount": 3, "offerduration": "0.25", "answercount": 0, "errorcount": 2}]
    found = samples(scrape({"controlstatistics": {"proxies": proxies}}))
    offers = (("proxy", "192.0.2.1"), ("request", "offer"))
    assert found["rtpengine_requests_total", offers] == 3
    assert found["rtpengine_request_seconds_total", offers] == 0.25
    assert found["rtpengine_errors_total", (("proxy", "192.0.2.1"),)] == 2
    assert not [sample for sample in found if ("request", "answer") in sample[1]]


@pytest.mark.parametrize("row", [*GLOBAL, *INTERFACE], ids=lambda row: row.family.name)
def test_the_labels_of_a_row_are_those_of_its_family(row: Any) -> None:
    own = set(row.family.labels) - ({"name", "address"} if row in INTERFACE else set())
    assert all(set(labels) == own for labels in row.keys.values())
