"""A call as bytes and back: the journal's record, and what a failed command is rolled back to.

MessagePack's text is UTF-8, what proxies send is not always: a Latin-1 name comes as surrogate escapes. A call with
such text is written with every byte of its texts as one character.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rtprelay.call.call import Call
from rtprelay.errors import OurFault

VERSION = 1
ESCAPED = 2


class _Record(msgspec.Struct, array_like=True, gc=False):
    version: int
    call: Call


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


def encode(call: Call) -> bytes:
    try:
        return _encoder.encode(_Record(VERSION, call))
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(_Record(ESCAPED, call), builtin_types=(bytes,))
        return _encoder.encode(_texts(plain, lambda text: text.encode("utf-8", "surrogatepass").decode("latin-1")))


def decode(record: bytes) -> Call:
    """Raises OurFault where the record is of another version or damaged."""
    try:
        if record[1:2] == bytes([ESCAPED]):
            plain = msgspec.msgpack.decode(record, strict=True)
            plain = _texts(plain, lambda text: text.encode("latin-1").decode("utf-8", "surrogatepass"))
            return msgspec.convert(plain, _Record, builtin_types=(bytes,)).call
        decoded = _decoder.decode(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise OurFault(f"unreadable call record: {error}") from error
    if decoded.version != VERSION:
        raise OurFault(f"call record of version {decoded.version}, expected {VERSION}")
    return decoded.call


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed."""
    match value:
        case str():
            return change(value)
        case list() | tuple():
            return [_texts(item, change) for item in value]
        case dict():
            return {_texts(key, change): _texts(item, change) for key, item in value.items()}
        case _:
            return value
