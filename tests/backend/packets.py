"""Packets as a party sends them."""

from __future__ import annotations

from rtprelay.wire import rtcp, rtp

SSRC = 0x11223344
STUN = bytes.fromhex("000100002112a442") + bytes(12)
DTLS = bytes([22, 254, 253]) + bytes(20)
FENCE_SSRC = 0xFE4CE000


def audio(
    sequence: int, ssrc: int = SSRC, payload_type: int = 0, timestamp: int | None = None, size: int = 160
) -> bytes:
    """20 ms of G.711, or something as long as it."""
    return rtp.build(
        rtp.RtpPacket(
            payload_type=payload_type,
            sequence=sequence & 0xFFFF,
            timestamp=160 * sequence & 0xFFFFFFFF if timestamp is None else timestamp,
            ssrc=ssrc,
            payload=bytes(i & 0xFF for i in range(size)),
        )
    )


def sender_report(ssrc: int = SSRC, ntp: int = 0x1122334455667788, blocks: tuple[rtcp.ReportBlock, ...] = ()) -> bytes:
    name = rtcp.SourceDescription((rtcp.SdesChunk(ssrc, ((1, b"a@b"),)),))
    return rtcp.build((rtcp.SenderReport(ssrc, ntp, 8000, 50, 8600, blocks), name))
