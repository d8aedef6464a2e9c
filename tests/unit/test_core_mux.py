"""RTP and RTCP on one port (RFC 5761): offered, required, demultiplexed, accepted, rejected.

A --RTP+RTCP--> one port [relay] two ports --RTP--> B
                                           --RTCP-> B
"""

from __future__ import annotations

import pytest

from tests.unit.core_stage import A, B, Stage, at, receiver_report, rtp, sdp

MUX = "a=rtcp-mux"


def options(*words: str) -> frozenset[str]:
    return frozenset(words)


@pytest.mark.parametrize(
    ("words", "a_muxes", "b_muxes", "b_is_offered", "a_is_answered"),
    [
        # left alone it passes through
        ((), True, True, True, True),
        ((), True, False, True, False),
        ((), False, True, False, False),
        ((), False, False, False, False),
        # towards the other side
        (("offer",), False, True, True, False),
        (("offer",), True, False, True, False),
        (("require",), False, True, True, False),
        # towards the offerer
        (("demux",), True, True, False, True),
        (("demux",), True, False, False, True),
        (("demux",), False, True, False, False),
        (("accept",), True, False, True, True),
        (("accept",), False, False, False, False),
        (("reject",), True, True, True, False),
        (("offer", "reject"), True, True, True, False),
    ],
)
def test_each_side_agrees_on_its_own(
    words: tuple[str, ...], a_muxes: bool, b_muxes: bool, b_is_offered: bool, a_is_answered: bool
) -> None:
    """As rtpengine 10.5 answers in all of these cases."""
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, 4000, *[MUX] * a_muxes), rtcp_mux=options(*words))
    (to_a,) = stage.answered(sdp(B, 4002, *[MUX] * b_muxes))
    assert (to_b.attribute("rtcp-mux") is not None) == b_is_offered
    assert (to_a.attribute("rtcp-mux") is not None) == a_is_answered
    assert (to_a.rtcp == to_a.local) == a_is_answered


def test_an_offer_still_names_the_port_for_those_that_do_not_multiplex() -> None:
    (to_b,) = Stage().offered(sdp(A, 4000, MUX))
    assert to_b.rtcp == to_b.local.with_port(to_b.port + 1)


def test_a_required_offer_names_one_port_only() -> None:
    (to_b,) = Stage().offered(sdp(A), rtcp_mux=options("require"))
    assert to_b.rtcp == to_b.local


def test_options_of_an_answer_mean_nothing() -> None:
    stage = Stage()
    stage.offer(sdp(A, 4000, MUX))
    (to_a,) = stage.answered(sdp(B, 4002, MUX), rtcp_mux=options("reject"))
    assert to_a.attribute("rtcp-mux") is not None


def test_multiplexed_rtcp_is_taken_apart_and_put_together() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, 4000, MUX), rtcp_mux=options("demux"))
    (to_a,) = stage.answered(sdp(B, 4002))
    packet = receiver_report()
    assert stage.receive(to_a.local, at(f"{A}:4000"), packet) == [(to_b.rtcp, packet, at(f"{B}:4003"))]
    assert stage.receive(to_b.rtcp, at(f"{B}:4003"), packet) == [(to_a.local, packet, at(f"{A}:4000"))]
    assert stage.receive(to_a.local, at(f"{A}:4000"), rtp(1)) == [(to_b.local, rtp(1), at(f"{B}:4002"))]


def test_rtcp_of_a_rejected_offer_goes_to_the_next_port_not_the_muxed_one() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, 4000, MUX), rtcp_mux=options("reject"))
    stage.answer(sdp(B, 4002))
    ((_, _, destination),) = stage.receive(to_b.rtcp, at(f"{B}:4003"), receiver_report())
    assert destination == at(f"{A}:4001")


def test_rtcp_follows_a_learned_source_where_it_is_multiplexed() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, 4000, MUX))
    (to_a,) = stage.answered(sdp(B, 4002, MUX))
    nat = at("203.0.113.200:7000")
    stage.stream(to_a.local, nat, 8)
    assert stage.receive(to_a.local, nat, receiver_report())
    ((_, _, destination),) = stage.receive(to_b.local, at(f"{B}:4002"), receiver_report())
    assert destination == nat


def test_what_was_agreed_is_offered_again_with_one_port() -> None:
    stage = Stage()
    stage.offer(sdp(A), rtcp_mux=options("offer"))
    stage.answer(sdp(B, 4002, MUX))
    (to_b,) = stage.offered(sdp(A), to_tag="b")
    assert (to_b.attribute("rtcp-mux"), to_b.rtcp) == ("", to_b.local)
    (to_a,) = stage.answered(sdp(B, 4002, MUX))
    assert to_a.attribute("rtcp-mux") is None


def test_a_party_may_stop_multiplexing() -> None:
    stage = Stage()
    stage.offer(sdp(A, 4000, MUX))
    stage.answer(sdp(B, 4002, MUX))
    stage.offer(sdp(A), to_tag="b")
    (to_a,) = stage.answered(sdp(B, 4002))
    assert to_a.rtcp == to_a.local.with_port(to_a.port + 1)
    ((leaves, _, _),) = stage.receive(to_a.rtcp, at(f"{A}:4001"), receiver_report())
    assert leaves.port % 2 == 1


def test_browsers_placeholder_for_rtcp_is_no_address() -> None:
    stage = Stage()
    assert stage.offer(sdp(A, 4000, MUX, "a=rtcp:9 IN IP4 0.0.0.0"))["result"] == "ok"
