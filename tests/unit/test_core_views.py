"""What `query`, `delete` and `statistics` show of a call, key by key as rtpengine's users read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtprelay.plan.flow import FlowReport, OutputReport, SsrcReport
from rtprelay.plan.quality import Heard, hearing
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import INSIDE, RELAY, WALL, A, B, Stage, at, receiver_report, rtp, sdp
from tests.unit.wire_examples import reply_to


def shape(value: Any) -> Any:
    """The keys in their order and the types of their values; of a list its first item."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value)


def example_reply(part: bytes) -> Any:
    return json.loads(reply_to(part).split(b" ", 1)[1])


def talked(stage: Stage) -> tuple[Endpoint, Endpoint]:
    """A call in which both parties have spoken."""
    facing_a, facing_b = stage.call(call_id=CallId("c1"))
    stage.stream(facing_a, at(f"{A}:4000"), 5, ssrc=4660)
    stage.stream(facing_b, at(f"{B}:4002"), 5, ssrc=4661)
    return facing_a, facing_b


def report(local: Endpoint, **fields: Any) -> FlowReport:
    known = {"packets": 0, "bytes": 0, "dropped": 0, "punted": 0, "rtcp_packets": 0, "rtcp_bytes": 0}
    return FlowReport(local=local, **{**known, "last_packet": 0.0, "spoken": False, **fields})


def statistics(stage: Stage) -> dict[str, Any]:
    body: dict[str, Any] = stage.ask(CommandName.STATISTICS)["statistics"]
    return body


# --- query ---


def test_a_query_has_the_keys_of_rtpengines_reply_in_their_order() -> None:
    stage = Stage()
    talked(stage)
    body = stage.ask(CommandName.QUERY, call_id=CallId("c1"))
    example = example_reply(b'"query", "call-id": "c1"')
    for tags in (body["tags"], example["tags"]):
        tags["f"] = tags.pop("a", None) or tags.pop("f")
        tags["t"] = tags.pop("b", None) or tags.pop("t")
    assert shape(body) == shape(example)


def test_a_query_counts_what_each_stream_got_and_was_sent() -> None:
    stage = Stage()
    facing_a, facing_b = talked(stage)
    stage.stream(facing_a, at(f"{A}:4000"), 2, first=6, ssrc=4660)
    body = stage.ask(CommandName.QUERY, call_id=CallId("c1"))
    rtp_of_a = body["tags"]["a"]["medias"][0]["streams"][0]
    assert rtp_of_a["stats"] == {"packets": 7, "bytes": 7 * 172, "errors": 0}
    assert rtp_of_a["stats_out"] == {"packets": 5, "bytes": 5 * 172, "errors": 0}
    assert (rtp_of_a["local port"], rtp_of_a["SSRC"]) == (facing_a.port, 4660)
    assert body["totals"]["RTP"] == {"packets": 12, "bytes": 12 * 172, "errors": 0}
    assert body["SSRC"]["4661"]["last RTP seq"] == 5
    media = body["tags"]["b"]["medias"][0]
    assert [entry["SSRC"] for entry in media["ingress SSRCs"]] == [4661]
    assert [entry["SSRC"] for entry in media["egress SSRCs"]] == [4660]
    assert facing_b.port == media["streams"][0]["local port"]


def test_totals_tell_rtp_from_rtcp() -> None:
    stage = Stage()
    for rtp_port in stage.call():
        rtcp_port = rtp_port.with_port(rtp_port.port + 1)
        stage.reports[rtp_port] = report(rtp_port, packets=10, bytes=1000, dropped=1)
        stage.reports[rtcp_port] = report(rtcp_port, packets=2, bytes=100, rtcp_packets=2, rtcp_bytes=100)
    assert stage.ask(CommandName.QUERY)["totals"] == {
        "RTP": {"packets": 20, "bytes": 2000, "errors": 2},
        "RTCP": {"packets": 4, "bytes": 200, "errors": 0},
    }


def test_times_are_seconds_since_1970() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    began = stage.now
    stage.wait(10)
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    body = stage.ask(CommandName.QUERY)
    assert body["created"] == int(WALL + began)
    assert body["created_ts"] == body["created"] * 1_000_000 + body["created_us"]
    stream = body["tags"]["a"]["medias"][0]["streams"][0]
    assert stream["last packet"] == stream["last user packet"] == int(WALL + began + 10)
    assert stream["last kernel packet"] == 0


def test_a_stream_tells_where_it_sends_and_what_the_sdp_named() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.stream(facing_a, at("203.0.113.200:7000"), 8)
    stream = stage.ask(CommandName.QUERY)["tags"]["a"]["medias"][0]["streams"][0]
    assert stream["endpoint"] == {"family": "IPv4", "address": "203.0.113.200", "port": 7000}
    assert stream["advertised endpoint"] == {"family": "IPv4", "address": A, "port": 4000}


@pytest.mark.parametrize(
    ("in_kernel", "flags"),
    [
        (True, ["RTP", "filled", "confirmed", "kernelized"]),
        (False, ["RTP", "filled", "confirmed", "no kernel support"]),
    ],
)
def test_the_flags_of_a_stream_say_how_it_is_forwarded(in_kernel: bool, flags: list[str]) -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.reports[facing_a] = report(facing_a, packets=1, spoken=True, in_kernel=in_kernel, last_packet=stage.now)
    assert stage.ask(CommandName.QUERY)["tags"]["a"]["medias"][0]["streams"][0]["flags"] == flags


def test_kernel_and_user_packets_are_told_apart() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.reports[facing_a] = report(facing_a, packets=9, kernel_packets=9, last_packet=stage.now, in_kernel=True)
    stream = stage.ask(CommandName.QUERY)["tags"]["a"]["medias"][0]["streams"][0]
    assert (stream["last kernel packet"], stream["last user packet"]) == (int(WALL + stage.now), 0)


def test_rtcp_on_a_shared_port_is_counted_as_rtcp() -> None:
    stage = Stage()
    facing_a, _ = stage.call(sdp(A, 4000, "a=rtcp-mux"), sdp(B, 4002, "a=rtcp-mux"))
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.receive(facing_a, at(f"{A}:4000"), receiver_report())
    body = stage.ask(CommandName.QUERY)
    assert body["totals"] == {
        "RTP": {"packets": 1, "bytes": 172, "errors": 0},
        "RTCP": {"packets": 1, "bytes": 8, "errors": 0},
    }
    media = body["tags"]["a"]["medias"][0]
    assert "rtcp-mux" in media["flags"]
    assert media["streams"][1]["local port"] == facing_a.port


@pytest.mark.parametrize(
    ("direction", "flags"),
    [
        ("sendrecv", ["initialized", "send", "recv"]),
        ("sendonly", ["initialized", "recv"]),
        ("recvonly", ["initialized", "send"]),
        ("inactive", ["initialized"]),
    ],
)
def test_a_medias_direction_is_shown_from_the_relays_side(direction: str, flags: list[str]) -> None:
    stage = Stage()
    stage.offer(sdp(A, 4000, f"a={direction}"))
    assert stage.ask(CommandName.QUERY)["tags"]["a"]["medias"][0]["flags"] == flags


def test_tags_tell_who_gets_whose_media() -> None:
    stage = Stage()
    stage.call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    tags = stage.ask(CommandName.QUERY)["tags"]
    assert tags["a"]["subscriptions"] == [{"tag": "b", "type": "offer/answer"}]
    assert tags["a"]["subscribers"] == [{"tag": "b", "type": "offer/answer"}, {"tag": "s", "type": "pub/sub"}]
    assert tags["s"]["subscriptions"] == [{"tag": "a", "type": "pub/sub"}]


def test_a_subscribers_stream_is_shown_under_its_own_ssrc() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp("198.51.100.11", 6000), to_tag=Tag("s"))
    sent = stage.receive(facing_a, at(f"{A}:4000"), rtp(1, ssrc=4660))
    ssrcs = {int.from_bytes(packet[8:12]) for _, packet, where in sent if where.port == 6000}
    (entry,) = stage.ask(CommandName.QUERY)["tags"]["s"]["medias"][0]["egress SSRCs"]
    assert {entry["SSRC"]} == ssrcs != {4660}


def test_branches_labels_and_metadata_are_shown() -> None:
    stage = Stage()
    stage.offer(sdp(A), via_branch="x1", label="caller", metadata="case:7")
    body = stage.ask(CommandName.QUERY)
    assert body["metadata"] == "case:7"
    assert body["tags"]["a"]["label"] == "caller"
    (other,) = (tag for name, tag in body["tags"].items() if name != "a")
    assert other["via-branch"] == "x1"


@pytest.mark.parametrize(
    ("from_tag", "tags"), [("", {"a", "b", "s"}), ("b", {"a", "b"}), ("s", {"a", "s"}), ("x", set())]
)
def test_a_from_tag_narrows_the_query_to_its_dialogue(from_tag: str, tags: set[str]) -> None:
    stage = Stage()
    stage.call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    assert set(stage.ask(CommandName.QUERY, from_tag=Tag(from_tag))["tags"]) == tags


def test_an_unknown_call_cannot_be_queried() -> None:
    assert Stage().ask(CommandName.QUERY) == {"result": "error", "error-reason": "Unknown call-id"}


def test_calls_are_listed_up_to_the_limit() -> None:
    stage = Stage()
    for name in ("x", "y", "z"):
        stage.offer(sdp(A), call_id=CallId(name))
    assert stage.ask(CommandName.LIST) == {"calls": ["x", "y", "z"], "result": "ok"}
    assert stage.ask(CommandName.LIST, limit=2)["calls"] == ["x", "y"]


# --- statistics ---


def test_statistics_have_the_keys_of_rtpengines_reply_in_their_order() -> None:
    stage = Stage(interfaces=Stage().settings.interfaces[:1])
    talked(stage)
    body, example = stage.ask(CommandName.STATISTICS), example_reply(b'"command": "statistics"')
    for each in (body, example):
        del each["statistics"]["poller_threads"]  # rtpengine's threads
    assert shape(body) == shape(example)


def test_sessions_are_counted_by_how_they_ended() -> None:
    stage = Stage(timeout=60, offer_timeout=30, max_sessions=2)
    stage.offer(sdp(A), call_id=CallId("unanswered"))
    stage.call(call_id=CallId("silent"))
    stage.offer(sdp(A), call_id=CallId("one too many"))
    stage.wait(100)
    stage.call()
    stage.ask(CommandName.DELETE, delete_delay=0)
    totals = statistics(stage)["totalstatistics"]
    reasons = ("rejected", "timeout", "offertimeout", "regularterminated", "managed")
    assert [totals[f"{reason}sessions"] for reason in reasons] == [1, 1, 1, 1, 3]


def test_call_durations_are_averaged() -> None:
    stage = Stage()
    for seconds in (10, 20):
        stage.call()
        stage.wait(seconds)
        stage.ask(CommandName.DELETE, delete_delay=0)
    totals = statistics(stage)["totalstatistics"]
    assert (totals["avgcallduration"], totals["totalcallsduration"]) == ("15.000000", "30.000000")
    assert totals["totalcallsduration_stddev"] == "5.000000"
    assert totals["uptime"] == "30"


def test_packets_are_counted_by_path_and_only_once() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    for packets in (10, 10, 25):
        stage.reports[facing_a] = report(
            facing_a, packets=packets, bytes=172 * packets, kernel_packets=packets - 2, dropped=3, in_kernel=True
        )
        stage.ask(CommandName.QUERY)
    totals = statistics(stage)["totalstatistics"]
    assert (totals["relayedpackets"], totals["relayedpackets_kernel"], totals["relayedpackets_user"]) == (25, 23, 2)
    assert (totals["relayedpacketerrors_kernel"], totals["relayedbytes"]) == (3, 172 * 25)
    assert statistics(stage)["currentstatistics"]["media_kernel"] == 1


def test_media_are_counted_once_by_the_path_of_their_rtp() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.receive(facing_a.with_port(facing_a.port + 1), at(f"{A}:4001"), receiver_report())
    stage.reports[facing_b] = report(facing_b, packets=1, kernel_packets=1, in_kernel=True)
    stage.ask(CommandName.QUERY)
    current = statistics(stage)["currentstatistics"]
    assert (current["media_userspace"], current["media_kernel"]) == (1, 1)


def test_a_port_used_again_starts_to_count_again() -> None:
    stage = Stage(port_quarantine=0)
    for _ in range(2):
        facing_a, _ = stage.call()
        stage.stream(facing_a, at(f"{A}:4000"), 5)
        stage.ask(CommandName.DELETE, delete_delay=0)
    assert statistics(stage)["totalstatistics"]["relayedpackets"] == 10


def test_rates_are_those_of_the_last_interval() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    statistics(stage)
    stage.stream(facing_a, at(f"{A}:4000"), 100)
    stage.ask(CommandName.QUERY)
    current = statistics(stage)["currentstatistics"]
    assert current["packetrate"] == current["packetrate_user"] == 50
    assert current["byterate"] == 50 * 172
    stage.wait(10)
    assert statistics(stage)["currentstatistics"]["packetrate"] == 0


def test_streams_that_carried_nothing_or_one_way_only_are_counted_at_the_end() -> None:
    stage = Stage()
    facing_a, _ = stage.call(call_id=CallId("one way"))
    stage.stream(facing_a, at(f"{A}:4000"), 5)
    stage.call(call_id=CallId("no way"))
    talked(stage)
    for name in ("one way", "no way", "c1"):
        stage.ask(CommandName.DELETE, call_id=CallId(name), delete_delay=0)
    totals = statistics(stage)["totalstatistics"]
    assert (totals["onewaystreams"], totals["zerowaystreams"]) == (1, 1)


def test_loss_and_jitter_of_ended_calls_are_summed() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    ssrc = SsrcReport(
        ssrc=1,
        packets=90,
        bytes=90,
        highest_sequence=100,
        lost=10,
        reordered=2,
        duplicates=3,
        jitter=0.5,
        last_timestamp=0,
        payload_type=0,
    )
    stage.reports[facing_a] = report(facing_a, packets=90, ssrcs=(ssrc,))
    stage.ask(CommandName.DELETE, delete_delay=0)
    metrics = statistics(stage)["voip_metrics"]
    assert (metrics["packets_lost"], metrics["rtp_duplicates"], metrics["rtp_reordered"]) == (10, 3, 2)
    assert metrics["jitter_measured_average"] == "500.000000"


def test_what_receivers_report_is_shown_and_summed() -> None:
    """By the SSRC of who hears, as in rtpengine; the console, the metrics and a proxy's CDRs read it there."""
    stage = Stage()
    _, facing_b = stage.call()
    rtcp_b = facing_b.with_port(facing_b.port + 1)
    good = Heard(at=10.0, jitter=2.0, loss=0.0, leg=20.0, round_trip=50.0)
    bad = Heard(at=20.0, jitter=12.0, loss=20.0, leg=40.0, round_trip=90.0)
    hearings = (hearing(77, hearing(77, None, good, 0), bad, 4),)
    stage.reports[rtcp_b] = report(rtcp_b, packets=2, rtcp_packets=2, hearings=hearings)
    known = stage.ask(CommandName.QUERY)["SSRC"]["77"]
    assert known["cumulative loss"] == 4
    assert known["average MOS"] == {
        "MOS": round(5 * (good.score + bad.score)),
        "round-trip time": 70_000,
        "round-trip time leg": 30_000,
        "jitter": 7,
        "packet loss": 10,
        "samples": 2,
    }
    assert known["lowest MOS"]["reported at"] == WALL + 20
    assert known["highest MOS"] == {
        "MOS": 44,
        "round-trip time": 50_000,
        "round-trip time leg": 20_000,
        "jitter": 2,
        "packet loss": 0,
        "reported at": WALL + 10,
    }
    assert known["MOS progression"] == {"interval": 1, "entries": [known["highest MOS"], known["lowest MOS"]]}
    stage.ask(CommandName.DELETE, delete_delay=0)
    shown = statistics(stage)
    assert shown["mos"]["mos_samples_total"] == 2
    assert float(shown["voip_metrics"]["rtt_e2e_average"]) == 70.0
    assert shown["interfaces"][0]["voip_metrics"]["packetloss_total"] == "20.000000"


def test_interfaces_show_their_ports_and_traffic() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(direction=("outside", "inside"))
    out = OutputReport(Endpoint(INSIDE, facing_b.port), packets=8, bytes=800, errors=1)
    stage.reports[facing_a] = report(facing_a, packets=9, bytes=900, outputs=(out,))
    stage.ask(CommandName.QUERY)
    outside, _, inside = statistics(stage)["interfaces"]
    assert (outside["address"], outside["ports"]["used"], inside["ports"]["used"]) == (RELAY, 2, 2)
    assert outside["ingress"] == {"packets": 9, "bytes": 900, "errors": 0}
    assert inside["egress"] == {"packets": 8, "bytes": 800, "errors": 1}


def test_requests_are_counted_per_proxy_and_command() -> None:
    stage = Stage()
    stage.offer(sdp(A), proxy="192.0.2.10")
    stage.answer(sdp(B), from_tag="nobody", proxy="192.0.2.10")
    stage.ask(CommandName.PING, proxy="192.0.2.20")
    control = statistics(stage)["controlstatistics"]
    proxies = {proxy["proxy"]: proxy for proxy in control["proxies"]}
    assert (proxies["192.0.2.10"]["offercount"], proxies["192.0.2.10"]["errorcount"]) == (1, 1)
    assert (proxies["192.0.2.20"]["pingcount"], proxies["192.0.2.20"]["errorcount"]) == (1, 0)
    assert (control["totaloffercount"], control["totalanswercount"], control["totalpingcount"]) == (1, 1, 1)


def test_what_the_console_asks_is_not_counted_among_the_proxies() -> None:
    stage = Stage()
    stage.ask(CommandName.QUERY, proxy="")
    known = statistics(stage)["controlstatistics"]
    assert [(proxy["proxy"], proxy["querycount"], proxy["errorcount"]) for proxy in known["proxies"]] == [
        ("127.0.0.1", 0, 0)
    ]


def test_made_up_proxies_cost_no_memory() -> None:
    stage = Stage()
    for number in range(1000):
        stage.ask(CommandName.PING, proxy=f"192.0.2.{number}")
    proxies = statistics(stage)["controlstatistics"]["proxies"]
    assert len(proxies) <= 257
    assert sum(proxy["pingcount"] for proxy in proxies) == 1000


def test_durations_the_runtime_has_measured_are_shown() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    stage.relay.registry.requests.took("127.0.0.1", "offer", 0.25)
    (proxy,) = statistics(stage)["controlstatistics"]["proxies"]
    assert proxy["offerduration"] == "0.250000"
