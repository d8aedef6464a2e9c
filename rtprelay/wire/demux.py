"""Which protocol a datagram on a media port speaks: its first byte tells (RFC 7983 section 7), its second RTCP from RTP
(RFC 5761 section 4)."""

from __future__ import annotations

import enum


class PacketKind(enum.Enum):
    STUN = "stun"
    ZRTP = "zrtp"
    DTLS = "dtls"
    TURN_CHANNEL = "turn-channel"
    RTP = "rtp"
    RTCP = "rtcp"
    UNKNOWN = "unknown"


RTP_HEADER_LENGTH = 12
RTCP_HEADER_LENGTH = 8
"""The shortest RTCP that can be attributed to anyone: the common header and the sender's SSRC."""

_BY_FIRST_BYTE = (
    [PacketKind.STUN] * 4
    + [PacketKind.UNKNOWN] * 12
    + [PacketKind.ZRTP] * 4
    + [PacketKind.DTLS] * 44
    + [PacketKind.TURN_CHANNEL] * 16
    + [PacketKind.UNKNOWN] * 48
    + [PacketKind.RTP] * 64
    + [PacketKind.UNKNOWN] * 64
)


def classify(data: bytes) -> PacketKind:
    """The kind of `data`. RTP and RTCP too short to carry their header are UNKNOWN."""
    if not data:
        return PacketKind.UNKNOWN
    kind = _BY_FIRST_BYTE[data[0]]
    if kind is not PacketKind.RTP:
        return kind
    if len(data) >= RTCP_HEADER_LENGTH and 192 <= data[1] <= 223:
        return PacketKind.RTCP
    return PacketKind.RTP if len(data) >= RTP_HEADER_LENGTH and not 192 <= data[1] <= 223 else PacketKind.UNKNOWN
