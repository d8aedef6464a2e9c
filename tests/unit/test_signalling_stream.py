"""ng over a stream: messages are found wherever the stream was cut, and a stream that is none ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.signalling.frame import MAX_COOKIE
from rtprelay.signalling.stream import Splitter

MESSAGES = [
    b"abc_1 d7:command4:pinge",
    b'abc_2 {"command":"ping"}',
    b"abc_3 d3:sdp12:v=0\r\no=e d e7:command5:offere",
    b'abc_4 {"sdp":"}\\"{ \\\\","flags":["a",{"b":[]}]}',
    "abc_5 d7:command5:ü😀e".replace("5:ü", "6:ü").encode(),
    b"abc_6 de",
    b"abc_7 {}",
]


def messages(splitter: Splitter) -> list[bytes]:
    found = []
    while (message := splitter.take()) is not None:
        found.append(message)
    return found


def test_messages_are_found_at_every_cut_of_the_stream() -> None:
    stream = b"".join(MESSAGES)
    for cut in range(len(stream) + 1):
        splitter = Splitter()
        found = []
        for part in (stream[:cut], stream[cut:]):
            splitter.feed(part)
            found += messages(splitter)
        assert found == MESSAGES
        assert len(splitter) == 0


def test_messages_are_found_byte_by_byte_each_with_its_last_byte() -> None:
    splitter = Splitter()
    for message in MESSAGES:
        for position in range(len(message)):
            assert splitter.take() is None
            splitter.feed(message[position : position + 1])
        assert splitter.take() == message


@given(st.lists(st.sampled_from(MESSAGES), max_size=8), st.data())
def test_messages_are_found_in_any_pieces(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    splitter = Splitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.feed(stream[start:end])
        found += messages(splitter)
    assert found == sent


def test_white_space_between_messages_is_skipped() -> None:
    splitter = Splitter()
    splitter.feed(b"\n 1 de\r\n\n2 {}\n \n")
    assert messages(splitter) == [b"1 de", b"2 {}"]
    assert len(splitter) == 0
    assert not splitter.broken


@pytest.mark.parametrize(
    "last",
    [
        b"abc_7 xx",
        b"abc_7 i1e",
        b"abc_7 dx",
        b"abc_7 d1:a99999999:",
        b"x" * (MAX_COOKIE + 1),
        b"abc_7 " + b'{"a":' + b"[" * 40,
    ],
)
def test_what_is_no_message_is_given_out_and_ends_the_stream(last: bytes) -> None:
    splitter = Splitter()
    splitter.feed(b"1 de" + last)
    assert messages(splitter) == [b"1 de", last]
    assert splitter.broken
    splitter.feed(b"2 de")
    assert splitter.take() is None
    assert len(splitter) == 0


@pytest.mark.parametrize("message", [b"1 d1:a200:" + b"x" * 200 + b"e", b'1 {"a":"' + b"x" * 200 + b'"}'])
def test_a_message_over_the_limit_ends_the_stream_however_it_comes(message: bytes) -> None:
    whole = Splitter(max_message=100)
    whole.feed(message)
    assert whole.take() == message
    assert whole.broken
    dribbled = Splitter(max_message=100)
    for position in range(100):
        dribbled.feed(message[position : position + 1])
        assert dribbled.take() is None
    dribbled.feed(message[100:101])
    assert dribbled.take() == message[:101]
    assert dribbled.broken


def test_a_line_may_come_before_the_first_message() -> None:
    splitter = Splitter()
    splitter.feed(b"Bearer sec")
    assert splitter.take_line(20) is None
    splitter.feed(b"ret\r\n1 d")
    assert splitter.take_line(20) == b"Bearer secret"
    splitter.feed(b"e")
    assert splitter.take() == b"1 de"


def test_a_line_without_end_ends_the_stream() -> None:
    splitter = Splitter()
    splitter.feed(b"x" * 21)
    assert splitter.take_line(20) == b"x" * 21
    assert splitter.broken
