"""RTCP compound packets: read into values, built from values, and rewritten in place.

RFC 3550 section 6 (SR, RR, SDES, BYE, APP), RFC 4585 (feedback, NACK, PLI), RFC 5104 section 4.3.1 (FIR),
RFC 3611 (extended reports), draft-alvestrand-rmcat-remb (REMB). RFC 5506 reduced-size packets are read alike.

A relay that substitutes SSRCs has to do so in RTCP as well. There are two kinds of SSRC in it: the *speaker* (who
sends this RTCP, and whose RTP flows the same way) and the *targets* (streams the speaker receives, which flow the
other way). `rewrite` walks the packet once and patches both, so that what it does not understand stays as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import msgspec

from rtprelay.errors import MalformedMessage

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
GOODBYE = 203
APPLICATION = 204
TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206
EXTENDED_REPORT = 207

NACK = 1
PICTURE_LOSS = 1
FULL_INTRA_REQUEST = 4
APPLICATION_LAYER = 15

_HEADER = struct.Struct("!BBH")
_WORD = struct.Struct("!I")
_SENDER_INFO = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IIIIII")
_NACK = struct.Struct("!HH")
_FIR = struct.Struct("!IB3x")
_REMB = b"REMB"


class ReportBlock(msgspec.Struct, frozen=True):
    """What a receiver says of one source (RFC 3550 section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Fixed point, /256."""
    lost: int
    """Cumulative, signed."""
    highest_sequence: int
    jitter: int
    """In timestamp units."""
    last_sender_report: int
    delay_since_last: int
    """In 1/65536 s."""


class SenderReport(msgspec.Struct, frozen=True):
    ssrc: int
    ntp: int
    """64-bit NTP timestamp."""
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


class ReceiverReport(msgspec.Struct, frozen=True):
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


class SdesChunk(msgspec.Struct, frozen=True):
    ssrc: int
    items: tuple[tuple[int, bytes], ...] = ()


class SourceDescription(msgspec.Struct, frozen=True):
    chunks: tuple[SdesChunk, ...] = ()


class Goodbye(msgspec.Struct, frozen=True):
    ssrcs: tuple[int, ...] = ()
    reason: bytes = b""


class Application(msgspec.Struct, frozen=True):
    subtype: int
    ssrc: int
    name: bytes
    data: bytes = b""


class Feedback(msgspec.Struct, frozen=True):
    """RTPFB (205) or PSFB (206); `information` is the FCI, read by `nacked`, `full_intra_requests` and `estimate`."""

    packet_type: int
    format: int
    sender: int
    media: int
    information: bytes = b""


class OtherPacket(msgspec.Struct, frozen=True):
    """A packet type without a reader here: `count` is the 5-bit field, `body` everything after the common header."""

    packet_type: int
    count: int
    body: bytes = b""


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | Application | Feedback | OtherPacket


class BandwidthEstimate(msgspec.Struct, frozen=True):
    bits_per_second: int
    ssrcs: tuple[int, ...]


def _frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(packet type, count, start of body, end of body without padding) of each packet of a compound."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise MalformedMessage("RTCP packet shorter than its header")
        first, packet_type, words = _HEADER.unpack_from(data, offset)
        if first >> 6 != 2:
            raise MalformedMessage("RTCP version is not 2")
        start, end = offset + _HEADER.size, offset + 4 * (words + 1)
        if end > len(data):
            raise MalformedMessage("RTCP length exceeds the datagram")
        padding = data[end - 1] if first & 0x20 and end > start else 0
        if first & 0x20 and not 1 <= padding <= end - start:
            raise MalformedMessage("RTCP padding exceeds the packet")
        yield packet_type, first & 0x1F, start, end - padding
        offset = end


def _need(start: int, length: int, end: int) -> None:
    if start + length > end:
        raise MalformedMessage("RTCP packet shorter than its contents")


def _word(data: bytes, offset: int, end: int) -> int:
    _need(offset, 4, end)
    return int(_WORD.unpack_from(data, offset)[0])


def parse(data: bytes) -> tuple[RtcpPacket, ...]:
    """Read a compound packet. Raises MalformedMessage, and nothing else, whatever the bytes are."""
    if not data:
        raise MalformedMessage("empty RTCP datagram")
    return tuple(_packet(data, *frame) for frame in _frames(data))


def _packet(data: bytes, packet_type: int, count: int, start: int, end: int) -> RtcpPacket:
    if packet_type == SENDER_REPORT:
        _need(start, _SENDER_INFO.size, end)
        ssrc, ntp, timestamp, packets, octets = _SENDER_INFO.unpack_from(data, start)
        blocks = _blocks(data, count, start + _SENDER_INFO.size, end)
        return SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)
    if packet_type == RECEIVER_REPORT:
        return ReceiverReport(_word(data, start, end), _blocks(data, count, start + 4, end))
    if packet_type == SOURCE_DESCRIPTION:
        return SourceDescription(tuple(SdesChunk(ssrc, items) for _, ssrc, items in _chunks(data, count, start, end)))
    if packet_type == GOODBYE:
        return _goodbye(data, count, start, end)
    if packet_type == APPLICATION:
        _need(start, 8, end)
        return Application(count, _word(data, start, end), data[start + 4 : start + 8], data[start + 8 : end])
    if packet_type in (TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK):
        _need(start, 8, end)
        sender, media = _word(data, start, end), _word(data, start + 4, end)
        return Feedback(packet_type, count, sender, media, data[start + 8 : end])
    return OtherPacket(packet_type, count, data[start:end])


def _blocks(data: bytes, count: int, start: int, end: int) -> tuple[ReportBlock, ...]:
    _need(start, count * _BLOCK.size, end)
    return tuple(_block(data, start + i * _BLOCK.size) for i in range(count))


def _block(data: bytes, offset: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(data, offset)
    lost = loss & 0xFFFFFF
    return ReportBlock(ssrc, loss >> 24, lost - (1 << 24) if lost >> 23 else lost, highest, jitter, last, delay)


def _chunks(data: bytes, count: int, start: int, end: int) -> Iterator[tuple[int, int, tuple[tuple[int, bytes], ...]]]:
    """(offset, SSRC, items) of each SDES chunk (RFC 3550 section 6.5)."""
    offset = start
    for _ in range(count):
        chunk, ssrc = offset, _word(data, offset, end)
        offset += 4
        items = []
        while True:
            _need(offset, 1, end)
            if data[offset] == 0:
                break
            _need(offset, 2, end)
            _need(offset, 2 + data[offset + 1], end)
            items.append((data[offset], data[offset + 2 : offset + 2 + data[offset + 1]]))
            offset += 2 + data[offset + 1]
        # The null item ends the list and pads the chunk to the next 32-bit boundary.
        offset += 4 - (offset - start) % 4
        yield chunk, ssrc, tuple(items)


def _goodbye(data: bytes, count: int, start: int, end: int) -> Goodbye:
    _need(start, 4 * count, end)
    ssrcs = struct.unpack_from(f"!{count}I", data, start)
    offset = start + 4 * count
    if offset == end:
        return Goodbye(ssrcs)
    _need(offset, 1 + data[offset], end)
    return Goodbye(ssrcs, data[offset + 1 : offset + 1 + data[offset]])


def build(packets: tuple[RtcpPacket, ...]) -> bytes:
    """The bytes of a compound packet; the inverse of `parse` up to padding."""
    return b"".join(_build(packet) for packet in packets)


def _build(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport():
            info = _SENDER_INFO.pack(packet.ssrc, packet.ntp, packet.rtp_timestamp, packet.packets, packet.octets)
            return _frame(SENDER_REPORT, len(packet.blocks), info + _pack_blocks(packet.blocks))
        case ReceiverReport():
            return _frame(RECEIVER_REPORT, len(packet.blocks), _WORD.pack(packet.ssrc) + _pack_blocks(packet.blocks))
        case SourceDescription():
            return _frame(SOURCE_DESCRIPTION, len(packet.chunks), b"".join(map(_pack_chunk, packet.chunks)))
        case Goodbye():
            ssrcs = struct.pack(f"!{len(packet.ssrcs)}I", *packet.ssrcs)
            reason = bytes([len(packet.reason)]) + packet.reason if packet.reason else b""
            return _frame(GOODBYE, len(packet.ssrcs), ssrcs + reason)
        case Application():
            return _frame(APPLICATION, packet.subtype, _WORD.pack(packet.ssrc) + packet.name + packet.data)
        case Feedback():
            head = _WORD.pack(packet.sender) + _WORD.pack(packet.media)
            return _frame(packet.packet_type, packet.format, head + packet.information)
        case OtherPacket():
            return _frame(packet.packet_type, packet.count, packet.body)


def _frame(packet_type: int, count: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return _HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body


def _pack_blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.lost & 0xFFFFFF,
            block.highest_sequence,
            block.jitter,
            block.last_sender_report,
            block.delay_since_last,
        )
        for block in blocks
    )


def _pack_chunk(chunk: SdesChunk) -> bytes:
    items = b"".join(bytes([kind, len(text)]) + text for kind, text in chunk.items)
    return _WORD.pack(chunk.ssrc) + items + bytes(4 - len(items) % 4)


def nacked(feedback: Feedback) -> tuple[int, ...]:
    """The sequence numbers a generic NACK asks for (RFC 4585 section 6.2.1); empty where it is none."""
    if feedback.packet_type != TRANSPORT_FEEDBACK or feedback.format != NACK:
        return ()
    information = feedback.information[: len(feedback.information) // 4 * 4]
    return tuple(
        (first + i) & 0xFFFF
        for first, mask in _NACK.iter_unpack(information)
        for i in range(17)
        if i == 0 or mask >> (i - 1) & 1
    )


def full_intra_requests(feedback: Feedback) -> tuple[tuple[int, int], ...]:
    """(SSRC, command sequence number) of each FIR entry (RFC 5104 section 4.3.1.1); empty where it is none."""
    if feedback.packet_type != PAYLOAD_FEEDBACK or feedback.format != FULL_INTRA_REQUEST:
        return ()
    return tuple(_FIR.iter_unpack(feedback.information[: len(feedback.information) // 8 * 8]))


def picture_loss(feedback: Feedback) -> bool:
    """True for a PLI (RFC 4585 section 6.3.1)."""
    return feedback.packet_type == PAYLOAD_FEEDBACK and feedback.format == PICTURE_LOSS


def estimate(feedback: Feedback) -> BandwidthEstimate | None:
    """What a REMB says; None where it is none."""
    if feedback.packet_type != PAYLOAD_FEEDBACK or feedback.format != APPLICATION_LAYER:
        return None
    information = feedback.information
    if len(information) < 8 or information[:4] != _REMB or len(information) < 8 + 4 * information[4]:
        return None
    exponent, mantissa = information[5] >> 2, int.from_bytes(information[5:8]) & 0x3FFFF
    return BandwidthEstimate(mantissa << exponent, struct.unpack_from(f"!{information[4]}I", information, 8))


class Target(msgspec.Struct, frozen=True):
    """What a stream is called on the other side, and what was added to its sequence numbers on the way here."""

    ssrc: int
    sequence_offset: int = 0


class Substitution(msgspec.Struct, frozen=True):
    """How a compound packet changes on its way: the speaker's new SSRC (None: kept), what is added to its RTP
    timestamps, and the streams it speaks about."""

    speaker: int | None = None
    timestamp_offset: int = 0
    targets: Mapping[int, Target] = {}


def rewrite(data: bytes, substitution: Substitution) -> bytes:
    """`data` with its SSRCs, sender timestamps and the sequence numbers of the targets translated; same length.

    Raises MalformedMessage like `parse`.
    """
    out = bytearray(data)
    speaker: int | None = None
    for packet_type, count, start, end in _frames(data):
        first = _word(data, start, end) if end > start else None
        if speaker is None:
            speaker = first
        for offset in _speakers(data, packet_type, count, start, end):
            if substitution.speaker is not None and _word(data, offset, end) == speaker:
                _WORD.pack_into(out, offset, substitution.speaker)
        if packet_type == SENDER_REPORT and first == speaker:
            shifted = _word(data, start + 12, end) + substitution.timestamp_offset
            _WORD.pack_into(out, start + 12, shifted & 0xFFFFFFFF)
        for offset, sequences in _targets(data, packet_type, count, start, end):
            target = substitution.targets.get(_word(data, offset, end))
            if target is not None:
                _WORD.pack_into(out, offset, target.ssrc)
                _shift(out, sequences, target.sequence_offset)
    return bytes(out)


def _shift(out: bytearray, sequences: range, offset: int) -> None:
    """Take `offset` off the 16-bit sequence numbers at these places; the cycles in a report are its sender's own."""
    for place in sequences:
        value = int.from_bytes(out[place : place + 2]) - offset
        out[place : place + 2] = (value & 0xFFFF).to_bytes(2)


def _speakers(data: bytes, packet_type: int, count: int, start: int, end: int) -> Iterator[int]:
    """Where the SSRC of the speaker may stand."""
    if packet_type == SOURCE_DESCRIPTION:
        yield from (offset for offset, _, _ in _chunks(data, count, start, end))
    elif packet_type == GOODBYE:
        _need(start, 4 * count, end)
        yield from range(start, start + 4 * count, 4)
    elif end > start:
        _need(start, 4, end)
        yield start


def _targets(data: bytes, packet_type: int, count: int, start: int, end: int) -> Iterator[tuple[int, range]]:
    """Where the SSRCs of targets stand, each with the places of the 16-bit sequence numbers that belong to it."""
    if packet_type in (SENDER_REPORT, RECEIVER_REPORT):
        first = start + (_SENDER_INFO.size if packet_type == SENDER_REPORT else _WORD.size)
        _need(first, count * _BLOCK.size, end)
        for block in range(first, first + count * _BLOCK.size, _BLOCK.size):
            yield block, range(block + 10, block + 11)
    elif packet_type == TRANSPORT_FEEDBACK:
        _need(start, 8, end)
        yield start + 4, range(start + 8, end - 3, 4) if count == NACK else range(0)
    elif packet_type == PAYLOAD_FEEDBACK:
        _need(start, 8, end)
        yield start + 4, range(0)
        if count == FULL_INTRA_REQUEST:
            yield from ((offset, range(0)) for offset in range(start + 8, end - 7, 8))
        elif count == APPLICATION_LAYER and end - start >= 16 and data[start + 8 : start + 12] == _REMB:
            last = min(start + 16 + 4 * data[start + 12], end - 3)
            yield from ((offset, range(0)) for offset in range(start + 16, last, 4))
    elif packet_type == EXTENDED_REPORT:
        yield from _extended_targets(data, start, end)


def _extended_targets(data: bytes, start: int, end: int) -> Iterator[tuple[int, range]]:
    """RFC 3611 section 4: most blocks open with the SSRC of their source, DLRR lists one per sub-block.

    A block that is cut short ends the walk: nobody here reads it, so it is no reason to refuse the packet.
    """
    offset = start + 4
    while offset + 4 <= end:
        block_type, length = data[offset], 4 * int.from_bytes(data[offset + 2 : offset + 4])
        body, offset = offset + 4, offset + 4 + length
        if offset > end:
            return
        if block_type in (1, 2, 3, 6, 7) and length >= 4:
            yield body, range(0)
        elif block_type == 5:
            yield from ((place, range(0)) for place in range(body, offset - 11, 12))
