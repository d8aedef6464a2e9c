"""RTP header extensions (RFC 8285), byte by byte."""

from __future__ import annotations

import pytest

from rtprelay.errors import MalformedMessage
from rtprelay.wire.extension import header_elements


def packet(extension: str, csrcs: int = 0, after: bytes = b"payload") -> bytes:
    """`extension`: everything from the profile on, in hex."""
    first = 0x80 | csrcs | (0x10 if extension else 0)
    return bytes((first, 96)) + bytes(10) + bytes(4 * csrcs) + bytes.fromhex(extension) + after


@pytest.mark.parametrize(
    ("extension", "elements"),
    [
        ("", {}),
        ("bede 0000", {}),
        ("bede 0001 40 30 00 00", {4: b"0"}),
        ("bede 0002 10 ff 41 61 62 00 00 00", {1: b"\xff", 4: b"ab"}),
        ("bede 0002 00 00 10 aa 00 00 20 bb", {1: b"\xaa", 2: b"\xbb"}),
        ("bede 0001 10 aa f0 20", {1: b"\xaa"}),
        ("1000 0002 04 00 05 02 61 62 00 00", {4: b"", 5: b"ab"}),
        ("100f 0001 00 ff 01 61", {255: b"a"}),
        ("abcd 0001 40 30 00 00", {}),
    ],
)
@pytest.mark.parametrize("csrcs", [0, 2])
def test_elements_are_found_by_number(extension: str, elements: dict[int, bytes], csrcs: int) -> None:
    assert header_elements(packet(extension, csrcs)) == elements


@pytest.mark.parametrize(
    "data",
    [
        packet("bede 0004 40 30 00 00", after=b""),
        packet("bede", after=b""),
        packet("bede 0001 4f 30 00 00"),
        packet("1000 0001 01 03 00 00"),
    ],
)
def test_what_exceeds_the_packet_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        header_elements(data)


def test_what_is_no_packet_has_none() -> None:
    assert header_elements(b"") == header_elements(b"\x90") == {}
