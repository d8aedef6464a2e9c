"""First bytes tell the protocols of a media port apart (RFC 7983 section 7, RFC 5761 section 4)."""

from __future__ import annotations

import pytest

from rtprelay.wire.demux import PacketKind, classify


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (0, PacketKind.STUN),
        (3, PacketKind.STUN),
        (4, PacketKind.UNKNOWN),
        (15, PacketKind.UNKNOWN),
        (16, PacketKind.ZRTP),
        (19, PacketKind.ZRTP),
        (20, PacketKind.DTLS),
        (63, PacketKind.DTLS),
        (64, PacketKind.TURN_CHANNEL),
        (79, PacketKind.TURN_CHANNEL),
        (80, PacketKind.UNKNOWN),
        (127, PacketKind.UNKNOWN),
        (128, PacketKind.RTP),
        (191, PacketKind.RTP),
        (192, PacketKind.UNKNOWN),
        (255, PacketKind.UNKNOWN),
    ],
)
def test_the_first_byte_decides_at_both_ends_of_each_range(first: int, kind: PacketKind) -> None:
    assert classify(bytes([first]) + bytes(19)) is kind


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (191, PacketKind.RTP),
        (192, PacketKind.RTCP),
        (200, PacketKind.RTCP),
        (223, PacketKind.RTCP),
        (224, PacketKind.RTP),
    ],
)
def test_rtcp_is_told_from_rtp_by_its_packet_type(second: int, kind: PacketKind) -> None:
    assert classify(bytes([0x80, second]) + bytes(18)) is kind


def test_packets_too_short_for_their_header_are_nothing() -> None:
    assert classify(b"") is PacketKind.UNKNOWN
    assert classify(b"\x80") is PacketKind.UNKNOWN
    assert classify(b"\x80\x00" + bytes(9)) is PacketKind.UNKNOWN
    assert classify(b"\x80\xc8" + bytes(5)) is PacketKind.UNKNOWN
    assert classify(b"\x80\xc8" + bytes(6)) is PacketKind.RTCP
