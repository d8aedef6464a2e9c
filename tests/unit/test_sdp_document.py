"""The lossless document: what it gives back, and what it refuses before working on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtprelay.errors import MalformedSdp
from rtprelay.sdp.document import LONGEST, MAX_LENGTH, MAX_LINE_LENGTH, MAX_LINES, MAX_MEDIA, SessionDescription

CORPUS = sorted((Path(__file__).parents[1] / "data" / "sdp").rglob("*.sdp"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_clients_sdp_comes_back_byte_for_byte(path: Path) -> None:
    raw = path.read_bytes()
    document = SessionDescription.parse(raw.decode("utf-8", "surrogateescape"))
    assert str(document).encode("utf-8", "surrogateescape") == raw


@pytest.mark.parametrize(
    "text",
    [
        "v=0",
        "v=0\r",
        "v=0\n\n\r\n",
        "v=0\r\na=one\na=two\r\nX=unknown\r\nno form at all\r\n = \r\nm=\r\nm",
        "v=0\r\na=\x0b\x0c\x85\u2028not a line end\r\n",
        "v= 0 \r\ns=\udcff\udc80\r\n",
    ],
)
def test_odd_lines_and_endings_come_back(text: str) -> None:
    assert str(SessionDescription.parse(text)) == text


def test_sections_begin_at_their_m_line() -> None:
    document = SessionDescription.parse("v=0\r\na=x\r\nm=audio\r\na=y\r\nm=video\r\n")
    assert str(document.session) == "v=0\r\na=x\r\n"
    assert [str(section) for section in document.media] == ["m=audio\r\na=y\r\n", "m=video\r\n"]


def test_characters_that_only_python_takes_for_line_ends_do_not_split_a_line() -> None:
    document = SessionDescription.parse("v=0\r\ns=a\x0b\x0c\x1c\x85\u2028m=audio\r\n")
    assert len(document.session.lines) == 2
    assert not document.media


@pytest.mark.parametrize("text", ["", "\r\n", "v=\nv=0", "v=1\r\n", "o=- 1 1 IN IP4 192.0.2.1\r\n", " v=0\r\n", "v"])
def test_text_that_does_not_begin_with_v_0_is_refused_at_line_1(text: str) -> None:
    with pytest.raises(MalformedSdp, match="line 1"):
        SessionDescription.parse(text)


@pytest.mark.parametrize("line", ["a=x\ra=forged", "a=x\r", "a=x\0"])
def test_a_line_end_inside_a_line_is_refused(line: str) -> None:
    with pytest.raises(MalformedSdp, match=r"line 2 .* inside"):
        SessionDescription.parse(f"v=0\r\n{line}\r\ns=-\r\n")


def test_too_long_a_text_is_refused() -> None:
    line = f"a={'x' * 1021}\n"
    fits = "v=0\n" + line * (MAX_LENGTH // len(line) - 1)
    assert str(SessionDescription.parse(fits)) == fits
    with pytest.raises(MalformedSdp, match="longer"):
        SessionDescription.parse(fits + line)


def test_too_many_lines_are_refused() -> None:
    SessionDescription.parse("v=0\n" + "a=\n" * (MAX_LINES - 1))
    with pytest.raises(MalformedSdp, match="lines"):
        SessionDescription.parse("v=0\n" + "a=\n" * MAX_LINES)


def test_too_long_a_line_is_refused_by_its_number_and_not_quoted_in_full() -> None:
    SessionDescription.parse(f"v=0\r\na={'x' * (MAX_LINE_LENGTH - 2)}\r\n")
    with pytest.raises(MalformedSdp, match="line 2") as caught:
        SessionDescription.parse(f"v=0\r\na={'x' * (MAX_LINE_LENGTH - 1)}\r\n")
    assert len(caught.value.reason) < 200


def test_too_many_media_sections_are_refused_by_the_line_that_is_too_many() -> None:
    media = "m=audio 4000 RTP/AVP 0\r\n"
    assert len(SessionDescription.parse("v=0\r\n" + media * MAX_MEDIA).media) == MAX_MEDIA
    with pytest.raises(MalformedSdp, match=f"line {MAX_MEDIA + 2} "):
        SessionDescription.parse("v=0\r\n" + media * (MAX_MEDIA + 1))


def test_the_reason_can_be_sent_whatever_the_line_holds() -> None:
    with pytest.raises(MalformedSdp) as caught:
        SessionDescription.parse(f"v=0\r\n\udcff\x00{'x' * MAX_LINE_LENGTH}")
    assert caught.value.reason.encode("ascii")


def test_a_block_of_lines_that_comes_again_is_taken_apart_once() -> None:
    one, other = (
        SessionDescription.parse(
            f"v=0\r\no=- {number} 1 IN IP4 192.0.2.{number}\r\ns=-\r\nc=IN IP4 192.0.2.{number}\r\nt=0 0\r\n"
            f"m=audio {number}000 RTP/AVP 0\r\nc=IN IP4 192.0.2.{number}\r\na=ptime:20\r\n"
        )
        for number in (1, 2)
    )
    assert one.session.block is other.session.block
    assert one.media[0].block is other.media[0].block
    assert str(one) != str(other)


@pytest.mark.parametrize(("length", "remembered"), [(LONGEST, True), (LONGEST + 1, False)])
def test_only_a_short_block_is_remembered(length: int, remembered: bool) -> None:
    text = "v=0\r\n" + "a=short\r\n".ljust(length, "x")
    one, other = SessionDescription.parse(text), SessionDescription.parse(text)
    assert (one.session.block is other.session.block) is remembered
    assert str(one) == str(other) == text
