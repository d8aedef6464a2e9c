"""One ng message: `cookie SP body`. The body's first byte tells JSON from bencode; the reply is of the same kind.

Bytes without a cookie are not answered at all; a cookie with a body of neither kind, by the cookie and a space alone.
Where the transport itself joins a reply to its request the body may come alone, and so does the reply's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import msgspec

from rtprelay.signalling.command import Body
from rtprelay.wire import bencode, json

MAX_COOKIE = 256
MAX_DATAGRAM = 65_507
"""What UDP over IPv4 carries: 65,535 less the headers (RFC 768, RFC 791)."""


class Encoding(enum.Enum):
    __hash__ = object.__hash__  # as in CommandName

    BENCODE = "bencode"
    JSON = "json"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """`encoding` None: the body is neither. An empty cookie: the body came alone."""

    cookie: bytes
    encoding: Encoding | None
    body: bytes


_FIRST = {b"d": Encoding.BENCODE, b"{": Encoding.JSON}
_DECODE: dict[Encoding, Callable[[bytes], Any]] = {Encoding.BENCODE: bencode.decode, Encoding.JSON: json.decode}
_ENCODE: dict[Encoding, Callable[[Any], bytes]] = {Encoding.BENCODE: bencode.encode, Encoding.JSON: json.encode}


def split(message: bytes) -> Frame | None:
    """None where there is no cookie."""
    length = message.find(b" ", 0, MAX_COOKIE + 1)
    if length < 1:
        return None
    return Frame(message[:length], _FIRST.get(message[length + 1 : length + 2]), message[length + 1 :])


def plain(message: bytes) -> Frame:
    """A body that comes alone."""
    return Frame(b"", _FIRST.get(message[:1]), message)


def decode(frame: Frame) -> Any:
    """The body's value, None where it has no kind. Raises MalformedMessage."""
    return _DECODE[frame.encoding](frame.body) if frame.encoding else None


def join(cookie: bytes, encoding: Encoding | None, body: Body, longest: int = MAX_DATAGRAM) -> bytes:
    """The reply as bytes. One too large, by default for a datagram, is replaced by an error that fits."""
    head = cookie + b" " if cookie else b""
    if encoding is None:
        return head
    message = head + _ENCODE[encoding](body)
    if len(message) > longest:
        return join(cookie, encoding, {"result": "error", "error-reason": "Reply is too large"})
    return message
