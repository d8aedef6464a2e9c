"""Flags and commands that change who hears whom: echo, connect, what opens the way; flags that do nothing, told once.

A 198.51.100.1:4000 <--> relay <--> B 198.51.100.3:4002
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.core.effects import Notify, SendDatagram
from rtprelay.plan.flow import Output
from rtprelay.signalling.command import CommandName, EndpointLearning
from rtprelay.values import CallId, Endpoint, Tag
from rtprelay.wire import rtp as wire
from tests.unit.core_stage import A, B, Stage, at, receiver_report, rtp, sdp

CALLER, CALLEE = at(f"{A}:4000"), at(f"{B}:4002")


def heard_at(stage: Stage, local: Endpoint, source: Endpoint) -> list[Endpoint]:
    """Where a packet of the source goes."""
    return [destination for _, _, destination in stage.receive(local, source, rtp(1))]


@pytest.mark.parametrize(
    ("words", "of_caller", "of_callee"),
    [
        ("blackhole", [], []),
        ("sinkhole", [], []),
        ("forward", [], [CALLEE]),
        ("backwards", [CALLER], []),
        ("both", [CALLER], [CALLEE]),
    ],
)
def test_media_goes_back_or_nowhere(words: str, of_caller: list[Endpoint], of_callee: list[Endpoint]) -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A), media_echo=words)
    (to_a,) = stage.answered(sdp(B, 4002))
    assert heard_at(stage, to_a.local, CALLER) == of_caller
    assert heard_at(stage, to_b.local, CALLEE) == of_callee


def test_the_receiver_of_an_answer_is_the_caller() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    (to_a,) = stage.answered(sdp(B, 4002), media_echo="forward")
    assert heard_at(stage, to_a.local, CALLER) == [CALLER]
    assert heard_at(stage, to_b.local, CALLEE) == []


def test_an_echo_is_a_stream_of_its_own_in_each_section() -> None:
    stage = Stage()
    media = ("m=audio 4000 RTP/AVP 0", "m=video 4004 RTP/AVP 96")
    stage.offered(sdp(A, media=media), media_echo="backwards")
    sections = stage.answered(sdp(B, media=media))
    outputs: list[Output] = [output for section in sections for output in stage.flow(section.local).outputs]
    ssrcs = [output.ssrc for output in outputs]
    assert len(set(ssrcs)) == 2
    assert None not in ssrcs
    (_, packet, _) = stage.receive(sections[0].local, CALLER, rtp(1, ssrc=5))[0]
    assert wire.parse(packet).ssrc == ssrcs[0]


def three_parties() -> tuple[Stage, dict[str, Endpoint]]:
    """A talks to B, C has been offered to by B."""
    stage = Stage()
    facing_a, facing_b = stage.call(sdp(A), sdp(B, 4002))
    (to_c,) = stage.offered(sdp(B, 4002), from_tag="b", to_tag="", via_branch="other")
    stage.answered(sdp("198.51.100.4", 4006), from_tag="b", to_tag="c")
    return stage, {"a": facing_a, "b": facing_b, "c": to_c.local}


def test_connect_joins_two_parties_of_a_call() -> None:
    stage, facing = three_parties()
    third = at("198.51.100.4:4006")
    assert heard_at(stage, facing["a"], CALLER) == []
    assert stage.ask(CommandName.CONNECT, from_tag=Tag("a"), to_tag=Tag("c")) == {"result": "ok"}
    assert heard_at(stage, facing["a"], CALLER) == [third]
    assert heard_at(stage, facing["c"], third) == [CALLER]
    assert heard_at(stage, facing["b"], CALLEE) == []


def test_connect_may_be_one_way_besides_all_that_is_heard_already() -> None:
    stage, facing = three_parties()
    third = at("198.51.100.4:4006")
    stage.ask(CommandName.CONNECT, from_tag=Tag("a"), to_tag=Tag("c"), directional=True)
    assert heard_at(stage, facing["a"], CALLER) == [third]
    assert heard_at(stage, facing["c"], third) == [CALLEE]
    assert heard_at(stage, facing["b"], CALLEE) == [third]
    ((_, data, _),) = stage.receive(facing["a"], CALLER, rtp(1))
    assert wire.parse(data).ssrc != wire.parse(rtp(1)).ssrc, "a stream of its own beside the others"


def test_several_parties_may_be_connected_to_one_both_ways() -> None:
    stage, facing = three_parties()
    third = at("198.51.100.4:4006")
    fields: dict[str, Any] = {"from_tags": (Tag("a"), Tag("b")), "to_tag": Tag("c"), "directional": True}
    for _ in range(2):  # the second time there is nothing to add
        assert stage.ask(CommandName.CONNECT, **fields, bidirectional=True) == {"result": "ok"}
        assert heard_at(stage, facing["a"], CALLER) == [third]
        assert set(heard_at(stage, facing["c"], third)) == {CALLER, CALLEE}
    assert stage.ask(CommandName.CONNECT, all="all", to_tag=Tag("a"), directional=True) == {"result": "ok"}
    assert CALLER in heard_at(stage, facing["b"], CALLEE)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_tag": Tag("x"), "to_tag": Tag("b")}, "Unknown from-tag"),
        ({"from_tag": Tag("a"), "to_tag": Tag("x")}, "Unknown to-tag"),
        ({"from_tag": Tag("a"), "to_tag": Tag("a")}, "Unknown to-tag"),
        ({"from_tag": Tag("a"), "to_tag": Tag("b"), "to_call_id": CallId("d")}, "Unknown call-id"),
        ({"from_tag": Tag("x"), "to_tag": Tag("b"), "directional": True}, "Unknown from-tag 'x'"),
        ({"from_tag": Tag("a"), "to_tag": Tag("b"), "call_id": CallId("d")}, "Unknown call-id"),
    ],
)
def test_who_is_not_there_cannot_be_connected(fields: dict[str, Any], reason: str) -> None:
    stage = Stage()
    facing_a, _ = stage.call(sdp(A), sdp(B, 4002))
    assert stage.ask(CommandName.CONNECT, **fields)["error-reason"] == reason
    assert heard_at(stage, facing_a, CALLER) == [CALLEE]


def test_an_empty_packet_opens_the_way_to_who_has_not_spoken() -> None:
    stage = Stage()
    stage.offer(sdp(A), pierce_nat=True)
    pierced = [(effect.remote, effect.data) for effect in stage.effects if isinstance(effect, SendDatagram)]
    assert pierced == [(CALLER, b""), (CALLER.with_port(4001), b"")]
    (to_a,) = stage.answered(sdp(B, 4002))
    assert not any(isinstance(effect, SendDatagram) for effect in stage.effects)
    stage.receive(to_a.local, CALLER, rtp(1))
    stage.ask(CommandName.QUERY)
    stage.offer(sdp(A), to_tag="b", pierce_nat=True)
    pierced_again = {effect.remote for effect in stage.effects if isinstance(effect, SendDatagram)}
    assert CALLER not in pierced_again
    assert CALLEE in pierced_again


def test_static_codecs_are_those_of_before() -> None:
    stage = Stage()
    stage.offered(sdp(A, media=("m=audio 4000 RTP/AVP 8 0 9",)))
    stage.answered(sdp(B, media=("m=audio 4002 RTP/AVP 0",)))
    (again,) = stage.offered(sdp(A, media=("m=audio 4000 RTP/AVP 9 8 0",)), to_tag="b", static_codecs=True)
    assert again.formats == ["0"]
    (others,) = stage.offered(sdp(A, media=("m=audio 4000 RTP/AVP 18",)), to_tag="b", static_codecs=True)
    assert others.formats == ["18"]


def test_a_flag_that_does_nothing_yet_is_told_of_once() -> None:
    stage = Stage()
    for call in ("one", "two"):
        stage.offer(sdp(A), call_id=CallId(call), missed_flags=frozenset({"record-call"}))
        told = [e.fields for e in stage.effects if isinstance(e, Notify) and e.event.startswith("flag without effect")]
        reason = "media processing is not part of this relay yet"
        assert told == ([{"flag": "record-call", "reason": reason}] if call == "one" else [])


@pytest.mark.parametrize("tail", ["\r\n", "a=sendrecv\r\n\r\n", "junk\r\n", " \r\n"])
def test_what_is_no_line_of_sdp_is_passed_on_unless_the_operator_refuses_it(tail: str) -> None:
    assert Stage().offer(sdp(A) + tail)["result"] == "ok"
    stage = Stage(reject_invalid_sdp=True)
    assert stage.offer(sdp(A) + tail)["error-reason"].startswith("Malformed SDP, line ")
    assert stage.relay.registry.calls == {}
    assert stage.offer(sdp(A))["result"] == "ok"
    assert stage.ask(CommandName.QUERY)["result"] == "ok"


def call_waiting_for(stage: Stage, *parties: str, media: str = "m=audio {} RTP/AVP 0") -> tuple[Endpoint, Endpoint]:
    (to_b,) = stage.offered(sdp(A, media=[media.format(4000)]), nat_wait="caller" in parties)
    (to_a,) = stage.answered(sdp(B, media=[media.format(4002)]), nat_wait="callee" in parties)
    return to_a.local, to_b.local


def test_nothing_is_sent_to_who_is_waited_for_before_its_first_packet_which_goes_its_way() -> None:
    stage = Stage()
    from_a, from_b = call_waiting_for(stage, "callee")
    rtcp_a, rtcp_b = from_a.with_port(from_a.port + 1), from_b.with_port(from_b.port + 1)
    assert heard_at(stage, from_a, CALLER) == []
    assert stage.receive(rtcp_a, CALLER.with_port(4001), receiver_report()) == []
    assert stage.receive(rtcp_b, CALLEE.with_port(4003), receiver_report()) != []
    assert heard_at(stage, from_a, CALLER) == [], "RTCP opens the way of RTCP alone"
    assert heard_at(stage, from_b, CALLEE) == [CALLER]
    assert heard_at(stage, from_a, CALLER) == [CALLEE]
    assert stage.receive(rtcp_a, CALLER.with_port(4001), receiver_report()) != []


def test_who_is_waited_for_may_be_behind_nat() -> None:
    stage = Stage(endpoint_learning=EndpointLearning.IMMEDIATE)
    from_a, from_b = call_waiting_for(stage, "caller", "callee")
    behind = at("203.0.113.50:6000")
    assert stage.stream(from_b, behind, 2) == [], "the caller is waited for as well"
    assert heard_at(stage, from_a, CALLER) == [behind]
    assert heard_at(stage, from_b, behind) == [CALLER]


def test_waiting_outlives_a_restart_and_ends_once_for_all() -> None:
    stage = Stage()
    from_a, from_b = call_waiting_for(stage, "callee")
    stage.restart()
    assert heard_at(stage, from_a, CALLER) == []
    stage.receive(from_b, CALLEE, rtp(1))
    stage.offer(sdp(A, media=["m=audio 4000 RTP/AVP 0"]), to_tag="b")
    stage.answer(sdp(B, media=["m=audio 4002 RTP/AVP 0"]), nat_wait=True)
    assert heard_at(stage, from_a, CALLER) == [CALLEE]
    stage.answer(sdp(B, media=["m=audio 4008 RTP/AVP 0"]), nat_wait=True)
    assert heard_at(stage, from_a, CALLER) == [], "it is elsewhere now"


def test_fax_waits_like_any_medium() -> None:
    stage = Stage()
    from_a, from_b = call_waiting_for(stage, "callee", media="m=image {} udptl t38")
    assert stage.receive(from_a, CALLER, b"fax") == []
    assert stage.receive(from_b, CALLEE, b"fax") != []
    assert stage.receive(from_a, CALLER, b"fax") != []
