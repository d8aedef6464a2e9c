"""What the forwarder knows beyond forwarding: RTCP round trips, what another data plane has heard, failed sends.

The rules of forwarding itself are in tests/backend/test_contract.py, asked of every data plane.
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.kernel.forwarder import Dropped, Forwarded, Punt, UserspaceForwarder
from rtprelay.plan.flow import DropFlow, Flow, Mismatch, Output, PayloadRule, PutFlow
from rtprelay.plan.quality import Hearing
from rtprelay.values import Endpoint
from rtprelay.wire import rtcp
from tests.backend.packets import audio, sender_report

CALLER, CALLEE = Endpoint("192.0.2.1", 4000), Endpoint("192.0.2.2", 5000)
STRANGER = Endpoint("192.0.2.3", 6000)
THERE, BACK = Endpoint("198.51.100.1", 30000), Endpoint("198.51.100.1", 30002)
NTP = 0x0011223344556677


def both_ways(ssrc: int | None = None) -> UserspaceForwarder:
    forwarder = UserspaceForwarder()
    for local, source, output in (
        (THERE, CALLER, Output(BACK, CALLEE, ssrc=ssrc)),
        (BACK, CALLEE, Output(THERE, CALLER)),
    ):
        flow = Flow(local, source, rtcp_expected=source, outputs=(output,), rtcp_outputs=(output,))
        forwarder.apply(PutFlow(flow))
    return forwarder


def receiver_report(about: int, last: int, delay: float) -> bytes:
    block = rtcp.ReportBlock(about, 128, 5, 1000, 80, last, round(delay * 65536))
    return rtcp.build((rtcp.ReceiverReport(99, (block,)),))


@pytest.mark.parametrize("ssrc", [None, 7], ids=["kept", "substituted"])
def test_the_round_trip_is_measured_between_report_and_answer(ssrc: int | None) -> None:
    forwarder = both_ways(ssrc)
    forwarder.forward(THERE, sender_report(0x55, NTP), CALLER, 100.0)
    answer = receiver_report(ssrc or 0x55, NTP >> 16 & 0xFFFFFFFF, 2.0)
    forwarder.forward(BACK, answer, CALLEE, 102.25)
    (reception,) = forwarder.receptions(BACK).values()
    assert reception.round_trip == pytest.approx(0.25, abs=1e-4)
    assert (reception.fraction_lost, reception.lost, reception.received) == (0.5, 5, 102.25)


def test_an_answer_to_another_report_says_nothing_of_the_round_trip() -> None:
    forwarder = both_ways()
    forwarder.forward(THERE, sender_report(0x55, NTP), CALLER, 100.0)
    forwarder.forward(BACK, receiver_report(0x55, 1, 2.0), CALLEE, 102.0)
    assert forwarder.receptions(BACK)[0x55].round_trip is None


def test_rtcp_that_the_kernel_has_forwarded_is_read_and_not_counted() -> None:
    forwarder = both_ways()
    assert forwarder.forward(THERE, sender_report(0x55, NTP), CALLER, 100.0, already_forwarded=True) == Forwarded([])
    forwarder.forward(BACK, receiver_report(0x55, NTP >> 16 & 0xFFFFFFFF, 0.0), CALLEE, 100.5, already_forwarded=True)
    assert forwarder.receptions(BACK)[0x55].round_trip == pytest.approx(0.5, abs=1e-4)
    report = forwarder.report(THERE)
    assert report is not None
    assert (report.packets, report.rtcp_packets) == (0, 0)


def test_reports_about_made_up_streams_do_not_pile_up() -> None:
    forwarder = both_ways()
    for ssrc in range(1000):
        forwarder.forward(BACK, receiver_report(ssrc, 1, 0.0), CALLEE, 100.0)
        forwarder.forward(THERE, sender_report(ssrc), CALLER, 100.0)
        forwarder.forward(THERE, audio(1, ssrc=ssrc), CALLER, 100.0)
    assert len(forwarder.receptions(BACK)) == 16
    report = forwarder.report(THERE)
    assert report is not None
    assert len(report.ssrcs) == 16


def test_malformed_rtcp_passes_where_nothing_has_to_be_changed_and_is_dropped_otherwise() -> None:
    broken = b"\x81\xc9\x00\x07" + bytes(12)
    assert both_ways().forward(THERE, broken, CALLER, 1.0) == Forwarded([(BACK, broken, CALLEE)])
    assert both_ways(ssrc=7).forward(THERE, broken, CALLER, 1.0) == Dropped("malformed_rtcp")


def test_a_source_only_the_kernel_has_heard_locks_as_well() -> None:
    heard: set[Endpoint] = set()
    forwarder = UserspaceForwarder(spoken_elsewhere=heard.__contains__)
    forwarder.apply(PutFlow(Flow(THERE, CALLER, on_mismatch=Mismatch.PUNT, outputs=(Output(BACK, CALLEE),))))
    assert forwarder.forward(THERE, audio(1), STRANGER, 1.0) == Punt("unknown_source")
    heard.add(THERE)
    assert forwarder.forward(THERE, audio(1), STRANGER, 1.0) == Dropped("source_locked")


def test_a_failed_send_is_an_error_and_no_packet_sent() -> None:
    forwarder = both_ways()
    verdict = forwarder.forward(THERE, audio(1), CALLER, 1.0)
    assert isinstance(verdict, Forwarded)
    forwarder.send_failed(THERE, BACK, len(audio(1)))
    forwarder.send_failed(Endpoint("192.0.2.9", 1), BACK, 1)
    report = forwarder.report(THERE)
    assert report is not None
    (sent,) = report.outputs
    assert (sent.packets, sent.bytes, sent.errors) == (0, 0, 1)


def test_a_port_without_a_flow_forwards_nothing() -> None:
    forwarder = both_ways()
    forwarder.apply(DropFlow(THERE))
    assert forwarder.forward(THERE, audio(1), CALLER, 1.0) == Dropped("no_flow")
    assert forwarder.counters() == {"drop_no_flow": 1}
    assert forwarder.report(THERE) is None


def talking(payloads: tuple[PayloadRule, ...] = (PayloadRule(0, 8000),), **elsewhere: Any) -> UserspaceForwarder:
    """Both parties have been heard, and each has been told what the other one sends."""
    forwarder = UserspaceForwarder(**elsewhere)
    ends = ((THERE, CALLER, Output(BACK, CALLEE)), (BACK, CALLEE, Output(THERE, CALLER)))
    for local, source, output in ends:
        flow = Flow(local, source, rtcp_expected=source, payloads=payloads, outputs=(output,), rtcp_outputs=(output,))
        forwarder.apply(PutFlow(flow))
    for local, source, _ in ends:
        if not elsewhere:
            forwarder.forward(local, audio(1, ssrc=local.port), source, 99.0)
        forwarder.forward(local, sender_report(local.port, NTP), source, 100.0, already_forwarded=bool(elsewhere))
    return forwarder


def hearings(forwarder: UserspaceForwarder, local: Endpoint) -> tuple[Hearing, ...]:
    report = forwarder.report(local)
    assert report is not None
    return report.hearings


ANSWERED = NTP >> 16 & 0xFFFFFFFF


def test_a_receivers_report_tells_how_the_stream_sounds_from_end_to_end() -> None:
    forwarder = talking()
    forwarder.forward(THERE, receiver_report(BACK.port, ANSWERED, 0.0), CALLER, 100.03)
    forwarder.forward(BACK, receiver_report(THERE.port, ANSWERED, 0.0), CALLEE, 100.05)
    (heard,) = hearings(forwarder, BACK)
    assert (heard.ssrc, heard.lost, heard.score.count) == (99, 5, 1)
    assert (heard.highest.loss, heard.highest.jitter) == (50.0, 10.0)
    assert heard.highest.leg == pytest.approx(50.0)
    assert heard.highest.round_trip == pytest.approx(80.0)


def test_nothing_is_said_of_a_stream_before_its_round_trip_is_known() -> None:
    forwarder = talking()
    forwarder.forward(BACK, receiver_report(THERE.port, 0, 0.0), CALLEE, 100.05)
    assert hearings(forwarder, BACK) == ()
    forwarder.forward(BACK, receiver_report(THERE.port, ANSWERED, 0.0), CALLEE, 100.05)
    forwarder.forward(BACK, receiver_report(THERE.port, 0, 0.0), CALLEE, 100.05)
    (heard,) = hearings(forwarder, BACK)
    assert heard.score.count == 2


def test_for_who_listens_alone_no_round_trip_is_needed_and_delay_is_not_felt() -> None:
    forwarder = talking()
    forwarder.listening_quality = True
    forwarder.forward(BACK, receiver_report(THERE.port, 0, 0.0), CALLEE, 100.05)
    (heard,) = hearings(forwarder, BACK)
    assert (heard.score.count, heard.highest.round_trip) == (1, 0.0)
    forwarder.forward(BACK, receiver_report(THERE.port, ANSWERED, 0.0), CALLEE, 103.0)
    (again,) = hearings(forwarder, BACK)
    assert again.leg.total == pytest.approx(3000.0)
    assert (again.lowest.score, again.highest.score) == (heard.lowest.score, heard.highest.score)


@pytest.mark.parametrize("payloads", [(), (PayloadRule(0, 90_000),)], ids=["clock unknown", "video"])
def test_a_score_is_for_speech_of_a_known_clock_only(payloads: tuple[PayloadRule, ...]) -> None:
    forwarder = talking(payloads)
    forwarder.forward(BACK, receiver_report(THERE.port, ANSWERED, 0.0), CALLEE, 100.05)
    assert hearings(forwarder, BACK) == ()


def test_what_only_the_kernel_has_heard_has_a_clock_too() -> None:
    asked = []

    def payload_type(local: Endpoint, ssrc: int) -> int | None:
        asked.append((local, ssrc))
        return 0

    forwarder = talking((PayloadRule(0, 16_000),), heard_elsewhere=payload_type)
    forwarder.forward(BACK, receiver_report(THERE.port, ANSWERED, 0.0), CALLEE, 100.05, already_forwarded=True)
    (heard,) = hearings(forwarder, BACK)
    assert heard.highest.jitter == 5.0
    assert asked == [(THERE, THERE.port)]


def test_receivers_that_are_made_up_do_not_pile_up() -> None:
    forwarder = talking()
    for receiver in range(1000):
        block = rtcp.ReportBlock(THERE.port, 0, 0, 1, 0, ANSWERED, 0)
        forwarder.forward(BACK, rtcp.build((rtcp.ReceiverReport(receiver, (block,)),)), CALLEE, 100.1)
    assert len(hearings(forwarder, BACK)) == 16
