"""Cookie, kind of body, and replies that have to fit."""

from __future__ import annotations

import pytest

from rtprelay.signalling import frame
from rtprelay.signalling.frame import Encoding


@pytest.mark.parametrize("message", [b"", b" ", b"abc", b" d7:command4:pinge", b"abc\nd7:command4:pinge"])
def test_without_a_cookie_there_is_no_message(message: bytes) -> None:
    assert frame.split(message) is None


def test_a_cookie_longer_than_any_proxys_is_none() -> None:
    assert frame.split(b"c" * frame.MAX_COOKIE + b" de") is not None
    assert frame.split(b"c" * (frame.MAX_COOKIE + 1) + b" de") is None


@pytest.mark.parametrize(
    ("message", "encoding"),
    [
        (b"1 d7:command4:pinge", Encoding.BENCODE),
        (b'1 {"command":"ping"}', Encoding.JSON),
        (b"1 xx", None),
        (b"1 ", None),
        (b"1  de", None),
        (b"1 [1]", None),
        (b"1 i5e", None),
    ],
)
def test_the_first_byte_tells_the_encoding(message: bytes, encoding: Encoding | None) -> None:
    found = frame.split(message)
    assert found is not None
    assert (found.cookie, found.encoding) == (b"1", encoding)


def test_the_reply_is_of_the_same_kind() -> None:
    assert frame.join(b"1", Encoding.BENCODE, {"result": "ok"}) == b"1 d6:result2:oke"
    assert frame.join(b"1", Encoding.JSON, {"result": "ok"}) == b'1 {"result":"ok"}'
    assert frame.join(b"1", None, {"result": "ok"}) == b"1 "


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_reply_that_fits_no_datagram_becomes_an_error_that_does(encoding: Encoding) -> None:
    room = frame.MAX_DATAGRAM - len(frame.join(b"1", encoding, {"sdp": "", "result": "ok"}))
    fits = frame.join(b"1", encoding, {"sdp": "x" * (room - 4), "result": "ok"})
    assert b"error" not in fits
    assert len(fits) in (frame.MAX_DATAGRAM, frame.MAX_DATAGRAM - 4)
    refused = frame.join(b"1", encoding, {"sdp": "x" * (room + 1), "result": "ok"})
    assert refused == frame.join(b"1", encoding, {"result": "error", "error-reason": "Reply is too large"})
