"""A call as bytes and back: the journal's record, and what a failed command is rolled back to."""

from __future__ import annotations

import msgspec

from rtprelay.call.call import Call
from rtprelay.errors import OurFault

VERSION = 1


class _Record(msgspec.Struct, array_like=True):
    version: int
    call: Call


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


def encode(call: Call) -> bytes:
    return _encoder.encode(_Record(VERSION, call))


def decode(record: bytes) -> Call:
    """Raises OurFault where the record is of another version or damaged."""
    try:
        decoded = _decoder.decode(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise OurFault(f"unreadable call record: {error}") from error
    if decoded.version != VERSION:
        raise OurFault(f"call record of version {decoded.version}, expected {VERSION}")
    return decoded.call
