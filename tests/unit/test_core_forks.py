"""One INVITE, several answers: branches with and without via-branch (RFC 3261 section 16.7).

                      +---> B1 198.51.100.3
A 198.51.100.1 --> [relay]
                      +---> B2 198.51.100.4
"""

from __future__ import annotations

from rtprelay.signalling.command import CommandName
from rtprelay.values import Tag
from tests.unit.core_stage import A, B, Stage, at, rtp, sdp

B2 = "198.51.100.4"


def test_a_fork_takes_over_the_port_every_branch_was_told() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    (first,) = stage.answered(sdp(B, 4002), to_tag="b1")
    (second,) = stage.answered(sdp(B2, 4004), to_tag="b2")
    assert first.local == second.local
    assert stage.outputs(second.local) == [(to_b.local, at(f"{B2}:4004"))]
    assert stage.receive(to_b.local, at(f"{B2}:4004"), rtp(1))
    assert len(stage.open) == 4


def test_the_branch_that_answers_last_is_in_the_dialogue_the_first_tag_included() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    stage.answer(sdp(B, 4002), to_tag="b1")
    stage.answer(sdp(B2, 4004), to_tag="b2")
    (again,) = stage.answered(sdp(B, 4002), to_tag="b1")
    assert stage.outputs(again.local) == [(to_b.local, at(f"{B}:4002"))]
    assert stage.receive(to_b.local, at(f"{B}:4002"), rtp(1))
    assert len(stage.open) == 4


def test_each_via_branch_has_ports_of_its_own_towards_one_port_of_the_caller() -> None:
    stage = Stage()
    (one,) = stage.offered(sdp(A), via_branch="x1")
    (other,) = stage.offered(sdp(A), via_branch="x2")
    assert one.local != other.local
    (from_two,) = stage.answered(sdp(B2, 4004), to_tag="b2", via_branch="x2")
    (from_one,) = stage.answered(sdp(B, 4002), to_tag="b1", via_branch="x1")
    assert from_one.local == from_two.local
    assert stage.outputs(from_one.local) == [(one.local, at(f"{B}:4002"))]


def test_a_second_tag_of_one_branch_leaves_a_waiting_branch_alone() -> None:
    stage = Stage()
    (one,) = stage.offered(sdp(A), via_branch="x1")
    (other,) = stage.offered(sdp(A), via_branch="x2")
    stage.answer(sdp(B, 4002), to_tag="b1", via_branch="x1")
    (fork,) = stage.answered(sdp(B2, 4004), to_tag="b2", via_branch="x1")
    assert stage.outputs(fork.local) == [(one.local, at(f"{B2}:4004"))]
    (late,) = stage.answered(sdp("198.51.100.5", 4006), to_tag="b3", via_branch="x2")
    assert stage.outputs(late.local) == [(other.local, at("198.51.100.5:4006"))]


def test_an_answer_without_via_branch_is_that_of_the_branch_offered_to_last() -> None:
    stage = Stage()
    stage.offer(sdp(A), via_branch="x1")
    (last,) = stage.offered(sdp(A), via_branch="x2")
    (section,) = stage.answered(sdp(B, 4002))
    assert stage.outputs(section.local) == [(last.local, at(f"{B}:4002"))]


def test_an_answer_with_a_branch_nobody_was_offered_goes_by_its_tag() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    (section,) = stage.answered(sdp(B, 4002), via_branch="reply-branch")
    assert stage.outputs(section.local) == [(to_b.local, at(f"{B}:4002"))]


def test_a_repeated_offer_on_a_branch_gets_the_ports_of_that_branch() -> None:
    stage = Stage()
    (one,) = stage.offered(sdp(A), via_branch="x1")
    stage.offer(sdp(A), via_branch="x2")
    (again,) = stage.offered(sdp(A), via_branch="x1")
    assert again.local == one.local


def test_a_reinvite_after_the_fork_stays_with_its_dialogue() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    stage.answer(sdp(B, 4002), to_tag="b1")
    stage.answer(sdp(B2, 4004), to_tag="b2")
    (again,) = stage.offered(sdp(A), to_tag="b2")
    assert again.local == to_b.local
    (from_callee,) = stage.offered(sdp(B2, 4004), from_tag="b2", to_tag="a")
    assert stage.outputs(from_callee.local) == [(to_b.local, at(f"{B2}:4004"))]


def test_what_one_branch_rejected_another_may_still_accept() -> None:
    stage = Stage()
    both = ("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96")
    stage.offer(sdp(A, media=both), via_branch="x1")
    (_, video) = stage.offered(sdp(A, media=both), via_branch="x2")
    (_, refused) = stage.answered(
        sdp(B, media=("m=audio 4002 RTP/AVP 0", "m=video 0 RTP/AVP 96")), to_tag="b1", via_branch="x1"
    )
    assert refused.port == 0
    (_, accepted) = stage.answered(
        sdp(B2, media=("m=audio 4004 RTP/AVP 0", "m=video 5004 RTP/AVP 96")), to_tag="b2", via_branch="x2"
    )
    assert stage.receive(video.local, at(f"{B2}:5004"), rtp(1, payload_type=96)) == [
        (accepted.local, rtp(1, payload_type=96), at(f"{A}:5000"))
    ]


def test_a_failed_branch_goes_and_the_callers_media_returns_to_the_other() -> None:
    stage = Stage()
    (one,) = stage.offered(sdp(A), via_branch="x1")
    stage.offer(sdp(A), via_branch="x2")
    (section,) = stage.answered(sdp(B, 4002), to_tag="b1", via_branch="x1")
    stage.answer(sdp(B2, 4004), to_tag="b2", via_branch="x2")
    body = stage.ask(CommandName.DELETE, from_tag=Tag("a"), via_branch="x2", delete_delay=0)
    assert body["result"] == "ok"
    assert len(stage.open) == 4
    assert stage.outputs(section.local) == [(one.local, at(f"{B}:4002"))]


def test_a_deleted_fork_gives_the_ports_back_to_the_branch_it_had_them_from() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A))
    (section,) = stage.answered(sdp(B, 4002), to_tag="b1")
    stage.answer(sdp(B2, 4004), to_tag="b2")
    stage.ask(CommandName.DELETE, from_tag=Tag("a"), to_tag=Tag("b2"), delete_delay=0)
    assert stage.outputs(section.local) == [(to_b.local, at(f"{B}:4002"))]


def test_with_the_last_branch_the_call_ends() -> None:
    stage = Stage()
    stage.offer(sdp(A), via_branch="x1")
    stage.offer(sdp(A), via_branch="x2")
    for branch in ("x2", "x1"):
        stage.ask(CommandName.DELETE, from_tag=Tag("a"), via_branch=branch, delete_delay=0)
    assert stage.relay.registry.calls == {}
    assert stage.ports_used() == 0
