"""JSON as ng speaks it (RFC 8259), with the bounds of bencode: depth and element count."""

from __future__ import annotations

from typing import Any

import msgspec

from rtprelay.errors import MalformedMessage
from rtprelay.wire.bencode import MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE, Written


def decode(data: bytes) -> Any:
    """The value; of repeated keys the last one holds. Raises MalformedMessage."""
    if len(data) > MAX_MESSAGE:
        raise _malformed(f"{len(data)} bytes")
    # Brackets and commas bound depth and size from above and are counted in C: few messages need a second look.
    brackets = data.count(b"{") + data.count(b"[")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from None
    if brackets > MAX_DEPTH or brackets + data.count(b",") > MAX_ELEMENTS:
        _check(value)
    return value


def encode(value: Any) -> bytes:
    """Keys in insertion order. Bytes that are no UTF-8 (surrogate escapes) become U+FFFD: JSON cannot carry them."""
    try:
        return msgspec.json.encode(value, enc_hook=_read)
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(value))


def _read(value: Any) -> Any:
    if isinstance(value, Written):
        return value.value
    raise TypeError(f"JSON has no {type(value).__name__}")


def _check(value: Any) -> None:
    """Walk breadth-first, a level at a time."""
    elements = 0
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        elements += len(below)
        if elements > MAX_ELEMENTS:
            raise _malformed(f"more than {MAX_ELEMENTS} elements")
        if not below:
            return
        level = below
    raise _malformed(f"nested deeper than {MAX_DEPTH}")


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    if isinstance(value, Written):
        return _printable(value.value)
    return value


def _malformed(detail: str) -> MalformedMessage:
    return MalformedMessage(f"Failed to parse JSON document: {detail}")
