"""RTP header extensions (RFC 8285): many elements in the one extension that a header has room for.

They are in the clear in SRTP too (unless RFC 6904 or RFC 9335 has been agreed on), so this looks at the header alone.
"""

from __future__ import annotations

import struct

from rtprelay.errors import MalformedMessage

ONE_BYTE = 0xBEDE
TWO_BYTES = 0x1000
"""The low four bits are the application's (section 4.3)."""
_FIXED = 12
_HEAD = struct.Struct("!HH")
_PADDING, _STOP = 0, 15


def header_elements(packet: bytes) -> dict[int, bytes]:
    """By number; empty where the packet has no such extension. Raises MalformedMessage where it exceeds the packet."""
    if len(packet) < _FIXED or not packet[0] & 0x10:
        return {}
    start = _FIXED + 4 * (packet[0] & 0x0F) + _HEAD.size
    if start > len(packet):
        raise MalformedMessage("RTP header extension exceeds the packet")
    profile, words = _HEAD.unpack_from(packet, start - _HEAD.size)
    if start + 4 * words > len(packet):
        raise MalformedMessage("RTP header extension exceeds the packet")
    data = packet[start : start + 4 * words]
    if profile == ONE_BYTE:
        return _elements(data, head=1)
    return _elements(data, head=2) if profile & 0xFFF0 == TWO_BYTES else {}


def _elements(data: bytes, head: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + head <= len(data):
        number = data[at] >> 4 if head == 1 else data[at]
        if number == _PADDING:
            at += 1
            continue
        if head == 1 and number == _STOP:
            break
        length = (data[at] & 0x0F) + 1 if head == 1 else data[at + 1]
        at += head + length
        if at > len(data):
            raise MalformedMessage("RTP header extension element exceeds the extension")
        found[number] = data[at - length : at]
    return found
