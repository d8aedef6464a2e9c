"""Where a value ends: the scanners agree with the decoders, whichever pieces the bytes come in."""

from __future__ import annotations

import json as stdlib_json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import MalformedMessage
from rtprelay.wire import bencode
from rtprelay.wire.bencode import MAX_DEPTH, MAX_ELEMENTS
from rtprelay.wire.extent import BencodeScanner, JsonScanner

TEXT = st.text(max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXT | st.integers(-(1 << 62), 1 << 62),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(TEXT, VALUES, max_size=4)


def encodings(message: dict[str, Any]) -> list[tuple[type[BencodeScanner] | type[JsonScanner], bytes]]:
    return [
        (BencodeScanner, bencode.encode(message)),
        (JsonScanner, stdlib_json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")),
        (JsonScanner, stdlib_json.dumps(message, indent=1).encode()),
    ]


@given(MESSAGES, st.binary(max_size=8), st.binary(max_size=8))
def test_a_value_ends_where_its_encoder_ended_it(message: dict[str, Any], before: bytes, behind: bytes) -> None:
    for scanner, data in encodings(message):
        assert scanner(len(before)).end(before + data + behind) == len(before + data)


@given(MESSAGES, st.data())
def test_the_end_is_found_with_the_last_byte_and_not_before(message: dict[str, Any], data: st.DataObject) -> None:
    for make, whole in encodings(message):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)))
        scanner, buffer = make(0), bytearray()
        for start, end in zip([0, *cuts], [*cuts, len(whole) - 1], strict=True):
            buffer += whole[start:end]
            assert scanner.end(buffer) is None
        buffer += whole[-1:]
        assert scanner.end(buffer) == len(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"d1:a9999999:",
        b"d1:a" + b"1" * 9,
        b"dx",
        b"d1:ai" + b"1" * 30,
        b"d12x:",
        b"d-1:",
        b"l" * (MAX_DEPTH + 1),
        b"d1:al" + b"i1e" * (4 * MAX_ELEMENTS),
    ],
)
def test_bencode_that_no_decoder_would_take_is_given_up(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        BencodeScanner(0).end(data)


@pytest.mark.parametrize("data", [b'{"a":' + b"[" * MAX_DEPTH, b'{"a":"' + b'\\"' * (9 * MAX_ELEMENTS)])
def test_json_that_no_decoder_would_take_is_given_up(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        JsonScanner(0).end(data)


def test_the_largest_messages_decoders_take_are_not_given_up() -> None:
    flat = {str(number): "x" for number in range(MAX_ELEMENTS)}
    lists: dict[str, Any] = {str(number): [] for number in range(MAX_ELEMENTS)}
    for message in (flat, lists):
        data = bencode.encode(message)
        assert len(bencode.decode(data)) == MAX_ELEMENTS
        assert BencodeScanner(0).end(data) == len(data)
    assert JsonScanner(0).end(stdlib_json.dumps(flat).encode()) is not None


def test_brackets_that_do_not_match_end_a_message_for_its_decoder_to_refuse() -> None:
    assert JsonScanner(0).end(b'{"a":[}]x') == 8
