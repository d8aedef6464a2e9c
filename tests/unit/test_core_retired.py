"""A call's totals go on counting from port to port: a CDR says what the call has carried, not what its last ports have.

A 198.51.100.1:4000 --RTP 20, RTCP 1--> facing_a [relay] facing_b <--RTP 10-- B 198.51.100.3:4002
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.core.effects import Notify, ReadFlows
from rtprelay.plan.flow import SsrcReport
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Endpoint, Family, Tag
from tests.unit.core_stage import A, B, Stage, at, receiver_report, rtp, sdp
from tests.unit.test_core_views import report

BEFORE = {
    "RTP": {"packets": 30, "bytes": 30 * 172, "errors": 0},
    "RTCP": {"packets": 1, "bytes": 8, "errors": 0},
}


def talked(stage: Stage, **fields: Any) -> tuple[Endpoint, Endpoint]:
    facing_a, facing_b = stage.call(**fields)
    stage.stream(facing_a, at(f"{A}:4000"), 20, ssrc=1)
    stage.stream(facing_b, at(f"{B}:4002"), 10, ssrc=2)
    stage.receive(facing_a.pair[1], at(f"{A}:4001"), receiver_report())
    return facing_a, facing_b


def totals(stage: Stage, **fields: Any) -> dict[str, Any]:
    shown: dict[str, Any] = stage.ask(CommandName.QUERY, **fields)["totals"]
    return shown


def moved_to_ipv6(stage: Stage) -> None:
    stage.offer(sdp(A), to_tag="b", address_family=Family.IP6)
    stage.answer(sdp("2001:db8::3", 4002))


def moved_to_another_interface(stage: Stage) -> None:
    stage.offer(sdp(A), to_tag="b", direction=("inside", "inside"))
    stage.answer(sdp(B, 4002))


def moved_because_the_party_did(stage: Stage) -> None:
    stage.offer(sdp(A, 4444), to_tag="b", no_port_latching=True)
    stage.answer(sdp(B, 4002))


def multiplexed(stage: Stage) -> None:
    stage.offer(sdp(A, 4000, "a=rtcp-mux"), to_tag="b")
    stage.answer(sdp(B, 4002, "a=rtcp-mux"))


def rejected(stage: Stage) -> None:
    stage.offer(sdp(A, 0), to_tag="b")
    stage.answer(sdp(B, 0))


CHANGES = [moved_to_ipv6, moved_to_another_interface, moved_because_the_party_did, multiplexed, rejected]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_port_has_received_stays_in_the_calls_totals_when_it_is_closed(change: Any) -> None:
    stage = Stage()
    before = set(talked(stage)) | set(stage.flows())
    change(stage)
    assert before - set(stage.flows()), "nothing was closed"
    assert totals(stage) == BEFORE
    assert stage.ask(CommandName.DELETE, delete_delay=0)["totals"] == BEFORE


@pytest.mark.parametrize("change", CHANGES)
def test_the_totals_survive_a_restart(change: Any) -> None:
    stage = Stage()
    talked(stage)
    change(stage)
    stage.restart()
    assert totals(stage) == BEFORE


def test_what_the_new_ports_receive_comes_on_top() -> None:
    stage = Stage()
    talked(stage)
    (to_b,) = stage.offered(sdp(A), to_tag="b", direction=("inside", "inside"))
    (to_a,) = stage.answered(sdp(B, 4002))
    assert to_a.address == to_b.address == "203.0.113.9"
    facing_a = next(local for local in stage.open if local.port == to_a.port)
    stage.stream(facing_a, at(f"{A}:4000"), 3, ssrc=1)
    assert totals(stage)["RTP"]["packets"] == 33
    moved_to_ipv6(stage)
    assert totals(stage)["RTP"]["packets"] == 33


def test_a_party_that_has_left_has_been_part_of_the_call() -> None:
    stage = Stage()
    facing_a, _ = talked(stage)
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("s"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp("198.51.100.11", 6000), to_tag=Tag("s"))
    facing_s = next(o.source for o in stage.flow(facing_a).outputs if o.destination.port == 6000)
    stage.receive(facing_s.pair[1], at("198.51.100.11:6001"), receiver_report())
    assert totals(stage)["RTCP"]["packets"] == 2
    stage.ask(CommandName.UNSUBSCRIBE, to_tag=Tag("s"))
    assert totals(stage)["RTCP"]["packets"] == 2


def test_calls_that_become_one_bring_their_totals_along() -> None:
    stage = Stage()
    talked(stage)
    multiplexed(stage)
    stage.offer(sdp("198.51.100.5"), from_tag="x", to_tag="", call_id=CallId("d"))
    stage.ask(CommandName.CONNECT, call_id=CallId("d"), from_tag=Tag("x"), to_call_id=CallId("c"), to_tag=Tag("a"))
    assert totals(stage, call_id=CallId("d")) == BEFORE


def test_a_refused_change_retires_nothing() -> None:
    stage = Stage()
    talked(stage)
    stage.room = len(stage.flows())
    stage.offer(sdp(A), to_tag="b", direction=("inside", "inside"))
    assert totals(stage) == BEFORE


def test_a_change_that_closes_nothing_reads_no_counters() -> None:
    stage = Stage()
    talked(stage)
    stage.offer(sdp(A, 4000, "a=sendonly"), to_tag="b")
    assert not [effect for effect in stage.effects if isinstance(effect, ReadFlows)]


def test_a_call_that_never_lost_a_port_has_a_record_as_before() -> None:
    stage = Stage()
    talked(stage)
    assert b"retired" not in stage.journal[CallId("c")]
    multiplexed(stage)
    assert b"retired_rtcp" in stage.journal[CallId("c")]


def test_the_end_of_a_call_is_told_with_all_its_packets() -> None:
    stage = Stage()
    talked(stage)
    rejected(stage)
    stage.ask(CommandName.DELETE, delete_delay=0)
    (told,) = (e for e in stage.effects if isinstance(e, Notify) and e.event == "call ended")
    assert told.fields["packets"] == 31


def test_the_statistics_have_what_a_port_counted_since_they_were_last_told() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    ssrc = SsrcReport(
        ssrc=1,
        packets=9,
        bytes=9,
        highest_sequence=19,
        lost=10,
        reordered=0,
        duplicates=0,
        jitter=0.0,
        last_timestamp=0,
        payload_type=0,
    )
    stage.reports[facing_a] = report(facing_a, packets=9, bytes=900, ssrcs=(ssrc,))
    rejected(stage)
    shown = stage.ask(CommandName.STATISTICS)["statistics"]
    assert shown["totalstatistics"]["relayedpackets"] == 9
    assert shown["voip_metrics"]["packets_lost"] == 10


def test_packets_refused_at_a_closed_port_stay_errors() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.receive(facing_a, at("203.0.113.66:6666"), rtp(1))
    rtcp_a = facing_a.pair[1]
    stage.reports[rtcp_a] = report(rtcp_a, packets=2, bytes=16, rtcp_packets=2, rtcp_bytes=16, dropped=3)
    rejected(stage)
    shown = totals(stage)
    assert (shown["RTP"]["errors"], shown["RTCP"]["errors"]) == (1, 3)
