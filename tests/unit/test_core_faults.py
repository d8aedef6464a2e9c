"""Faults stay where they are: loops end, a call's failure is that call's, and every request gets its one reply.

call c: A --> [c] --> port of d        call d: --> [d] --> port of c         a circle no packet may enter
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.call.call import Call
from rtprelay.core import handlers
from rtprelay.core.effects import Notify, Reply
from rtprelay.core.timers import Timers
from rtprelay.errors import BackendFault
from rtprelay.negotiate.context import Context
from rtprelay.plan.flow import DropFlow
from rtprelay.signalling.command import Command, CommandName, Request
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import INSIDE, RELAY, A, B, Stage, at, rtp, sdp

# --- media loops ---


def test_a_party_that_names_the_port_the_other_one_sends_to_gets_nothing() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.offer(sdp(RELAY, facing_a.port), from_tag="b", to_tag="a")
    assert "media loop" in stage.events()
    assert stage.outputs(facing_a) == []


def test_two_calls_in_a_circle_are_broken_up() -> None:
    stage = Stage()
    c_facing_a, _ = stage.call(call_id=CallId("c"))
    d_facing_a, _ = stage.call(call_id=CallId("d"))
    stage.offer(sdp(RELAY, d_facing_a.port), from_tag="b", to_tag="a", call_id=CallId("c"))
    assert "media loop" not in stage.events(), "a row is no circle"
    stage.offer(sdp(RELAY, c_facing_a.port), from_tag="b", to_tag="a", call_id=CallId("d"))
    assert "media loop" in stage.events()
    assert [local for local in stage.flows() if _comes_back(stage, local)] == []


def _comes_back(stage: Stage, start: Endpoint) -> bool:
    flows = stage.flows()
    front, seen = [start], set[Endpoint]()
    while front:
        for output in flows[front.pop()].outputs:
            if output.destination == start:
                return True
            if output.destination in flows and output.destination not in seen:
                seen.add(output.destination)
                front.append(output.destination)
    return False


def test_two_calls_in_a_row_are_fine() -> None:
    """A back-to-back user agent on the same host: one leg in each call."""
    stage = Stage()
    (c_to_b,) = stage.offered(sdp(A), call_id=CallId("c"))
    (d_to_b,) = stage.offered(sdp(RELAY, c_to_b.port), call_id=CallId("d"))
    (d_to_a,) = stage.answered(sdp(B, 4002), call_id=CallId("d"))
    (c_to_a,) = stage.answered(sdp(RELAY, d_to_a.port), call_id=CallId("c"))
    assert "media loop" not in stage.events()
    (first,) = stage.receive(c_to_a.local, at(f"{A}:4000"), rtp(1))
    assert first == (c_to_b.local, rtp(1), d_to_a.local)
    (second,) = stage.receive(first[2], first[0], rtp(1))
    assert second == (d_to_b.local, rtp(1), at(f"{B}:4002"))


def test_a_loop_over_an_advertised_address_is_seen_too() -> None:
    stage = Stage()
    facing_a, _ = stage.call(direction=("inside", "inside"))
    stage.offer(sdp("203.0.113.9", facing_a.port), from_tag="b", to_tag="a")
    assert "media loop" in stage.events()
    assert stage.outputs(Endpoint(INSIDE, facing_a.port)) == []


def test_a_chain_that_never_ends_counts_as_a_loop() -> None:
    stage = Stage()
    destination = at(f"{A}:4000")
    events = []
    for number in range(12):
        (section,) = stage.offered(sdp(destination.address, destination.port), call_id=CallId(f"c{number}"))
        events += stage.events()
        destination = section.local
    assert "media loop" in events


# --- internal faults ---


class Broken(Exception):
    """A fault of ours, not in the error tree."""


def _broken(*_: object) -> None:
    raise Broken


def test_a_fault_while_a_call_changes_is_answered_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    journal, flows = dict(stage.journal), stage.flows()

    def half_done(call: Call, command: Command, context: Context) -> str:
        for _, media in call.medias():
            media.remote = None
        context.ports.take(stage.settings.interfaces[0])
        raise Broken

    monkeypatch.setattr(handlers, "offer", half_done)
    stage.relay.handle_command(Request(99, Command(name=CommandName.OFFER, call_id=CallId("c"))), stage.now)
    replies = _effects_of_a_fault(stage)
    assert replies == [Reply(99, {"result": "error", "error-reason": "Internal error"})]
    stage.check()
    assert (stage.journal, stage.flows()) == (journal, flows)
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1)) == [(facing_b, rtp(1), at(f"{B}:4002"))]


def test_a_fault_while_flows_are_planned_is_answered_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    stage.call()
    sockets = dict(stage.open)
    monkeypatch.setattr("rtprelay.core.registry.plan", _broken)
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96"))
    command = Command(name=CommandName.OFFER, call_id=CallId("c"), from_tag=Tag("a"), to_tag=Tag("b"), sdp=text)
    stage.relay.handle_command(Request(99, command), stage.now)
    assert len(_effects_of_a_fault(stage)) == 1
    monkeypatch.undo()
    stage.check()
    assert stage.open == sockets


def test_a_fault_in_a_query_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    stage.call()
    monkeypatch.setattr(handlers, "query", _broken)
    stage.relay.handle_command(Request(99, Command(name=CommandName.QUERY, call_id=CallId("c"))), stage.now)
    assert len(_effects_of_a_fault(stage)) == 1
    monkeypatch.undo()
    assert stage.ask(CommandName.QUERY)["result"] == "ok"


def test_a_fault_at_one_calls_end_does_not_keep_another_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(timeout=60)
    for name in ("c", "d"):
        stage.call(call_id=CallId(name))
    end, first = stage.relay.registry.end, list[int]()

    def once(*arguments: Any) -> Any:
        if not first:
            first.append(1)
            raise Broken
        return end(*arguments)

    monkeypatch.setattr(stage.relay.registry, "end", once)
    stage.now += 61
    stage.relay.handle_timeout(stage.now)
    _effects_of_a_fault(stage)
    assert len(stage.relay.registry.calls) == 1


def _effects_of_a_fault(stage: Stage) -> list[Reply]:
    """Drain with the stage's own check for faults off; the fault must have been told."""
    stage.checking = False
    stage.drain()
    stage.checking = True
    (told,) = (e for e in stage.effects if isinstance(e, Notify) and e.event == "internal error")
    assert told.level == "error"
    assert told.call_id is not None
    assert "Broken" in told.fields["error"]
    return [effect for effect in stage.effects if isinstance(effect, Reply)]


def test_unknown_flags_are_told_and_otherwise_ignored() -> None:
    stage = Stage()
    body = stage.offer(sdp(A), unknown_flags=("no-such-flag",))
    assert body["result"] == "ok"
    assert "unknown flag" in stage.events()


def test_a_host_name_as_media_address_waits_for_packets() -> None:
    stage = Stage()
    text = sdp(A).replace(f"c=IN IP4 {A}", "c=IN IP4 phone.example.com")
    facing_a, facing_b = stage.call(text)
    assert stage.outputs(facing_b) == []
    stage.stream(facing_a, at("203.0.113.200:7000"), 8)
    assert stage.outputs(facing_b) == [(facing_a, at("203.0.113.200:7000"))]


# --- timers ---


def test_timers_give_each_due_call_once_and_in_time() -> None:
    timers: Timers[CallId] = Timers()
    timers.schedule(CallId("late"), 20.0)
    timers.schedule(CallId("early"), 10.0)
    timers.schedule(CallId("early"), 15.0)
    assert timers.next_deadline() == 10.0
    assert timers.pop_due(9.9) == []
    assert timers.pop_due(10.0) == [CallId("early")]
    assert timers.next_deadline() == 20.0


def test_an_earlier_deadline_replaces_a_later_one() -> None:
    timers: Timers[CallId] = Timers()
    timers.schedule(CallId("c"), 20.0)
    timers.schedule(CallId("c"), 5.0)
    assert timers.pop_due(5.0) == [CallId("c")]
    assert timers.next_deadline() is None


def test_a_forgotten_call_is_never_due() -> None:
    timers: Timers[CallId] = Timers()
    timers.schedule(CallId("c"), 5.0)
    timers.forget(CallId("c"))
    assert timers.pop_due(100.0) == []


# --- a data plane without room ---


def test_a_call_whose_flows_are_refused_was_never_there() -> None:
    """An offer makes flows for both sides, RTP and RTCP: the third one is one too many."""
    stage = Stage()
    stage.room = 2
    assert stage.offer(sdp()) == {"result": "error", "error-reason": "no room for a flow"}
    assert "refused" in stage.events()
    assert (stage.flows(), stage.open, stage.journal, stage.relay.registry.calls) == ({}, {}, {}, {})
    assert stage.ports_used() == 0
    stage.room = None
    stage.call()


def test_a_call_that_cannot_grow_stays_as_it_was() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    before = dict(stage.journal), stage.flows(), dict(stage.open), stage.ports_used()
    stage.room = len(stage.flows()) + 1
    video = sdp(A, media=("m=audio 4008 RTP/AVP 0", "m=video 5000 RTP/AVP 96"))
    assert stage.offer(video, to_tag="b")["error-reason"] == "no room for a flow"
    assert (stage.journal, stage.flows(), stage.open, stage.ports_used()) == before
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1)) == [(facing_b, rtp(1), at(f"{B}:4002"))]


def test_a_refusal_nobody_asked_for_is_told_with_the_call() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.relay.flows_failed((DropFlow(facing_a),), BackendFault("gone"), stage.now)
    stage.drain()
    assert stage.effects == [Notify("flows refused", CallId("c"), {"reason": "gone"}, "error")]
