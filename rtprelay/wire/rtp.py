"""RTP packets (RFC 3550 section 5.1) as values, and the arithmetic of their wrapping counters."""

from __future__ import annotations

import struct

import msgspec

from rtprelay.errors import MalformedMessage

HEADER = struct.Struct("!BBHII")
"""The fixed header: version/padding/extension/CSRC count, marker/payload type, sequence, timestamp, SSRC."""

VERSION = 2
_EXTENSION = struct.Struct("!HH")


class RtpPacket(msgspec.Struct, frozen=True, kw_only=True):
    """One packet. `payload` is without padding; `padding` counts the padding bytes, the last of which says how many."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension_profile: int | None = None
    extension: bytes = b""
    payload: bytes = b""
    padding: int = 0


def parse(data: bytes) -> RtpPacket:
    """Read a packet. Raises MalformedMessage where a length points past the end or the version is not 2."""
    if len(data) < HEADER.size:
        raise MalformedMessage("RTP packet shorter than its header")
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    if first >> 6 != VERSION:
        raise MalformedMessage("RTP version is not 2")
    offset = HEADER.size + 4 * (first & 0x0F)
    if offset > len(data):
        raise MalformedMessage("RTP CSRC list exceeds the packet")
    csrcs = struct.unpack_from(f"!{first & 0x0F}I", data, HEADER.size)
    profile, extension = None, b""
    if first & 0x10:
        profile, extension, offset = _extension(data, offset)
    padding = data[-1] if first & 0x20 else 0
    if first & 0x20 and not 1 <= padding <= len(data) - offset:
        raise MalformedMessage("RTP padding exceeds the packet")
    return RtpPacket(
        payload_type=second & 0x7F,
        marker=bool(second & 0x80),
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        csrcs=csrcs,
        extension_profile=profile,
        extension=extension,
        payload=data[offset : len(data) - padding],
        padding=padding,
    )


def _extension(data: bytes, offset: int) -> tuple[int, bytes, int]:
    start = offset + _EXTENSION.size
    if start > len(data):
        raise MalformedMessage("RTP header extension exceeds the packet")
    profile, words = _EXTENSION.unpack_from(data, offset)
    end = start + 4 * words
    if end > len(data):
        raise MalformedMessage("RTP header extension exceeds the packet")
    return profile, data[start:end], end


def build(packet: RtpPacket) -> bytes:
    """The bytes of a packet; the inverse of `parse`. Padding bytes before the count are zero."""
    first = VERSION << 6 | len(packet.csrcs)
    first |= 0x20 if packet.padding else 0
    first |= 0x10 if packet.extension_profile is not None else 0
    second = packet.payload_type | (0x80 if packet.marker else 0)
    parts = [HEADER.pack(first, second, packet.sequence, packet.timestamp, packet.ssrc)]
    parts.append(struct.pack(f"!{len(packet.csrcs)}I", *packet.csrcs))
    if packet.extension_profile is not None:
        parts.append(_EXTENSION.pack(packet.extension_profile, len(packet.extension) // 4))
        parts.append(packet.extension)
    parts.append(packet.payload)
    if packet.padding:
        parts.append(bytes(packet.padding - 1) + bytes([packet.padding]))
    return b"".join(parts)


def sequence_distance(sequence: int, reference: int) -> int:
    """How far `sequence` is ahead of `reference` (negative: behind), -32768..32767, across the wrap."""
    return ((sequence - reference + 0x8000) & 0xFFFF) - 0x8000


def timestamp_distance(timestamp: int, reference: int) -> int:
    """The same for 32-bit timestamps."""
    return ((timestamp - reference + 0x80000000) & 0xFFFFFFFF) - 0x80000000
