"""block and silence media, block DTMF: what reaches whom, and what the planner makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.core.muting import COMMANDS
from rtprelay.kernel.encode import flow_fits
from rtprelay.plan.flow import Capabilities
from rtprelay.plan.planner import plan
from rtprelay.signalling.command import CommandName
from rtprelay.values import Endpoint, Tag
from tests.unit.core_stage import A, B, Stage, at, receiver_report, rtp, sdp

CALLER, CALLEE = at(f"{A}:4000"), at(f"{B}:4002")
EVENTS = ("a=rtpmap:101 telephone-event/8000",)
BOTH_WAYS, NOTHING, FROM_B_ONLY = (True, True), (False, False), (False, True)


def stage_with_call() -> tuple[Stage, Endpoint, Endpoint]:
    stage = Stage()
    media = ("m=audio {} RTP/AVP 0 101",)
    (to_b,) = stage.offered(sdp(A, media=[m.format(4000) for m in media] + list(EVENTS)), label="alice")
    (to_a,) = stage.answered(sdp(B, media=[m.format(4002) for m in media] + list(EVENTS)), label="bob")
    return stage, to_a.local, to_b.local


def heard(stage: Stage, from_a: Endpoint, from_b: Endpoint, payload_type: int = 0) -> tuple[bool, bool]:
    """Whether the callee hears the caller, and the other way round."""
    return (
        bool(stage.receive(from_a, CALLER, rtp(1, payload_type=payload_type))),
        bool(stage.receive(from_b, CALLEE, rtp(1, payload_type=payload_type))),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, NOTHING),
        ({"from_tag": Tag("a")}, NOTHING),
        ({"from_tag": Tag("a"), "directional": True}, FROM_B_ONLY),
        ({"address": A}, FROM_B_ONLY),
        ({"label": "alice"}, FROM_B_ONLY),
        ({"from_tag": Tag("a"), "directional": True, "to_tag": Tag("b")}, FROM_B_ONLY),
        ({"label": "alice", "set_label": "bob"}, FROM_B_ONLY),
    ],
    ids=["call", "from-tag alone", "directional", "address", "label", "one flow", "one flow by labels"],
)
def test_blocked_media_reaches_nobody_until_it_is_unblocked(
    fields: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    stage, from_a, from_b = stage_with_call()
    assert stage.ask(CommandName.BLOCK_MEDIA, **fields) == {"result": "ok"}
    assert heard(stage, from_a, from_b) == expected
    stage.ask(CommandName.UNBLOCK_MEDIA, **fields)
    assert heard(stage, from_a, from_b) == BOTH_WAYS


def test_blocked_media_lets_dtmf_and_rtcp_through_and_nothing_else() -> None:
    stage, from_a, from_b = stage_with_call()
    stage.ask(CommandName.BLOCK_MEDIA, from_tag=Tag("a"), directional=True)
    assert heard(stage, from_a, from_b, payload_type=101) == BOTH_WAYS
    assert heard(stage, from_a, from_b, payload_type=99) == FROM_B_ONLY
    rtcp_a, caller_rtcp = from_a.with_port(from_a.port + 1), CALLER.with_port(CALLER.port + 1)
    assert stage.receive(rtcp_a, caller_rtcp, receiver_report())
    stage.ask(CommandName.BLOCK_DTMF, from_tag=Tag("a"), directional=True)
    assert heard(stage, from_a, from_b, payload_type=101) == FROM_B_ONLY


def test_one_receiver_of_many_that_is_blocked_gets_no_dtmf_either() -> None:
    """What is dropped by payload type is dropped for all: the others are to hear everything."""
    stage, from_a, _ = stage_with_call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("tap"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp=sdp("198.51.100.7", 6000), to_tag=Tag("tap"))
    stage.ask(CommandName.BLOCK_MEDIA, label="alice", set_label="bob")
    assert [str(to) for _, _, to in stage.receive(from_a, CALLER, rtp(2, payload_type=101))] == ["198.51.100.7:6000"]


@pytest.mark.parametrize("command", [CommandName.BLOCK_MEDIA, CommandName.SILENCE_MEDIA])
def test_who_is_muted_is_heard_all_the_same_and_the_call_lives(command: CommandName) -> None:
    stage = Stage(timeout=60.0)
    media = ["m=audio {} RTP/AVP 96 101", "a=rtpmap:96 opus/48000/2", *EVENTS]
    (to_b,) = stage.offered(sdp(A, media=[m.format(4000) for m in media]))
    (to_a,) = stage.answered(sdp(B, media=[m.format(4002) for m in media]))
    stage.ask(command)
    for sequence in range(9):
        stage.wait(10.0)
        assert stage.receive(to_a.local, CALLER, rtp(sequence, payload_type=96)) == []
        assert stage.receive(to_b.local, CALLEE, rtp(sequence, payload_type=101)) != []
    assert "call ended" not in stage.events()
    assert stage.relay.registry.calls


def test_fax_is_blocked_like_any_medium() -> None:
    stage = Stage()
    media = "m=image {} udptl t38"
    (to_b,) = stage.offered(sdp(A, media=[media.format(4000)]))
    (to_a,) = stage.answered(sdp(B, media=[media.format(4002)]))
    assert stage.receive(to_a.local, CALLER, b"fax")
    stage.ask(CommandName.BLOCK_MEDIA, from_tag=Tag("a"), directional=True)
    assert not stage.receive(to_a.local, CALLER, b"fax")
    assert stage.receive(to_b.local, CALLEE, b"fax")
    stage.ask(CommandName.UNBLOCK_MEDIA)
    assert stage.receive(to_a.local, CALLER, b"fax")


def test_blocked_dtmf_leaves_the_voice_alone() -> None:
    stage, from_a, from_b = stage_with_call()
    stage.ask(CommandName.BLOCK_DTMF, from_tag=Tag("a"), directional=True)
    assert heard(stage, from_a, from_b, payload_type=101) == FROM_B_ONLY
    assert heard(stage, from_a, from_b) == BOTH_WAYS
    stage.ask(CommandName.UNBLOCK_DTMF)
    assert heard(stage, from_a, from_b, payload_type=101) == BOTH_WAYS


def test_silenced_media_keeps_its_time_and_loses_its_sound() -> None:
    stage, from_a, _ = stage_with_call()
    stage.ask(CommandName.SILENCE_MEDIA, from_tag=Tag("a"), directional=True)
    ((_, data, destination),) = stage.receive(from_a, CALLER, rtp(7))
    assert (data, destination) == (rtp(7)[:12] + b"\xff" * 160, CALLEE)
    assert stage.receive(from_a, CALLER, rtp(8, payload_type=101)), "DTMF makes no sound"
    stage.ask(CommandName.UNSILENCE_MEDIA)
    ((_, data, _),) = stage.receive(from_a, CALLER, rtp(8))
    assert data == rtp(8)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name is not CommandName.START_FORWARDING])
def test_no_muting_makes_the_kernel_hand_media_up(command: CommandName) -> None:
    stage, *_ = stage_with_call()
    stage.ask(command)
    (call,) = stage.relay.registry.calls.values()
    flows = plan(call, Capabilities(name="ebpf", in_kernel=True)).values()
    assert [flow.userspace for flow in flows] == [False] * 4
    assert all(map(flow_fits, flows))


def test_blocking_outlives_a_restart_and_a_new_offer() -> None:
    stage, from_a, from_b = stage_with_call()
    stage.ask(CommandName.BLOCK_MEDIA)
    stage.restart()
    assert heard(stage, from_a, from_b) == NOTHING


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_tag": Tag("x"), "directional": True}, "Unknown from-tag"),
        ({"address": "203.0.113.77"}, "No party with media address 203.0.113.77"),
        ({"label": "nobody"}, "No party with label 'nobody'"),
        ({"from_tag": Tag("a"), "directional": True, "to_tag": Tag("x")}, "Unknown to-tag"),
    ],
)
def test_nobody_is_an_error(fields: dict[str, Any], reason: str) -> None:
    stage, *_ = stage_with_call()
    assert stage.ask(CommandName.BLOCK_MEDIA, **fields) == {"result": "error", "error-reason": reason}


def test_commands_whose_media_work_is_missing_say_so() -> None:
    stage, *_ = stage_with_call()
    body = stage.ask(CommandName.PLAY_MEDIA)
    assert body["result"] == "error"
    assert body["error-reason"].startswith("Not supported yet: play media")


@pytest.mark.parametrize(("asking", "expected"), [("offer", FROM_B_ONLY), ("answer", (True, False))])
def test_dtmf_may_be_blocked_as_soon_as_a_party_speaks(asking: str, expected: tuple[bool, bool]) -> None:
    stage = Stage()
    media = ["m=audio {} RTP/AVP 0 101", *EVENTS]
    (to_b,) = stage.offered(sdp(A, media=[m.format(4000) for m in media]), block_dtmf=asking == "offer")
    (to_a,) = stage.answered(sdp(B, media=[m.format(4002) for m in media]), block_dtmf=asking == "answer")
    assert heard(stage, to_a.local, to_b.local, payload_type=101) == expected
    stage.ask(CommandName.UNBLOCK_DTMF)
    assert heard(stage, to_a.local, to_b.local, payload_type=101) == BOTH_WAYS


def test_traffic_is_dropped_until_an_offer_or_answer_says_otherwise() -> None:
    stage = Stage()
    from_a, from_b = stage.call(drop_traffic=True)
    assert heard(stage, from_a, from_b) == NOTHING
    stage.offer(sdp(A), to_tag="b")
    assert heard(stage, from_a, from_b) == NOTHING
    stage.answer(sdp(B, 4002), drop_traffic=False)
    assert heard(stage, from_a, from_b) == BOTH_WAYS


def test_one_flow_by_labels_spares_the_others() -> None:
    stage, from_a, _ = stage_with_call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("tap"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(address="198.51.100.7", port=6000), to_tag=Tag("tap"))
    assert len(stage.receive(from_a, CALLER, rtp(1))) == 2
    stage.ask(CommandName.BLOCK_MEDIA, label="alice", set_label="bob")
    assert [str(to) for _, _, to in stage.receive(from_a, CALLER, rtp(2))] == ["198.51.100.7:6000"]
    assert "No party with label" in stage.ask(CommandName.BLOCK_MEDIA, label="alice", set_label="eve")["error-reason"]


@pytest.mark.parametrize(
    ("kind", "heard_by"),
    [("offer-answer", ["198.51.100.7:6000"]), ("except-offer-answer", [str(CALLEE)]), ("flows", [])],
)
def test_flows_are_blocked_by_how_they_came_about(kind: str, heard_by: list[str]) -> None:
    stage, from_a, from_b = stage_with_call()
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag("tap"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(address="198.51.100.7", port=6000), to_tag=Tag("tap"))
    stage.ask(CommandName.BLOCK_MEDIA, from_tag=Tag("a"), all=kind)
    assert [str(to) for _, _, to in stage.receive(from_a, CALLER, rtp(1))] == heard_by
    assert stage.receive(from_b, CALLEE, rtp(1))
    stage.ask(CommandName.UNBLOCK_MEDIA, from_tag=Tag("a"), all=kind)
    assert len(stage.receive(from_a, CALLER, rtp(2))) == 2


def test_a_blocked_flow_stays_blocked_when_the_call_is_offered_again() -> None:
    stage, from_a, from_b = stage_with_call()
    stage.ask(CommandName.BLOCK_MEDIA, from_tag=Tag("a"), directional=True, to_tag=Tag("b"))
    stage.offer(sdp(A), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert heard(stage, from_a, from_b) == FROM_B_ONLY
