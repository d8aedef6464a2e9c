"""A call between two parties: what flows where after each offer and answer.

A 198.51.100.1 ----> facing_a [relay] facing_b ----> B 198.51.100.3
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.core.effects import ApplyFlows, ClosePorts, OpenPorts, Persist, Reply
from rtprelay.core.settings import MediaInterface
from rtprelay.plan.flow import Mismatch, PayloadRule
from rtprelay.signalling.command import CommandName, EndpointLearning, IceOption, SdpReplace
from rtprelay.values import CallId, Endpoint, Family
from tests.unit.core_stage import INSIDE, RELAY, RELAY6, A, B, Stage, at, receiver_report, rtp, sdp

VIDEO = ("m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000")


def audio_and_video(address: str, audio: int, video: int) -> str:
    return sdp(address, media=(f"m=audio {audio} RTP/AVP 0 8", f"m=video {video} RTP/AVP 96", "a=rtpmap:96 H264/90000"))


def test_an_offer_opens_ports_on_both_sides_before_anything_is_promised() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    kinds = [type(effect) for effect in stage.effects]
    assert kinds == [OpenPorts] * 2 + [ApplyFlows, Persist, Reply]


def test_rtp_takes_an_even_port_and_rtcp_the_next() -> None:
    (section,) = Stage().offered(sdp(A))
    assert section.port % 2 == 0
    assert section.rtcp.port == section.port + 1


def test_media_flows_both_ways_after_the_answer() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1)) == [(facing_b, rtp(1), at(f"{B}:4002"))]
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1)) == [(facing_a, rtp(1), at(f"{A}:4000"))]


def test_a_party_that_sends_from_its_sdp_address_is_never_handed_up() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.stream(facing_a, at(f"{A}:4000"), 20)
    report = stage.forwarder.report(facing_a)
    assert report is not None
    assert (report.packets, report.punted) == (20, 0)


def test_rtcp_flows_between_the_next_ports() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    rtcp_a, rtcp_b = facing_a.with_port(facing_a.port + 1), facing_b.with_port(facing_b.port + 1)
    packet = receiver_report()
    assert stage.receive(rtcp_a, at(f"{A}:4001"), packet) == [(rtcp_b, packet, at(f"{B}:4003"))]


def test_rtcp_goes_where_the_rtcp_attribute_says() -> None:
    stage = Stage()
    _, facing_b = stage.call(sdp(A, 4000, "a=rtcp:4100 IN IP4 198.51.100.55"))
    rtcp_b = facing_b.with_port(facing_b.port + 1)
    ((_, _, destination),) = stage.receive(rtcp_b, at(f"{B}:4003"), receiver_report())
    assert destination == at("198.51.100.55:4100")


def test_the_flow_knows_the_payload_types_of_both_sides() -> None:
    stage = Stage()
    facing_a, _ = stage.call(
        sdp(A, media=("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000")),
        sdp(B, media=("m=audio 4002 RTP/AVP 0 100", "a=rtpmap:100 telephone-event/8000")),
    )
    assert stage.flow(facing_a).payloads == (
        PayloadRule(0, 8000),
        PayloadRule(100, 8000),
        PayloadRule(101, 8000),
    )


# --- re-INVITE ---


def test_an_unchanged_reinvite_touches_no_flow() -> None:
    stage = Stage()
    stage.call()
    stage.offer(sdp(A), to_tag="b")
    assert stage.ops() == []
    stage.answer(sdp(B, 4002))
    assert stage.ops() == []


def test_ports_stay_through_reinvites_from_either_side() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    (to_a,) = stage.offered(sdp(B, 4002), from_tag="b", to_tag="a")
    (to_b,) = stage.answered(sdp(A), from_tag="b", to_tag="a")
    assert (to_a.local, to_b.local) == (facing_a, facing_b)


def test_a_reinvite_with_the_same_address_keeps_what_was_learned() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, at("203.0.113.200:7000"), 8)
    stage.offer(sdp(A, 4000, "a=sendrecv"), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert stage.outputs(facing_b) == [(facing_a, at("203.0.113.200:7000"))]


def test_a_reinvite_with_another_address_forgets_what_was_learned() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, at("203.0.113.200:7000"), 8)
    stage.offer(sdp(A, 4010), to_tag="b")
    assert stage.outputs(facing_b) == [(facing_a, at(f"{A}:4010"))]
    assert stage.flow(facing_a).expected == at(f"{A}:4010")


def test_a_party_that_moves_is_heard_at_once_from_its_new_address() -> None:
    stage = Stage()
    facing_a, _facing_b = stage.call()
    stage.stream(facing_a, at(f"{A}:4000"), 3)
    stage.offer(sdp(A, 4010), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert stage.receive(facing_a, at(f"{A}:4010"), rtp(4))
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(5)) == []


def test_no_port_latching_gives_the_other_side_a_new_port_when_the_party_moves() -> None:
    stage = Stage()
    _, facing_b = stage.call()
    (unmoved,) = stage.offered(sdp(A), to_tag="b", no_port_latching=True)
    assert unmoved.local == facing_b
    (moved,) = stage.offered(sdp(A, 4010), to_tag="b", no_port_latching=True)
    assert moved.local != facing_b
    stage.answer(sdp(B, 4002))
    assert facing_b not in stage.open


def test_port_latching_keeps_the_ports_when_the_party_moves() -> None:
    stage = Stage()
    _, facing_b = stage.call()
    (moved,) = stage.offered(sdp(A, 4010), to_tag="b", port_latching=True)
    assert moved.local == facing_b


def test_a_repeated_invite_without_to_tag_gets_the_same_ports() -> None:
    stage = Stage()
    (first,) = stage.offered(sdp(A))
    (second,) = stage.offered(sdp(A))
    assert second.local == first.local
    stage.answer(sdp(B, 4002))
    (third,) = stage.offered(sdp(A))
    assert third.local == first.local


# --- hold ---


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        (sdp("0.0.0.0", 4000), "sendonly"),
        (sdp(A, 4000, "a=sendonly"), "sendonly"),
        (sdp(A, 4000, "a=inactive"), "inactive"),
        (sdp("0.0.0.0", 4000, "a=recvonly"), "inactive"),
    ],
)
def test_a_held_party_gets_no_rtp_and_still_its_rtcp(held: str, shown: str) -> None:
    stage = Stage()
    _facing_a, facing_b = stage.call()
    (section,) = stage.offered(held, to_tag="b")
    assert section.direction == shown
    stage.answer(sdp(B, 4002, "a=recvonly"))
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1)) == []
    rtcp_b = facing_b.with_port(facing_b.port + 1)
    ((_, _, destination),) = stage.receive(rtcp_b, at(f"{B}:4003"), receiver_report())
    assert destination == at(f"{A}:4001")


@pytest.mark.parametrize("held", [sdp("0.0.0.0"), sdp(A, 4000, "a=sendonly"), sdp(A, 4000, "a=inactive")])
def test_hold_begins_with_the_answer_and_a_refused_offer_leaves_the_session_as_it_was(held: str) -> None:
    """RFC 3261 section 14.1: whoever refuses a re-INVITE goes on as before, and so does who sent it."""
    stage = Stage()
    _facing_a, facing_b = stage.call()
    before = stage.flows()
    stage.offer(held, to_tag="b")
    assert stage.flows() == before
    stage.restart()
    stage.offer(held, to_tag="b")
    stage.restart()
    assert stage.flows() == before
    stage.answer(sdp(B, 4002, "a=recvonly"))
    assert stage.outputs(facing_b) == []


def test_resume_begins_with_the_answer() -> None:
    stage = Stage()
    _facing_a, facing_b = stage.call()
    stage.offer(sdp(A, 4000, "a=sendonly"), to_tag="b")
    stage.answer(sdp(B, 4002, "a=recvonly"))
    stage.offer(sdp(A), to_tag="b")
    assert stage.outputs(facing_b) == []
    stage.answer(sdp(B, 4002))
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1))


def test_an_offer_from_the_other_side_replaces_a_hold_that_was_refused() -> None:
    stage = Stage()
    stage.call()
    before = stage.flows()
    stage.offer(sdp(A, 4000, "a=inactive"), to_tag="b")
    stage.offer(sdp(B, 4002), from_tag="b", to_tag="a")
    stage.answer(sdp(A), from_tag="b", to_tag="a")
    stage.offer(sdp(A), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert stage.flows() == before


def test_a_first_offer_on_hold_gets_no_early_media() -> None:
    stage = Stage()
    (section,) = stage.offered(sdp(A, 4000, "a=sendonly"))
    assert stage.outputs(section.local) == []


def test_hold_by_zero_address_works_in_ipv6_too() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(sdp("2001:db8::1"), sdp("2001:db8::3", 4002))
    (section,) = stage.offered(sdp("::"), to_tag="b")
    assert (section.address, section.direction) == ("::", "sendonly")
    stage.answer(sdp("2001:db8::3", 4002, "a=recvonly"))
    assert stage.outputs(facing_b) == []
    assert facing_a.family is Family.IP6


def test_a_party_on_hold_still_sends_music() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.offer(sdp(A, 4000, "a=sendonly"), to_tag="b")
    stage.answer(sdp(B, 4002, "a=recvonly"))
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))


def test_resume_takes_the_same_path_as_before_learned_source_included() -> None:
    stage = Stage()
    facing_a, _facing_b = stage.call()
    stage.stream(facing_a, at("203.0.113.200:7000"), 8)
    before = stage.flows()
    stage.offer(sdp("0.0.0.0", 4000), to_tag="b")
    stage.answer(sdp(B, 4002, "a=recvonly"))
    assert stage.flows() != before
    stage.offer(sdp(A, 4000), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert stage.flows() == before


def test_the_zero_address_is_passed_on_unless_it_is_to_be_replaced() -> None:
    (passed,) = Stage().offered(sdp("0.0.0.0"))
    assert passed.address == "0.0.0.0"
    (replaced,) = Stage().offered(sdp("0.0.0.0"), replace=SdpReplace.ZERO_ADDRESS)
    assert (replaced.address, replaced.direction) == (RELAY, "sendonly")


@pytest.mark.parametrize("lines", [(), ("a=sendonly",)])
def test_original_sendrecv_leaves_the_direction_of_a_zero_address_alone(lines: tuple[str, ...]) -> None:
    reply = Stage().offer(sdp("0.0.0.0", 4000, *lines), original_sendrecv=True)
    directions = [line for line in reply["sdp"].splitlines() if line in ("a=sendrecv", "a=sendonly", "a=recvonly")]
    assert directions == list(lines)


# --- m-lines ---


def test_a_section_rejected_by_the_answerer_gives_its_ports_back_on_both_sides() -> None:
    stage = Stage()
    stage.offer(audio_and_video(A, 4000, 5000))
    assert len(stage.open) == 8
    audio, video = stage.answered(audio_and_video(B, 4002, 0))
    assert (audio.port != 0, video.port) == (True, 0)
    assert len(stage.open) == 4
    assert sum(len(effect.locals) for effect in stage.effects if isinstance(effect, ClosePorts)) == 4


def test_a_section_rejected_by_the_offerer_never_gets_ports() -> None:
    stage = Stage()
    audio, video = stage.offered(audio_and_video(A, 4000, 0))
    assert (audio.port != 0, video.port) == (True, 0)
    assert len(stage.open) == 4


def test_an_added_section_gets_ports_and_leaves_the_first_alone() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    audio, video = stage.offered(audio_and_video(A, 4000, 5000), to_tag="b")
    assert audio.local == facing_b
    stage.answer(audio_and_video(B, 4002, 5002))
    assert stage.receive(video.local, at(f"{B}:5002"), rtp(1, payload_type=96))
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))


def test_a_rejected_section_comes_back_with_new_ports() -> None:
    stage = Stage()
    stage.offer(audio_and_video(A, 4000, 5000))
    stage.answer(audio_and_video(B, 4002, 0))
    _, video = stage.offered(audio_and_video(A, 4000, 5000), to_tag="b")
    _, back = stage.answered(audio_and_video(B, 4002, 5002))
    assert stage.receive(video.local, at(f"{B}:5002"), rtp(1, payload_type=96)) == [
        (back.local, rtp(1, payload_type=96), at(f"{A}:5000"))
    ]


def test_an_offer_with_fewer_sections_than_before_ends_the_others() -> None:
    stage = Stage()
    stage.offer(audio_and_video(A, 4000, 5000))
    stage.answer(audio_and_video(B, 4002, 5002))
    stage.offer(sdp(A), to_tag="b")
    assert len(stage.open) == 4


def test_an_answer_with_fewer_sections_rejects_the_others() -> None:
    stage = Stage()
    stage.offer(audio_and_video(A, 4000, 5000))
    (audio,) = stage.answered(sdp(B, 4002))
    assert audio.port
    assert len(stage.open) == 4


def test_an_answer_to_more_than_was_offered_is_rejected_where_nothing_was() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    audio, video = stage.answered(audio_and_video(B, 4002, 5002))
    assert (audio.port != 0, video.port) == (True, 0)


def test_an_answer_from_a_party_with_more_sections_of_its_own_is_taken() -> None:
    stage = Stage()
    stage.offer(audio_and_video(A, 4000, 5000))
    stage.answer(audio_and_video(B, 4002, 5002))
    stage.offer(sdp("198.51.100.9", 6000), from_tag="c", to_tag="b")
    (section,) = stage.answered(sdp(B, 4002), from_tag="c", to_tag="b")
    assert section.port


def test_a_tcp_section_is_passed_along_as_it_is() -> None:
    stage = Stage()
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=message 7000 TCP/MSRP *", "a=path:msrp://x"))
    audio, message = stage.offered(text)
    assert audio.port != 4000
    assert message.lines == ["m=message 7000 TCP/MSRP *", "a=path:msrp://x"]
    assert f"c=IN IP4 {A}" in stage.offer(text)["sdp"], "the section lives off the session's address"
    assert len(stage.open) == 4


# --- early media, addresses, interfaces ---


def test_early_media_flows_to_the_caller_before_any_answer() -> None:
    stage = Stage()
    (facing_b,) = stage.offered(sdp(A))
    sent = stage.stream(facing_b.local, at(f"{B}:4002"), 10)
    assert [destination for _, _, destination in sent] == [at(f"{A}:4000")] * 10


def test_early_media_of_the_answered_address_goes_on_without_a_gap() -> None:
    stage = Stage()
    (facing_b,) = stage.offered(sdp(A))
    stage.stream(facing_b.local, at(f"{B}:4002"), 10)
    stage.answer(sdp(B, 4002))
    assert len(stage.stream(facing_b.local, at(f"{B}:4002"), 10, first=11)) == 10
    report = stage.forwarder.report(facing_b.local)
    assert report is not None
    assert report.punted <= 6


@pytest.mark.parametrize(
    ("caller", "callee", "family", "seen_by_callee", "seen_by_caller"),
    [
        (A, B, None, RELAY, RELAY),
        ("2001:db8::1", "2001:db8::3", None, RELAY6, RELAY6),
        ("2001:db8::1", B, Family.IP4, RELAY, RELAY6),
        (A, "2001:db8::3", Family.IP6, RELAY6, RELAY),
    ],
)
def test_each_side_gets_an_address_of_its_own_family(
    caller: str, callee: str, family: Family | None, seen_by_callee: str, seen_by_caller: str
) -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(sdp(caller), sdp(callee, 4002), address_family=family)
    assert (facing_b.address, facing_a.address) == (seen_by_callee, seen_by_caller)
    assert stage.receive(facing_a, Endpoint(caller, 4000), rtp(1)) == [(facing_b, rtp(1), Endpoint(callee, 4002))]


def test_the_family_of_a_known_party_is_remembered_in_reinvites() -> None:
    stage = Stage()
    _, facing_b = stage.call(sdp("2001:db8::1"), sdp(B, 4002), address_family=Family.IP4)
    (section,) = stage.offered(sdp("2001:db8::1"), to_tag="b")
    assert section.local == facing_b


def test_a_party_that_changes_its_family_gets_a_port_of_the_new_one() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    (to_b,) = stage.offered(sdp("2001:db8::1"), to_tag="b")
    (to_a,) = stage.answered(sdp(B, 4002))
    assert (to_b.local, to_a.address) == (facing_b, RELAY6)
    assert facing_a not in stage.open


def test_nothing_is_sent_across_families_to_an_answer_in_the_wrong_one() -> None:
    stage = Stage()
    facing_a, _ = stage.call(sdp(A), sdp("2001:db8::3", 4002))
    assert stage.outputs(facing_a) == []


def test_direction_names_the_interface_of_each_side_and_it_is_remembered() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A), direction=("outside", "inside"))
    (to_a,) = stage.answered(sdp(B, 4002))
    assert (to_b.address, to_a.address) == ("203.0.113.9", RELAY)
    assert {local.address for local in stage.open} == {INSIDE, RELAY}
    (again,) = stage.offered(sdp(A), to_tag="b")
    assert again.local == to_b.local
    (from_b,) = stage.offered(sdp(B, 4002), from_tag="b", to_tag="a")
    assert from_b.local == to_a.local


def test_another_direction_in_a_reinvite_moves_the_ports() -> None:
    stage = Stage()
    stage.call(direction=("outside", "inside"))
    (to_b,) = stage.offered(sdp(A), to_tag="b", direction=("inside", "outside"))
    assert to_b.address == RELAY


@pytest.mark.parametrize(
    ("moved", "flags"),
    [
        (sdp("2001:db8::1"), {}),
        (sdp(A), {"direction": ("inside", "inside")}),
        (sdp(A), {"address_family": Family.IP6}),
        (sdp("2001:db8::1"), {"no_port_latching": True}),
    ],
)
def test_ports_that_are_only_offered_leave_the_session_as_it_was(moved: str, flags: dict[str, Any]) -> None:
    """RFC 3261 section 14.1. What the offer has opened goes with the next offer, or with the call."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    before = stage.flows()
    stage.offer(moved, to_tag="b", **flags)
    assert before.items() <= stage.flows().items()
    assert len(stage.open) > len(before)
    stage.restart()
    assert before.items() <= stage.flows().items()
    stage.stream(facing_b, at("203.0.113.200:7000"), 8)
    assert stage.outputs(facing_a) == [(facing_b, at("203.0.113.200:7000"))]
    (again,) = stage.offered(moved, to_tag="b", **flags)
    (to_a,) = stage.answered(sdp(B, 4002), to_tag="b")
    assert (facing_a in stage.open, facing_b in stage.open) == (to_a.local == facing_a, again.local == facing_b)
    assert len(stage.open) == 4
    stage.offer(sdp(A), to_tag="b", direction=("outside", "outside"))
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert (stage.ports_used(), stage.open) == (0, {})


@pytest.mark.parametrize("gone", ["a", "b"])
def test_no_port_is_lost_where_a_party_goes_or_a_fork_answers_meanwhile(gone: str) -> None:
    stage = Stage()
    stage.call()
    stage.offer(sdp(A), to_tag="b", direction=("inside", "inside"))
    stage.answer(sdp(B, 4004), to_tag="fork")
    assert len(stage.open) == 4
    stage.offer(sdp(A), to_tag="fork", direction=("outside", "outside"))
    assert len(stage.open) == 8
    stage.ask(CommandName.DELETE, from_tag=gone, delete_delay=0)
    stage.answer(sdp(B, 4002))
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert (stage.ports_used(), stage.open) == (0, {})


def test_the_offer_after_a_refused_one_is_for_the_ports_that_are_agreed_on() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    before = stage.flows()
    stage.offer(sdp("2001:db8::1"), to_tag="b", direction=("inside", "inside"))
    (to_b,) = stage.offered(sdp(A), to_tag="b", direction=("outside", "outside"))
    (to_a,) = stage.answered(sdp(B, 4002))
    assert (to_a.local, to_b.local) == (facing_a, facing_b)
    assert stage.flows() == before


def test_ice_begins_anew_where_the_ports_have_moved() -> None:
    """A path that began at the old port cannot be used from the new one."""
    stage = Stage()
    ice = ("a=ice-ufrag:abcd", "a=ice-pwd:1234567890123456789012", "a=candidate:1 1 UDP 1 198.51.100.1 4000 typ host")
    (before,) = stage.offered(sdp(A, 4000, *ice), direction=("outside", "inside"))
    (same,) = stage.offered(sdp(A, 4000, *ice))
    assert same.attribute("ice-ufrag") == before.attribute("ice-ufrag")
    (moved,) = stage.offered(sdp(A, 4000, *ice), direction=("inside", "outside"))
    assert moved.attribute("ice-ufrag") != before.attribute("ice-ufrag")
    stage.wait(1.0)
    stage.check()


def test_ice_that_is_only_offered_leaves_the_session_as_it_was() -> None:
    """RFC 3261 section 14.1: the callee may refuse, and goes on where it was."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_b, at("203.0.113.200:7000"), 8)
    before = {local: stage.flow(local) for pair in (facing_a.pair, facing_b.pair) for local in pair}
    (shown,) = stage.offered(sdp(A), to_tag="b", ice=IceOption.FORCE)
    assert shown.attribute("ice-ufrag")
    stage.restart()
    assert {local: stage.flow(local) for local in before} == before
    stage.stream(facing_b, at(f"{B}:4002"), 2)
    assert stage.outputs(facing_a) == [(facing_b, at(f"{B}:4002"))]
    stage.answer(sdp(B, 4002))
    assert stage.outputs(facing_a) == [(facing_b, at(f"{B}:4002"))]


def test_ice_that_is_answered_says_where_the_party_is_from_then_on() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.offer(sdp(A), to_tag="b", ice=IceOption.FORCE)
    stage.answer(sdp(B, 4002, "a=ice-ufrag:abcd", "a=ice-pwd:1234567890123456789012"))
    assert stage.outputs(facing_a) == []
    assert stage.flow(facing_b).expected is None


def test_from_and_to_interface_override_direction() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A), from_interface="inside", to_interface="outside", direction=("outside", "inside"))
    assert to_b.address == RELAY
    assert {local.address for local in stage.open} == {INSIDE, RELAY}


def test_an_unknown_interface_is_the_default_one() -> None:
    (to_b,) = Stage().offered(sdp(A), direction=("outside", "nowhere"))
    assert to_b.address == RELAY


def test_the_media_address_stands_in_the_sdp_while_the_ports_stay_ours() -> None:
    stage = Stage()
    (section,) = stage.offered(sdp(A), media_address="192.0.2.77")
    assert section.address == "192.0.2.77"
    assert Endpoint(RELAY, section.port) in stage.open


def test_with_sip_source_address_media_goes_to_where_signalling_came_from() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(received_from="198.51.100.99", trust_address=False)
    assert stage.outputs(facing_b) == [(facing_a, at("198.51.100.99:4000"))]


@pytest.mark.parametrize("trust", [True, None])
def test_with_trust_address_media_goes_to_where_the_sdp_says(trust: bool | None) -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(received_from="198.51.100.99", trust_address=trust)
    assert stage.outputs(facing_b) == [(facing_a, at(f"{A}:4000"))]


def test_an_asymmetric_party_is_sent_to_where_its_sdp_says_wherever_it_sends_from() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(asymmetric=True)
    assert len(stage.stream(facing_a, at(f"{A}:9000"), 10)) == 10
    assert stage.outputs(facing_b) == [(facing_a, at(f"{A}:4000"))]
    stage.offer(sdp(A), to_tag="b", symmetric=True)
    assert stage.outputs(facing_b) == [(facing_a, at(f"{A}:9000"))]


def test_media_handover_unlocks_the_source_and_strict_source_locks_it_again() -> None:
    stage = Stage()
    facing_a, _ = stage.call(media_handover=True)
    assert not stage.flow(facing_a).lock
    stage.offer(sdp(A), to_tag="b", strict_source=True)
    assert stage.flow(facing_a).lock


def test_endpoint_learning_off_drops_every_other_source() -> None:
    stage = Stage(endpoint_learning=EndpointLearning.OFF)
    facing_a, _ = stage.call()
    assert stage.flow(facing_a).on_mismatch is Mismatch.DROP
    assert stage.stream(facing_a, at("203.0.113.200:7000"), 10) == []


def test_tos_is_the_whole_calls_in_all_directions() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(tos=184)
    assert set(stage.open.values()) == {184}
    assert {output.tos for local in (facing_a, facing_b) for output in stage.flow(local).outputs} == {184}


@pytest.mark.parametrize(("said", "holds"), [(96, 96), (0, 0), (-1, 184), (None, 16)])
def test_another_tos_holds_for_sockets_that_are_open_and_for_those_to_come(said: int | None, holds: int) -> None:
    stage = Stage(tos=16)
    stage.call(tos=184)
    stage.offer(audio_and_video(A, 4000, 5000), to_tag="b", tos=said)
    assert set(stage.open.values()) == {holds}
    assert {output.tos for flow in stage.flows().values() for output in flow.outputs} == {holds}


def test_an_answer_may_change_the_tos_and_leaves_it_when_it_says_nothing() -> None:
    stage = Stage(tos=16)
    stage.offer(sdp(A), tos=184)
    stage.answer(sdp(B))
    assert set(stage.open.values()) == {184}
    stage.answer(sdp(B), tos=96)
    assert set(stage.open.values()) == {96}


def test_a_refused_offer_leaves_the_tos_as_it_was() -> None:
    stage = Stage()
    stage.call(tos=184)
    stage.room = len(stage.flows())
    assert stage.offer(audio_and_video(A, 4000, 5000), to_tag="b", tos=96)["result"] == "error"
    assert set(stage.open.values()) == {184}
    assert {output.tos for flow in stage.flows().values() for output in flow.outputs} == {184}


def test_the_operators_tos_is_the_default() -> None:
    stage = Stage(tos=16)
    facing_a, _ = stage.call()
    assert [output.tos for output in stage.flow(facing_a).outputs] == [16]


# --- refusals ---


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "224.0.0.1", "ff02::1", "169.254.169.254", "fe80::1", "255.255.255.255"],
)
def test_an_address_no_relay_may_send_to_is_refused(address: str) -> None:
    stage = Stage()
    body = stage.offer(sdp(address))
    assert body["result"] == "error"
    assert "address" in body["error-reason"]
    assert stage.open == {}


def test_a_control_address_is_refused_as_media_address() -> None:
    stage = Stage(control_addresses=("192.0.2.50:2223",))
    assert stage.offer(sdp("192.0.2.50", 2223))["result"] == "error"
    assert stage.offer(sdp("192.0.2.50", 2224))["result"] == "ok"


@pytest.mark.parametrize("line", ["a=rtcp:5000 IN IP4 127.0.0.1", "a=rtcp:5000 IN IP4 224.0.0.1"])
def test_a_bad_address_for_rtcp_alone_is_refused_as_well(line: str) -> None:
    assert Stage().offer(sdp(A, 4000, line))["result"] == "error"


def test_the_address_signalling_came_from_is_checked_where_it_is_used() -> None:
    body = Stage().offer(sdp(A), received_from="127.0.0.1", trust_address=False)
    assert body["result"] == "error"


def test_loopback_is_fine_for_a_relay_that_listens_there() -> None:
    stage = Stage(interfaces=(MediaInterface(name="lo", address="127.0.0.1"),))
    assert stage.offer(sdp("127.0.0.1"))["result"] == "ok"


@pytest.mark.parametrize(
    "text",
    ["", "hello", "v=0\r\n", sdp("198.51.100.300"), sdp(A, media=("m=audio 70000 RTP/AVP 0",)), sdp(A, media=("m=a",))],
)
def test_bad_sdp_leaves_the_call_as_it_was(text: str) -> None:
    stage = Stage()
    stage.call()
    journal, flows = dict(stage.journal), stage.flows()
    assert stage.offer(text, to_tag="b")["result"] == "error"
    assert stage.answer(text)["result"] == "error"
    assert (stage.journal, stage.flows()) == (journal, flows)


def test_bad_sdp_makes_no_call() -> None:
    stage = Stage()
    stage.offer("v=0")
    assert stage.relay.registry.calls == {}


def test_a_half_refused_offer_gives_back_the_ports_of_its_first_section() -> None:
    stage = Stage()
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96", "c=IN IP4 127.0.0.1"))
    assert stage.offer(text)["result"] == "error"
    assert stage.ports_used() == 0


def test_an_answer_to_an_unknown_call_is_an_error_in_rtpengines_words() -> None:
    assert Stage().answer(sdp(B)) == {"result": "error", "error-reason": "Unknown call-id"}


def test_an_answer_from_an_unknown_offerer_is_an_error() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    assert stage.answer(sdp(B), from_tag="nobody") == {"result": "error", "error-reason": "Unknown from-tag"}


def test_beyond_the_session_limit_new_calls_are_refused_and_known_ones_go_on() -> None:
    stage = Stage(max_sessions=1)
    stage.call()
    refused = stage.offer(sdp(A), call_id=CallId("d"))
    assert refused == {"result": "error", "error-reason": "Parallel session limit reached"}
    limited = stage.offer(sdp(A), call_id=CallId("d"), supports=frozenset({"load limit"}))
    assert limited["result"] == "load limit"
    assert stage.offer(sdp(A), to_tag="b")["result"] == "ok"


def test_a_ping_is_answered_with_pong_and_nothing_else_happens() -> None:
    stage = Stage()
    assert stage.ask(CommandName.PING) == {"result": "pong"}
    assert [type(effect) for effect in stage.effects] == [Reply]


def test_an_offerer_without_a_tag_is_understood() -> None:
    stage = Stage()
    stage.offer(sdp(A), from_tag="")
    assert stage.answer(sdp(B, 4002), from_tag="")["result"] == "ok"
    assert stage.offer(sdp(A), from_tag="", to_tag="b")["result"] == "ok"
    assert len(stage.open) == 4
