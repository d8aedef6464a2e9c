"""Who is the party? The address its SDP named, unless it stays silent and another source is plausible.

    A behind NAT 203.0.113.200 --+
                                 +--> facing_a [relay] --> B
    stranger     203.0.113.66  --+

RTP Bleed (AST-2017-005, CVE-2025-53399): a stranger's packets must neither reach B nor bring him what B sends.
"""

from __future__ import annotations

import pytest

from rtprelay.call.media import Media
from rtprelay.core.learning import KEPT_BYTES, KEPT_PACKETS, MAX_CANDIDATES, Learning
from rtprelay.kernel.forwarder import Datagram
from rtprelay.signalling.command import CommandName, EndpointLearning
from rtprelay.values import Endpoint
from tests.unit.core_stage import RELAY, A, B, Stage, at, receiver_report, rtp, sdp

NAT = at("203.0.113.200:7000")
STRANGER = at("203.0.113.66:6666")
SDP = at(f"{A}:4000")
MODES = [EndpointLearning.HEURISTIC, EndpointLearning.DELAYED, EndpointLearning.IMMEDIATE]


def destination(stage: Stage, facing_b: Endpoint) -> Endpoint:
    """Where B's media goes."""
    ((_, _, where),) = stage.receive(facing_b, at(f"{B}:4002"), rtp(1))
    return where


def media_at(stage: Stage, local: Endpoint) -> Media:
    owned = stage.relay.registry.owned(local)
    assert owned is not None
    return owned[2]


def payload_sequences(sent: list[Datagram]) -> list[int]:
    return [int.from_bytes(packet[2:4]) for _, packet, _ in sent]


# --- behind NAT ---


@pytest.mark.parametrize("mode", MODES)
def test_a_party_behind_nat_is_learned_within_ten_packets_and_loses_none(mode: EndpointLearning) -> None:
    stage = Stage(endpoint_learning=mode)
    facing_a, facing_b = stage.call()
    sent = stage.stream(facing_a, NAT, 50)
    assert payload_sequences(sent) == list(range(1, 51))
    report = stage.forwarder.report(facing_a)
    assert report is not None
    assert report.punted <= 10
    assert destination(stage, facing_b) == NAT


@pytest.mark.parametrize(
    ("together", "pause"),
    [
        pytest.param(1, 0.001, id="1,000 a second"),
        pytest.param(1, 0.00025, id="4,000 a second"),
        pytest.param(80, 0.25, id="80 at a time"),
        pytest.param(60, 0.02, id="60 at a time"),
    ],
)
def test_video_behind_nat_is_learned_of_what_the_kernel_hands_up(together: int, pause: float) -> None:
    """128 in a row, then 50 a second: the rest of a flood never gets here."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    credit = 128.0
    for sequence in range(1, 3001):
        if credit >= 1.0:
            credit -= 1.0
            stage.receive(facing_a, NAT, rtp(sequence))
        if sequence % together == 0:
            stage.wait(pause)
            credit = min(128.0, credit + 50 * pause)
    assert destination(stage, facing_b) == NAT


def test_a_party_behind_nat_is_learned_beside_a_flood_that_takes_the_kernels_allowance() -> None:
    """Of the 50 packets a second that come through, every tenth is the party's: of its own every tenth."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    for number in range(500):
        if number % 10:
            stage.receive(facing_a, STRANGER, rtp(number, payload_type=99))
        else:
            stage.receive(facing_a, NAT, rtp(number))
        if number > 128:
            stage.wait(0.02)
    assert destination(stage, facing_b) == NAT


def test_numbers_at_random_are_no_stream_in_a_flood_either() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    for number in range(1, 500):
        stage.receive(facing_a, NAT, rtp(number * 40503 % 65536))
        if number > 128:
            stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


@pytest.mark.parametrize("pause", [0.01, 0.03, 0.06])
def test_other_packet_intervals_lose_nothing_either(pause: float) -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    sent = stage.stream(facing_a, NAT, 40, pause=pause)
    assert payload_sequences(sent) == list(range(1, 41))


def test_packets_out_of_order_and_lost_do_not_start_over() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    sent: list[Datagram] = []
    order = [1, 2, 4, 3, 6, 7, 8, 9]
    for sequence in order:
        sent += stage.receive(facing_a, NAT, rtp(sequence))
        stage.wait(0.02)
    assert payload_sequences(sent) == order
    report = stage.forwarder.report(facing_a)
    assert report is not None
    assert report.punted <= 6


def test_the_sequence_may_wrap_while_it_is_judged() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    assert len(stage.stream(facing_a, NAT, 10, first=65533)) == 10
    assert destination(stage, facing_b) == NAT


def test_a_source_learned_is_journaled_and_told() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    before = dict(stage.journal)
    told = []
    for sequence in range(1, 8):
        stage.receive(facing_a, NAT, rtp(sequence))
        told += stage.events()
        stage.wait(0.02)
    assert told == ["source learned"]
    assert stage.journal != before


def test_rtcp_from_the_learned_host_is_accepted_and_answered_there() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, NAT, 8)
    rtcp_a, rtcp_b = facing_a.with_port(facing_a.port + 1), facing_b.with_port(facing_b.port + 1)
    assert stage.receive(rtcp_a, NAT.with_port(7001), receiver_report())
    ((_, _, where),) = stage.receive(rtcp_b, at(f"{B}:4003"), receiver_report())
    assert where == NAT.with_port(7001)


def test_media_handover_follows_a_party_that_moves_without_signalling() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(media_handover=True)
    stage.stream(facing_a, SDP, 5)
    stage.wait(0.1)
    sent = stage.stream(facing_a, NAT, 10, first=6)
    assert payload_sequences(sent) == list(range(6, 16))
    assert destination(stage, facing_b) == NAT


def test_media_handover_takes_nothing_from_a_party_that_still_speaks() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(media_handover=True)
    for sequence in range(1, 30):
        assert stage.receive(facing_a, SDP, rtp(sequence))
        assert stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666)) == []
        stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


def test_without_media_handover_a_party_that_has_spoken_cannot_be_replaced() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, SDP, 3)
    stage.wait(5.0)
    assert stage.stream(facing_a, NAT, 20) == []
    assert destination(stage, facing_b) == SDP


# --- RTP Bleed ---


@pytest.mark.parametrize("mode", MODES)
def test_a_stranger_gets_nothing_while_the_sdp_address_speaks(mode: EndpointLearning) -> None:
    stage = Stage(endpoint_learning=mode)
    facing_a, facing_b = stage.call()
    stage.receive(facing_a, SDP, rtp(1))
    for sequence in range(2, 100):
        assert stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666)) == []
        stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


@pytest.mark.parametrize("mode", MODES)
def test_a_stranger_who_came_first_is_thrown_out_by_the_sdp_address(mode: EndpointLearning) -> None:
    stage = Stage(endpoint_learning=mode)
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, STRANGER, 10, ssrc=0x6666)
    assert destination(stage, facing_b) == STRANGER
    assert payload_sequences(stage.receive(facing_a, SDP, rtp(1))) == [1], "the first packet is not lost"
    assert destination(stage, facing_b) == SDP
    stage.receive(facing_a, SDP, rtp(2))
    assert stage.stream(facing_a, STRANGER, 50, first=11, ssrc=0x6666) == []
    assert destination(stage, facing_b) == SDP


def test_a_stranger_does_not_come_back_between_the_first_packets_of_the_party() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, STRANGER, 10, ssrc=0x6666)
    for sequence in range(1, 50):
        stage.receive(facing_a, SDP, rtp(sequence))
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666))
        stage.wait(0.02)
        assert destination(stage, facing_b) == SDP


def test_the_sdp_address_speaking_within_the_window_ends_the_strangers_chance() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, STRANGER, 3, ssrc=0x6666)
    stage.receive(facing_a, SDP, rtp(1))
    assert stage.stream(facing_a, STRANGER, 20, first=4, ssrc=0x6666) == []
    assert destination(stage, facing_b) == SDP


def test_with_learning_off_no_other_source_is_ever_heard() -> None:
    stage = Stage(endpoint_learning=EndpointLearning.OFF)
    facing_a, facing_b = stage.call()
    assert stage.stream(facing_a, NAT, 20) == []
    assert destination(stage, facing_b) == SDP
    rtcp_a = facing_a.with_port(facing_a.port + 1)
    assert stage.receive(rtcp_a, SDP.with_port(9999), receiver_report()) == []


def test_a_mode_given_with_the_offer_beats_the_operators() -> None:
    stage = Stage(endpoint_learning=EndpointLearning.OFF)
    facing_a, _ = stage.call(endpoint_learning=EndpointLearning.IMMEDIATE)
    assert stage.receive(facing_a, NAT, rtp(1))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80",
        rtp(1, size=0),
        b"\x40" + rtp(1)[1:],
        rtp(1, payload_type=77),
        b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12),
        b"\x16\xfe\xff" + bytes(20),
    ],
    ids=["empty", "one byte", "no payload", "version 1", "wrong payload type", "STUN", "DTLS"],
)
@pytest.mark.parametrize("mode", MODES)
def test_implausible_packets_teach_nothing(mode: EndpointLearning, packet: bytes) -> None:
    stage = Stage(endpoint_learning=mode)
    facing_a, facing_b = stage.call()
    for _ in range(20):
        assert stage.receive(facing_a, STRANGER, packet) == []
        stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


@pytest.mark.parametrize("step", [0, 4, 100, -10], ids=["same", "gaps", "jumps", "backwards"])
def test_sequence_numbers_that_do_not_run_teach_nothing(step: int) -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    for number in range(30):
        stage.receive(facing_a, STRANGER, rtp(1000 + step * number))
        stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


def test_changing_ssrcs_teach_nothing() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    for sequence in range(1, 30):
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=sequence))
        stage.wait(0.02)
    assert destination(stage, facing_b) == SDP


def test_four_bytes_of_rtcp_move_nothing() -> None:
    """AST-2017-008: what defeated Asterisk's first fix."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, NAT, 8)
    for local in (facing_a, facing_a.with_port(facing_a.port + 1)):
        for source in (STRANGER, NAT.with_port(9), SDP.with_port(9)):
            assert stage.receive(local, source, b"\x80\xc8\0\0") == []
    assert destination(stage, facing_b) == NAT


def test_rtcp_of_a_stranger_is_neither_passed_on_nor_answered() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    rtcp_a, rtcp_b = facing_a.with_port(facing_a.port + 1), facing_b.with_port(facing_b.port + 1)
    for _ in range(10):
        assert stage.receive(rtcp_a, STRANGER, receiver_report()) == []
    ((_, _, where),) = stage.receive(rtcp_b, at(f"{B}:4003"), receiver_report())
    assert where == at(f"{A}:4001")


def test_rtcp_alone_teaches_no_rtp_source() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    rtcp_a = facing_a.with_port(facing_a.port + 1)
    stage.receive(rtcp_a, SDP.with_port(9001), receiver_report())
    assert destination(stage, facing_b) == SDP


def test_rtcp_from_the_sdp_port_wins_back_what_another_port_had() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    rtcp_a, rtcp_b = facing_a.with_port(facing_a.port + 1), facing_b.with_port(facing_b.port + 1)
    assert stage.receive(rtcp_a, SDP.with_port(9001), receiver_report())
    assert stage.receive(rtcp_a, SDP.with_port(4001), receiver_report())
    ((_, _, where),) = stage.receive(rtcp_b, at(f"{B}:4003"), receiver_report())
    assert where == at(f"{A}:4001")


def test_rtcp_on_the_rtp_port_is_nobodys_where_it_was_not_agreed() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    for source in (SDP, STRANGER):
        assert stage.receive(facing_a, source, receiver_report()) == []


@pytest.mark.parametrize("source", ["224.0.0.1:5000", "127.0.0.1:5000", "0.0.0.0:5000", "192.0.2.50:2223"])
def test_a_forged_source_that_no_sdp_might_name_is_not_learned(source: str) -> None:
    stage = Stage(control_addresses=("192.0.2.50:2223",), endpoint_learning=EndpointLearning.IMMEDIATE)
    facing_a, facing_b = stage.call()
    assert stage.stream(facing_a, at(source), 10) == []
    assert destination(stage, facing_b) == SDP


# --- several candidates ---


def test_the_host_of_the_sdp_beats_a_stranger_who_was_there_before() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    own = SDP.with_port(4444)
    for sequence in range(1, 8):
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666))
        stage.receive(facing_a, own, rtp(sequence))
        stage.wait(0.02)
    assert destination(stage, facing_b) == own


def test_the_host_of_the_signalling_beats_a_stranger() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(received_from=NAT.address)
    for sequence in range(1, 8):
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666))
        stage.receive(facing_a, NAT, rtp(sequence))
        stage.wait(0.02)
    assert destination(stage, facing_b) == NAT


def test_the_port_of_the_sdp_on_another_host_beats_a_stranger() -> None:
    """A NAT that keeps port numbers."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    kept = NAT.with_port(4000)
    for sequence in range(1, 8):
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666))
        stage.receive(facing_a, kept, rtp(sequence))
        stage.wait(0.02)
    assert destination(stage, facing_b) == kept


def test_of_two_strangers_the_first_is_learned_and_the_other_dropped() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    for sequence in range(1, 20):
        stage.receive(facing_a, NAT, rtp(sequence))
        stage.receive(facing_a, STRANGER, rtp(sequence, ssrc=0x6666))
        stage.wait(0.02)
    assert destination(stage, facing_b) == NAT
    assert stage.receive(facing_a, STRANGER, rtp(20, ssrc=0x6666)) == []


def test_a_flood_of_sources_costs_no_memory_and_does_not_shut_the_party_out() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(received_from=NAT.address)
    for round_ in range(1, 12):
        for number in range(50):
            flood = Endpoint(f"203.0.113.{50 + number}", 1000 + round_)
            stage.receive(facing_a, flood, rtp(round_, ssrc=number))
        stage.receive(facing_a, NAT, rtp(round_))
        stage.wait(0.02)
    assert destination(stage, facing_b) == NAT


def test_candidates_and_what_is_kept_of_them_are_bounded() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    media = media_at(stage, facing_a)
    learning = Learning()
    for number in range(100):
        source = Endpoint("203.0.113.66", 1000 + number)
        learning.observe(media, facing_a, frozenset(), source, rtp(1, size=1400), 0.0)
    known = [n for n in range(100) if learning.since(facing_a, Endpoint("203.0.113.66", 1000 + n)) is not None]
    assert len(known) == MAX_CANDIDATES
    source = Endpoint("203.0.113.66", 1000 + known[0])
    for sequence in range(2, 1000):
        learning.observe(media, facing_a, frozenset(), source, rtp(sequence), 0.0)
    assert len(learning.take(facing_a, source)) == KEPT_PACKETS


def test_all_ports_together_keep_no_more_than_so_many_bytes() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    media = media_at(stage, facing_a)
    learning = Learning()
    kept = 0
    for port in range(30000, 40000, 2):
        for sequence in range(3):
            learning.observe(media, Endpoint(RELAY, port), frozenset(), STRANGER, rtp(sequence, size=1400), 0.0)
    for port in range(30000, 40000, 2):
        kept += sum(map(len, learning.take(Endpoint(RELAY, port), STRANGER)))
    assert KEPT_BYTES - 2000 < kept <= KEPT_BYTES


def test_packets_of_a_closed_port_are_nobodys() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.ask(CommandName.DELETE, delete_delay=0)
    stage.relay.handle_datagram(facing_a, NAT, rtp(1), "unknown_source", stage.now)
    stage.drain()
    assert stage.effects == []


def test_nothing_is_learned_while_the_data_plane_cannot_be_read() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.unreadable = True
    stage.stream(facing_a, NAT, 8)
    assert destination(stage, facing_b) == SDP
    stage.unreadable = False
    stage.stream(facing_a, NAT, 2, first=9)
    assert destination(stage, facing_b) == NAT


def test_a_held_party_may_be_learned_when_it_resumes() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.offer(sdp("0.0.0.0"), to_tag="b")
    stage.answer(sdp(B, 4002))
    stage.stream(facing_a, NAT, 8)
    stage.offer(sdp(A), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert destination(stage, facing_b) == NAT
