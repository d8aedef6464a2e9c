"""Bencode as ng speaks it: BEP 3, except that keys may be unsorted and may repeat.

A repeated key behaves as it does with rtpengine (seen with 10.5), which Kamailio's users rely on: of scalars the last
one holds, lists and dictionaries add up: `5:flagsl1:ae5:flagsl1:be` is `flags: [a, b]`.

Strings are text in UTF-8 with `surrogateescape`, so that any bytes come back exactly. The decoder keeps its own stack:
depth, element count and string lengths are checked before anything is built from them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rtprelay.errors import MalformedMessage

MAX_DEPTH = 32
MAX_ELEMENTS = 4096
MAX_MESSAGE = 1 << 20
_MAX_LENGTH_DIGITS = len(str(MAX_MESSAGE))
_MAX_INTEGER_DIGITS = len(str(-(1 << 63)))

_DIGITS = frozenset(b"0123456789")
_OPENING = frozenset(b"dl")
_DICT, _INTEGER, _END = b"die"
# Nearly every string of a message is shorter: looked up, its length costs a third of parsing it.
_LENGTHS = {b"%d" % length: length for length in range(1024)}


class IncompleteMessage(MalformedMessage):
    """So far so good, but there has to be more: a stream waits, a datagram is cut off."""

    label = "incomplete_message"


def decode(data: bytes) -> Any:
    """The value `data` begins with; like rtpengine we do not mind what follows it. Raises MalformedMessage."""
    return decode_prefix(data)[0]


def decode_prefix(data: bytes, start: int = 0) -> tuple[Any, int]:
    """The value at `start` and the position behind it. Raises IncompleteMessage where more bytes could complete it."""
    position, size = start, len(data)
    elements = 0
    stack: list[tuple[Any, str | None]] = []
    container: Any = None
    key: str | None = None
    value: Any
    try:
        while True:
            mark = data[position]
            if mark in _DIGITS:
                colon = data.find(b":", position, position + _MAX_LENGTH_DIGITS + 1)
                if colon < 0:
                    raise _no_colon(data, position)
                digits = data[position:colon]
                length = _LENGTHS[digits] if digits in _LENGTHS else _integer(digits, "string length")
                position = colon + 1 + length
                if length > MAX_MESSAGE:
                    raise _malformed(f"string of {length} bytes")
                if position > size:
                    raise _incomplete(f"string of {length} bytes exceeds the message")
                value = data[colon + 1 : position].decode("utf-8", "surrogateescape")
                if key is None and type(container) is dict:
                    key = value
                    continue
            elif mark == _END and stack:
                if key is not None:
                    raise _malformed(f"key {key[:64]!r} has no value")
                value = container
                container, key = stack.pop()
                position += 1
            elif key is None and type(container) is dict:
                raise _malformed(f"dictionary key at byte {position - start} is no string")
            elif mark in _OPENING:
                if len(stack) == MAX_DEPTH:
                    raise _malformed(f"nested deeper than {MAX_DEPTH}")
                stack.append((container, key))
                container, key = ({} if mark == _DICT else []), None
                position += 1
                continue
            elif mark == _INTEGER:
                end = data.find(b"e", position, position + _MAX_INTEGER_DIGITS + 2)
                if end < 0:
                    raise _no_end(data, position)
                value = _integer(data[position + 1 : end], "integer")
                position = end + 1
            else:
                raise _malformed(f"unexpected byte {mark:#04x} at {position - start}")

            if not stack:
                return value, position
            elements += 1
            if elements > MAX_ELEMENTS:
                raise _malformed(f"more than {MAX_ELEMENTS} elements")
            if key is None:
                container.append(value)
            else:
                if key in container:
                    value = _merged(container[key], value)
                container[key] = value
                key = None
    except IndexError:
        raise _incomplete("message is cut off") from None


def encode(value: Any) -> bytes:
    """`value` of str, bytes, int, list and dict; dictionary keys stay in their order, as rtpengine sends them."""
    out: list[bytes] = []
    _encode(value, out.append)
    return b"".join(out)


def _encode(value: Any, put: Callable[[bytes], None]) -> None:
    """Exact types first: replies hold hardly anything else, and asking an ABC costs more than encoding."""
    kind = type(value)
    if kind is str:
        put(_string(value))
    elif kind is int:
        put(b"i%de" % value)
    elif kind is dict or (kind is not list and isinstance(value, Mapping)):
        put(b"d")
        for key, item in value.items():
            put(_key(key) if len(key) <= _SHORT_KEY else _string(key))
            _encode(item, put)
        put(b"e")
    elif isinstance(value, bool):
        raise TypeError("bencode has no booleans")
    elif isinstance(value, str):
        put(_string(value))
    elif isinstance(value, int):
        put(b"i%de" % value)
    elif isinstance(value, bytes):
        put(b"%d:%b" % (len(value), value))
    elif isinstance(value, Sequence):
        put(b"l")
        for item in value:
            _encode(item, put)
        put(b"e")
    else:
        raise TypeError(f"bencode has no {kind.__name__}")


def _string(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return b"%d:%b" % (len(raw), raw)


# The keys of replies are always the same few; a tag, which a stranger chose, may be a key as well.
_key = functools.lru_cache(maxsize=1024)(_string)
_SHORT_KEY = 24


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old[key], item) if key in old else item for key, item in new.items()}
    return new


def _integer(digits: bytes, what: str) -> int:
    """One spelling per number (BEP 3): no leading zeros, no -0; nor those that int() would take: '+1', ' 1', '1_0'."""
    magnitude = digits[1:] if digits[:1] == b"-" and what == "integer" else digits
    if not magnitude.isdigit() or (magnitude[:1] == b"0" and digits != b"0"):
        raise _malformed(f"bad {what} {digits[:32]!r}")
    return int(digits)


def _no_colon(data: bytes, position: int) -> MalformedMessage:
    tail = data[position:]
    if tail.isdigit() and len(tail) <= _MAX_LENGTH_DIGITS:
        return _incomplete("string length is cut off")
    return _malformed(f"bad string length {tail[: _MAX_LENGTH_DIGITS + 1]!r}")


def _no_end(data: bytes, position: int) -> MalformedMessage:
    tail = data[position + 1 :]
    if tail in (b"", b"-") or (len(tail) <= _MAX_INTEGER_DIGITS and tail.removeprefix(b"-").isdigit()):
        return _incomplete("integer is cut off")
    return _malformed(f"bad integer {tail[: _MAX_INTEGER_DIGITS + 1]!r}")


def _malformed(detail: str) -> MalformedMessage:
    return MalformedMessage(f"Could not decode bencode dictionary: {detail}")


def _incomplete(detail: str) -> IncompleteMessage:
    return IncompleteMessage(f"Could not decode bencode dictionary: {detail}")
