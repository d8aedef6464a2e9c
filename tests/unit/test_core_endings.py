"""How calls end: deleted, at once or later, or timed out by what the data plane has seen.

A 198.51.100.1 ----> facing_a [relay] facing_b ----> B 198.51.100.3
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from rtprelay.core import timers
from rtprelay.core.effects import ApplyFlows, ClosePorts, Notify, Persist, ReadFlows, Reply
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling.command import Body, CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import A, B, Stage, at, rtp, sdp

WARNING = {"warning": "Call-ID not found or tags didn't match", "result": "ok"}


def delete(stage: Stage, from_tag: str = "a", **fields: Any) -> Body:
    fields.setdefault("delete_delay", 0)
    return stage.ask(CommandName.DELETE, from_tag=Tag(from_tag), **fields)


def ended(stage: Stage) -> dict[str, Any]:
    (fields,) = (e.fields for e in stage.effects if isinstance(e, Notify) and e.event == "call ended")
    return fields


def report(local: Endpoint, last_packet: float, packets: int = 1) -> FlowReport:
    return FlowReport(
        local=local,
        packets=packets,
        bytes=172 * packets,
        dropped=0,
        punted=0,
        rtcp_packets=0,
        rtcp_bytes=0,
        last_packet=last_packet,
        spoken=True,
        kernel_packets=packets,
        kernel_bytes=172 * packets,
        in_kernel=True,
    )


# --- delete ---


def test_a_delete_without_delay_reads_the_counters_removes_everything_and_answers_last() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.stream(facing_a, at(f"{A}:4000"), 5)
    body = delete(stage)
    kinds = [type(effect) for effect in stage.effects]
    assert kinds == [ReadFlows, ApplyFlows, ClosePorts, Persist, Notify, Reply]
    assert body["totals"]["RTP"]["packets"] == 5
    assert (stage.open, stage.flows(), stage.journal, stage.ports_used()) == ({}, {}, {}, 0)
    assert ended(stage)["reason"] == "regular"


def test_a_deleted_call_lives_on_for_its_delay_and_media_with_it() -> None:
    stage = Stage(delete_delay=30)
    facing_a, _ = stage.call()
    delete(stage, delete_delay=None)
    stage.wait(29)
    assert stage.ask(CommandName.QUERY)["result"] == "ok"
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.wait(2)
    assert stage.ask(CommandName.QUERY)["error-reason"] == "Unknown call-id"
    assert stage.ports_used() == 0


def test_the_delay_of_the_command_overrides_the_operators() -> None:
    stage = Stage(delete_delay=30)
    stage.call()
    delete(stage, delete_delay=5)
    stage.wait(6)
    assert stage.relay.registry.calls == {}


def test_a_second_delete_may_shorten_the_delay_but_not_lengthen_it() -> None:
    stage = Stage()
    stage.call()
    delete(stage, delete_delay=10)
    stage.wait(5)
    delete(stage, delete_delay=60)
    stage.wait(6)
    assert stage.relay.registry.calls == {}


def test_an_offer_brings_a_deleted_call_back() -> None:
    stage = Stage()
    _, facing_b = stage.call()
    delete(stage, delete_delay=10)
    (section,) = stage.offered(sdp(A), to_tag="b")
    assert section.local == facing_b
    stage.wait(20)
    assert CallId("c") in stage.relay.registry.calls


def test_a_late_unsubscribe_does_not_bring_a_deleted_call_back() -> None:
    stage = Stage()
    stage.call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    delete(stage, delete_delay=10)
    stage.ask(CommandName.UNSUBSCRIBE, to_tag=Tag("s"))
    stage.wait(11)
    assert stage.relay.registry.calls == {}


def test_an_unknown_call_gets_a_warning_or_with_fatal_an_error() -> None:
    stage = Stage()
    assert delete(stage) == WARNING
    assert delete(stage, fatal=True) == {"result": "error", "error-reason": WARNING["warning"]}


@pytest.mark.parametrize(("from_tag", "to_tag"), [("nobody", ""), ("nobody", "a"), ("a", "nobody")])
def test_tags_of_another_dialogue_delete_nothing(from_tag: str, to_tag: str) -> None:
    stage = Stage()
    stage.call()
    assert delete(stage, from_tag, to_tag=Tag(to_tag)) == WARNING
    assert CallId("c") in stage.relay.registry.calls


@pytest.mark.parametrize(("from_tag", "to_tag"), [("", ""), ("a", ""), ("b", ""), ("a", "b"), ("b", "a")])
def test_either_party_may_end_the_call(from_tag: str, to_tag: str) -> None:
    stage = Stage()
    stage.call()
    delete(stage, from_tag, to_tag=Tag(to_tag))
    assert stage.relay.registry.calls == {}


def test_an_unanswered_call_is_deleted_under_the_tag_of_a_refusal() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    delete(stage, to_tag=Tag("of the 486"))
    assert stage.relay.registry.calls == {}


def test_a_via_branch_nobody_knows_ends_the_whole_call() -> None:
    stage = Stage()
    stage.call()
    delete(stage, via_branch="of the BYE")
    assert stage.relay.registry.calls == {}


def test_a_subscriber_goes_with_the_call() -> None:
    stage = Stage()
    stage.call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    delete(stage)
    assert stage.ports_used() == 0


def test_the_end_of_one_call_leaves_another_alone() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.offer(sdp("198.51.100.7"), call_id=CallId("d"))
    delete(stage, call_id=CallId("d"))
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))


# --- timeouts ---


def test_an_offer_nobody_answers_times_out() -> None:
    stage = Stage(offer_timeout=30)
    stage.offer(sdp(A))
    stage.wait(29)
    assert stage.relay.registry.calls
    stage.wait(2)
    assert (stage.relay.registry.calls, stage.ports_used()) == ({}, 0)
    assert ended(stage)["reason"] == "offer_timeout"


def test_early_media_does_not_answer_an_offer_but_a_provisional_answer_does() -> None:
    stage = Stage(offer_timeout=30, timeout=60)
    stage.call()
    stage.wait(45)
    assert stage.relay.registry.calls


def test_a_call_without_media_times_out() -> None:
    stage = Stage(timeout=60)
    stage.call()
    stage.wait(61)
    assert ended(stage)["reason"] == "timeout"
    assert stage.ports_used() == 0


def test_packets_keep_a_call_alive_in_either_direction() -> None:
    stage = Stage(timeout=60)
    facing_a, _ = stage.call()
    for sequence in range(1, 5):
        stage.wait(50)
        assert stage.receive(facing_a, at(f"{A}:4000"), rtp(sequence))
    stage.wait(59)
    assert stage.relay.registry.calls
    stage.wait(2)
    assert stage.relay.registry.calls == {}


def test_packets_the_kernel_forwarded_count_though_none_was_reported_before() -> None:
    stage = Stage(timeout=60)
    facing_a, _ = stage.call()
    stage.reports[facing_a] = report(facing_a, last_packet=stage.now + 55)
    stage.wait(100)
    assert stage.relay.registry.calls
    stage.wait(20)
    assert stage.relay.registry.calls == {}


def test_packets_of_strangers_keep_nothing_alive() -> None:
    stage = Stage(timeout=60)
    facing_a, _ = stage.call()
    for _ in range(10):
        stage.wait(10)
        if facing_a in stage.open:
            stage.receive(facing_a, at("203.0.113.200:7000"), rtp(1, payload_type=77))
    assert stage.relay.registry.calls == {}


@pytest.mark.parametrize("held", [sdp(A, 4000, "a=sendonly"), sdp("0.0.0.0"), sdp(A, 4000, "a=inactive")])
def test_a_held_call_waits_for_the_silent_timeout(held: str) -> None:
    stage = Stage(timeout=60, silent_timeout=600)
    stage.call()
    stage.offer(held, to_tag="b")
    stage.answer(sdp(B, 4002, "a=recvonly"))
    stage.wait(599)
    assert stage.relay.registry.calls
    stage.wait(2)
    assert ended(stage)["reason"] == "silent_timeout"


def test_a_rejected_or_idle_section_does_not_make_a_call_silent() -> None:
    stage = Stage(timeout=60, silent_timeout=600)
    both = ("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96")
    stage.offer(sdp(A, media=(*both, "a=inactive")))
    stage.answer(sdp(B, media=("m=audio 4002 RTP/AVP 0", "m=video 5002 RTP/AVP 96", "a=inactive")))
    stage.wait(61)
    assert ended(stage)["reason"] == "timeout"


def test_a_silent_publisher_times_out_however_many_listen() -> None:
    stage = Stage(timeout=60, silent_timeout=600)
    stage.ask(CommandName.PUBLISH, sdp(A, 4000, "a=sendonly"), from_tag=Tag("p"))
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("p"), to_tag=Tag("s"))
    stage.wait(61)
    assert ended(stage)["reason"] == "timeout"


def test_no_call_outlives_the_final_timeout() -> None:
    stage = Stage(timeout=60, final_timeout=100)
    facing_a, _ = stage.call()
    for sequence in range(1, 10):
        stage.wait(9)
        stage.receive(facing_a, at(f"{A}:4000"), rtp(sequence))
    stage.wait(20)
    assert ended(stage)["reason"] == "final_timeout"


def test_a_timeout_of_zero_is_none() -> None:
    stage = Stage(timeout=0, silent_timeout=0, offer_timeout=0)
    stage.call()
    stage.wait(1e6)
    assert stage.relay.registry.calls
    assert stage.relay.poll_timeout() is None


def test_signalling_keeps_a_call_alive_too() -> None:
    stage = Stage(timeout=60)
    stage.call()
    stage.wait(50)
    stage.offer(sdp(A), to_tag="b")
    stage.wait(50)
    assert stage.relay.registry.calls


def test_an_ended_calls_deadline_does_not_touch_its_successor() -> None:
    stage = Stage(timeout=60)
    stage.call()
    stage.wait(30)
    delete(stage)
    stage.call()
    stage.wait(40)
    assert stage.relay.registry.calls


# --- what is left ---


def test_calls_that_have_ended_leave_no_memory_behind_though_the_cycle_collector_never_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timers, "FEW", 10)
    stage = Stage(port_quarantine=0.0)
    stage.checking = False

    def calls(count: int) -> int:
        for _ in range(count):
            stage.call()
            delete(stage)
        return sys.getallocatedblocks()

    gc.disable()
    try:
        # Until what is remembered of texts has come to its bounds.
        before = calls(1200)
        assert calls(200) - before < 200
    finally:
        gc.enable()
