"""New calls beyond a limit are refused, in the words proxies fail over at; calls that are there go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtprelay.core.totals import EndReason
from rtprelay.runtime.host_load import HostLoad
from rtprelay.signalling.command import Body, CommandName
from rtprelay.values import CallId, Tag
from tests.unit.core_stage import A, B, Stage, at, sdp

SESSION_LIMIT = {"result": "error", "error-reason": "Parallel session limit reached"}


def publish(stage: Stage, call_id: str, **fields: Any) -> Body:
    return stage.ask(CommandName.PUBLISH, sdp(), call_id=CallId(call_id), from_tag=Tag("a"), **fields)


def loaded(stage: Stage) -> None:
    stage.relay.handle_load(8.5, 10.0, stage.now)


def busy(stage: Stage) -> None:
    stage.relay.handle_load(0.1, 99.5, stage.now)


def crowded(stage: Stage) -> None:
    """172 bytes every 20 ms, 8,600 per second."""
    local, _ = stage.call()
    stage.stream(local, at(f"{A}:4000"), 100)
    report = stage.forwarder.report(local)
    assert report is not None
    stage.relay.handle_report([report], stage.now)
    stage.relay.handle_load(0.1, 1.0, stage.now)


def draining(stage: Stage) -> None:
    stage.relay.drain()


CASES: list[tuple[dict[str, Any], Callable[[Stage], None], str]] = [
    ({"max_sessions": 0}, lambda stage: None, "Parallel session limit reached"),
    ({"max_load": 8.4}, loaded, "Load limit exceeded"),
    ({"max_cpu": 99.0}, busy, "CPU usage limit exceeded"),
    ({"max_bandwidth": 8000}, crowded, "Bandwidth limit exceeded"),
    ({}, draining, "Draining, no new sessions"),
]


@pytest.mark.parametrize(("limits", "happens", "message"), CASES)
def test_a_new_call_beyond_a_limit_is_refused(
    limits: dict[str, Any], happens: Callable[[Stage], None], message: str
) -> None:
    stage = Stage(**limits)
    happens(stage)
    told = {"result": "load limit", "message": message}
    knowing = frozenset({"load limit"})
    assert stage.offer(sdp(), call_id=CallId("new"), supports=knowing) == told
    assert publish(stage, "new", supports=knowing) == told
    assert stage.offer(sdp(), call_id=CallId("new")) == SESSION_LIMIT
    assert publish(stage, "new") == SESSION_LIMIT
    assert stage.relay.registry.totals.ended[EndReason.REJECTED] == 4
    assert CallId("new") not in stage.relay.registry.calls


@pytest.mark.parametrize(("limits", "happens"), [(case[0], case[1]) for case in CASES if case[1] is not crowded])
def test_a_call_that_is_there_goes_on(limits: dict[str, Any], happens: Callable[[Stage], None]) -> None:
    stage = Stage()
    stage.call()
    stage.relay.registry.settings = Stage(**limits).settings
    happens(stage)
    assert stage.offer(sdp(A, 5000), to_tag="b")["result"] == "ok"
    assert stage.answer(sdp(B, 5002))["result"] == "ok"
    assert publish(stage, "c")["result"] == "ok"


@pytest.mark.parametrize("limits", [{"max_load": 9.0}, {"max_cpu": 11.0}, {"max_bandwidth": 9000}])
def test_below_the_limit_calls_are_taken(limits: dict[str, Any]) -> None:
    stage = Stage(**limits)
    crowded(stage)
    loaded(stage)
    assert stage.offer(sdp(), call_id=CallId("new"))["result"] == "ok"


def test_calls_are_taken_again_when_the_load_is_gone() -> None:
    stage = Stage(max_load=8.0)
    loaded(stage)
    assert stage.offer(sdp()) == SESSION_LIMIT
    busy(stage)
    assert stage.offer(sdp())["result"] == "ok"


def test_bandwidth_is_forgotten_when_nothing_comes_any_more() -> None:
    stage = Stage(max_bandwidth=8000)
    crowded(stage)
    stage.wait(2.0)
    stage.relay.handle_load(0.1, 1.0, stage.now)
    assert stage.offer(sdp(), call_id=CallId("new"))["result"] == "ok"


def test_the_load_of_the_host_is_what_happened_since_the_last_look(tmp_path: Path) -> None:
    """Guests' time, the last two numbers, is counted in the first two; waiting for a disk is idleness."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n")
    load = HostLoad(stat)
    stat.write_text("cpu  130 0 130 730 110 0 0 0 80 0\ncpu0 1 2 3\n")
    average, cpu = load.sample()
    assert cpu == 60.0
    assert average >= 0
    assert load.sample()[1] == 0.0
