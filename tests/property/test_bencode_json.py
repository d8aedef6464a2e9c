"""What is written is read back; what is not written by us is refused in one way, and quickly."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtprelay.errors import MalformedMessage
from rtprelay.wire import bencode, json

any_text = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
integers = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        text | integers,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
        max_leaves=30,
    )


@given(values(any_text))
def test_bencode_comes_back_with_every_byte_and_the_order_of_keys(value: Any) -> None:
    message = bencode.encode(value)
    decoded = bencode.decode(message)
    assert decoded == value
    assert bencode.encode(decoded) == message


@given(values(st.text(st.characters(codec="utf-8"), max_size=40)))
def test_json_comes_back(value: Any) -> None:
    assert json.decode(json.encode(value)) == value


@given(st.lists(values(any_text), min_size=1, max_size=5))
def test_messages_in_a_stream_part_where_they_end(sent: list[Any]) -> None:
    stream = b"".join(bencode.encode(value) for value in sent)
    received, position = [], 0
    while position < len(stream):
        value, position = bencode.decode_prefix(stream, position)
        received.append(value)
    assert received == sent


@given(st.dictionaries(any_text, values(any_text), min_size=1, max_size=5), st.data())
def test_a_cut_off_message_is_incomplete(value: dict[str, Any], data: st.DataObject) -> None:
    message = bencode.encode(value)
    length = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(bencode.IncompleteMessage):
        bencode.decode(message[:length])


bencode_like = st.lists(
    st.sampled_from([b"d", b"l", b"e", b"i", b"-", b"0", b"1:", b"3:abc", b"i5e", b"9", b":", b"5:flags", b"\xff"]),
    max_size=60,
).map(b"".join)
json_like = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"1", b"1e999", b"null", b"\\u", b'"', b"\xff"]),
    max_size=60,
).map(b"".join)


@settings(max_examples=400)
@given(bencode_like | st.binary(max_size=100))
def test_nothing_but_malformed_comes_of_bytes_that_are_no_bencode(message: bytes) -> None:
    try:
        value, end = bencode.decode_prefix(message)
    except MalformedMessage:
        return
    assert 0 < end <= len(message)
    assert bencode.decode(bencode.encode(value)) == value


@settings(max_examples=400)
@given(json_like | st.binary(max_size=100))
def test_nothing_but_malformed_comes_of_bytes_that_are_no_json(message: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        value = json.decode(message)
        assert json.decode(json.encode(value)) == value
