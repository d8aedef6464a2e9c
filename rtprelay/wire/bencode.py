"""Bencode as ng speaks it: BEP 3, except that keys may be unsorted and may repeat.

A repeated key behaves as it does with rtpengine (seen with 10.5), which Kamailio's users rely on: of scalars the last
one holds, lists and dictionaries add up: `5:flagsl1:ae5:flagsl1:be` is `flags: [a, b]`.

Strings are text in UTF-8 with `surrogateescape`, so that any bytes come back exactly. The decoder keeps its own stack:
depth, element count and string lengths are checked before anything is built from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rtprelay.errors import MalformedMessage

MAX_DEPTH = 32
MAX_ELEMENTS = 4096
MAX_MESSAGE = 1 << 20
_MAX_LENGTH_DIGITS = len(str(MAX_MESSAGE))
_MAX_INTEGER_DIGITS = len(str(-(1 << 63)))

_DIGITS = frozenset("0123456789")
LENGTHS = {str(length): length for length in range(2048)}
"""Nearly every string of a message is shorter: looked up, its length costs a third of parsing it."""


class IncompleteMessage(MalformedMessage):
    """So far so good, but there has to be more: a stream waits, a datagram is cut off."""

    label = "incomplete_message"


def decode(data: bytes) -> Any:
    """The value `data` begins with; like rtpengine we do not mind what follows it. Raises MalformedMessage."""
    return decode_prefix(data)[0]


def decode_prefix(data: bytes, start: int = 0, most: int = MAX_ELEMENTS) -> tuple[Any, int]:
    """The value at `start`, of `most` elements, and the position behind it. Raises IncompleteMessage where more bytes
    could complete it.
    """
    # One character for each byte: lengths and positions hold, and where all is ASCII, as mostly, strings are slices.
    text, size = data.decode("latin-1"), len(data)
    ascii_only = text.isascii()
    position = start
    elements = 0
    stack: list[tuple[Any, str | None]] = []
    container: Any = None
    key: str | None = None
    keyed = False
    """`container` is a dictionary."""
    value: Any
    try:
        while True:
            mark = text[position]
            if mark in _DIGITS:
                colon = text.find(":", position, position + _MAX_LENGTH_DIGITS + 1)
                if colon < 0:
                    raise _no_colon(data, position)
                digits = text[position:colon]
                length = LENGTHS[digits] if digits in LENGTHS else _integer(digits, "string length")
                position = colon + 1 + length
                if length > MAX_MESSAGE:
                    raise _malformed(f"string of {length} bytes")
                if position > size:
                    raise _incomplete(f"string of {length} bytes exceeds the message")
                value = text[colon + 1 : position]
                if not ascii_only:
                    value = value.encode("latin-1").decode("utf-8", "surrogateescape")
                if keyed and key is None:
                    key = value
                    continue
            elif mark == "e" and stack:
                if keyed and key is not None:
                    raise _malformed(f"key {key[:64]!r} has no value")
                value = container
                container, key = stack.pop()
                keyed = key is not None
                position += 1
            elif keyed and key is None:
                raise _malformed(f"dictionary key at byte {position - start} is no string")
            elif mark in ("d", "l"):
                if len(stack) == MAX_DEPTH:
                    raise _malformed(f"nested deeper than {MAX_DEPTH}")
                stack.append((container, key))
                keyed = mark == "d"
                container, key = {} if keyed else [], None
                position += 1
                continue
            elif mark == "i":
                end = text.find("e", position, position + _MAX_INTEGER_DIGITS + 2)
                if end < 0:
                    raise _no_end(data, position)
                value = _integer(text[position + 1 : end], "integer")
                position = end + 1
            else:
                raise _malformed(f"unexpected byte {data[position]:#04x} at {position - start}")

            if not stack:
                return value, position
            elements += 1
            if elements > most:
                raise _malformed(f"more than {most} elements")
            if key is None:
                container.append(value)
            else:
                if key in container:
                    value = _merged(container[key], value)
                container[key] = value
                key = None
    except IndexError:
        raise _incomplete("message is cut off") from None


class Written:
    """A value whose bencode is there already; what is always of the same form is quickly written by one (`form`)."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def value(self) -> Any:
        return decode_prefix(self.text.encode("utf-8", "surrogateescape"), most=len(self.text))[0]


INTEGER = "i%de"
WRITTEN = "%s"
"""Places in a form: for an integer, and for what is written itself, by `string` for instance."""


def form(places: Mapping[str, str]) -> str:
    """A dictionary's text with places for its values, which `%` fills: `INTEGER`, `WRITTEN`, those of another form."""
    return f"d{entries(places)}e"


def entries(places: Mapping[str, str]) -> str:
    """Some entries of a dictionary, likewise."""
    return "".join([string(key) + place for key, place in places.items()])


def encode(value: Any) -> bytes:
    """`value` of str, bytes, int, list, dict, Written; dictionary keys stay in their order, as rtpengine sends them."""
    return write(value).encode("utf-8", "surrogateescape")


def plain(value: Any) -> Any:
    """`value` with all that is written in it read back."""
    return Written(write(value)).value


def write(value: Any) -> str:
    out: list[str] = []
    _encode(value, out.append)
    return "".join(out)


def _encode(value: Any, put: Callable[[str], None]) -> None:
    """Exact types first: replies hold hardly anything else, and asking an ABC costs more than encoding."""
    kind = type(value)
    if kind is dict:
        put("d")
        for key, item in value.items():
            written = _KEYS.get(key) or _key(key)
            kind = type(item)
            if kind is int:
                put(f"{written}i{item}e")
            elif kind is str:
                put(written + string(item))
            else:
                put(written)
                _encode(item, put)
        put("e")
    elif kind is list:
        put("l")
        for item in value:
            if type(item) is str:
                put(string(item))
            else:
                _encode(item, put)
        put("e")
    elif kind is Written:
        put(value.text)
    else:
        _encode_other(value, put)


def _encode_other(value: Any, put: Callable[[str], None]) -> None:
    if isinstance(value, bool):
        raise TypeError("bencode has no booleans")
    if isinstance(value, str):
        put(string(value))
    elif isinstance(value, int):
        put(f"i{value:d}e")
    elif isinstance(value, bytes):
        put(string(value.decode("utf-8", "surrogateescape")))
    elif isinstance(value, Mapping):
        _encode(dict(value), put)
    elif isinstance(value, Sequence):
        _encode(list(value), put)
    else:
        raise TypeError(f"bencode has no {type(value).__name__}")


def string(value: str) -> str:
    length = len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    return f"{length}:{value}"


_KEYS: dict[str, str] = {}
_MAX_KEYS = 1024
_SHORT_KEY = 24


def _key(key: str) -> str:
    """The keys of replies are always the same few; a tag, which a stranger chose, may be a key as well."""
    written = string(key)
    if len(_KEYS) < _MAX_KEYS and len(key) <= _SHORT_KEY:
        _KEYS[key] = written
    return written


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old[key], item) if key in old else item for key, item in new.items()}
    return new


def _integer(digits: str, what: str) -> int:
    """One spelling per number (BEP 3): no leading zeros, no -0; nor those that int() would take: '+1', ' 1', '1_0'."""
    magnitude = digits[1:] if digits[:1] == "-" and what == "integer" else digits
    if not (magnitude.isascii() and magnitude.isdigit()) or (magnitude[:1] == "0" and digits != "0"):
        raise _malformed(f"bad {what} {digits[:32]!a}")
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
