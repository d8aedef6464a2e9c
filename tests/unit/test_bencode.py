"""Bencode as ng speaks it: what is read, what is refused, and that refusing costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.errors import MalformedMessage
from rtprelay.wire import bencode, json


def test_the_example_of_the_documentation_reads_and_writes() -> None:
    assert bencode.decode(b"d7:command4:pinge") == {"command": "ping"}
    assert bencode.encode({"result": "pong"}) == b"d6:result4:ponge"


def test_keys_need_not_be_sorted_and_are_written_in_their_order() -> None:
    message = b"d3:sdp3:v=07:command5:offer5:flagslee"
    assert bencode.encode(bencode.decode(message)) == message


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (b"d1:a1:x1:a1:ye", {"a": "y"}),
        (b"d1:al1:xe1:al1:yee", {"a": ["x", "y"]}),
        (b"d1:ad1:bl1:xee1:ad1:bl1:ye1:c1:zee", {"a": {"b": ["x", "y"], "c": "z"}}),
        (b"d1:al1:xe1:a1:ye", {"a": "y"}),
    ],
    ids=["scalars: the last", "lists add up", "dictionaries add up", "unlike kinds: the last"],
)
def test_repeated_keys_act_as_with_rtpengine(message: bytes, value: Any) -> None:
    assert bencode.decode(message) == value


def test_bytes_that_are_no_utf8_survive() -> None:
    message = b"d1:a3:\xff\x00\xe9e"
    assert bencode.encode(bencode.decode(message)) == message


def test_lengths_count_bytes_not_characters() -> None:
    assert bencode.encode({"tag": "é"}) == b"d3:tag2:\xc3\xa9e"


def test_bytes_are_written_as_they_are() -> None:
    assert bencode.encode([b"\xff", -7, 0]) == b"l1:\xffi-7ei0ee"


@pytest.mark.parametrize("value", [True, None, 1.5, {"a": object()}, {"a": True}])
def test_what_bencode_cannot_say_is_our_mistake(value: Any) -> None:
    with pytest.raises(TypeError):
        bencode.encode(value)


def test_what_follows_the_value_is_left_to_the_next_message() -> None:
    stream = b"d7:command4:pinged7:command4:liste"
    first, end = bencode.decode_prefix(stream)
    second, behind = bencode.decode_prefix(stream, end)
    assert (first, second, behind) == ({"command": "ping"}, {"command": "list"}, len(stream))


WHOLE = b"d5:flagsl4:a-b-d1:xi-12eee3:sdp10:0123456789e"


def test_every_cut_off_message_is_incomplete_and_nothing_else() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(bencode.IncompleteMessage):
            bencode.decode(WHOLE[:length])
    assert bencode.decode(WHOLE)["sdp"] == "0123456789"


@pytest.mark.parametrize(
    "message",
    [
        b"x",
        b"e",
        b"d1:ae",
        b"di1e1:ae",
        b"dle1:ae",
        b"d01:a1:be",
        b"d-1:a1:be",
        b"d1 :a1:be",
        b"d1:ai-0ee",
        b"d1:ai03ee",
        b"d1:aiee",
        b"d1:ai-ee",
        b"d1:ai+1ee",
        b"d1:ai1_0ee",
        b"d1:ai 1ee",
        b"d1:ai1.5ee",
        b"d1:ai" + b"9" * 30 + b"ee",
        b"9999999:x",
        b"99999999999999999999:x",
        b"d1:a99999999",
    ],
)
def test_what_is_no_bencode_is_refused_for_good(message: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        bencode.decode(message)
    assert not isinstance(caught.value, bencode.IncompleteMessage)
    assert caught.value.reason.startswith("Could not decode bencode dictionary: ")


def nested(depth: int, opening: bytes, middle: bytes, closing: bytes) -> bytes:
    return opening * depth + middle + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"l", b"e"), (b"d1:a", b"e")])
def test_depth_is_limited_before_the_stack_is(opening: bytes, closing: bytes) -> None:
    bencode.decode(nested(bencode.MAX_DEPTH, opening, b"i1e" if opening != b"l" else b"", closing))
    for depth in (bencode.MAX_DEPTH + 1, 10_000):
        with pytest.raises(MalformedMessage, match="nested deeper"):
            bencode.decode(nested(depth, opening, b"", closing))


def test_the_number_of_elements_is_limited() -> None:
    bencode.decode(b"l" + b"i1e" * bencode.MAX_ELEMENTS + b"e")
    with pytest.raises(MalformedMessage, match="elements"):
        bencode.decode(b"l" + b"i1e" * (bencode.MAX_ELEMENTS + 1) + b"e")


def test_json_has_the_same_limits() -> None:
    json.decode(nested(bencode.MAX_DEPTH, b"[", b"1", b"]"))
    for depth in (bencode.MAX_DEPTH + 1, 30_000):
        with pytest.raises(MalformedMessage):
            json.decode(nested(depth, b'{"a":', b"1", b"}"))
    json.decode(b"[" + b"1," * (bencode.MAX_ELEMENTS - 1) + b"1]")
    with pytest.raises(MalformedMessage, match="elements"):
        json.decode(b"[" + b"1," * bencode.MAX_ELEMENTS + b"1]")
    with pytest.raises(MalformedMessage):
        json.decode(b'"' + b" " * bencode.MAX_MESSAGE + b'"')


def test_json_with_many_commas_in_its_text_is_none_the_worse() -> None:
    value = {"sdp": "," * 60_000, "brackets": "[{" * 1000}
    assert json.decode(json.encode(value)) == value


@pytest.mark.parametrize("message", [b"", b"{", b'{"a":1}x', b"{'a':1}", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"NaN"])
def test_what_is_no_json_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedMessage, match=r"^Failed to parse JSON document: "):
        json.decode(message)


def test_json_shows_bytes_it_cannot_carry_as_replacement_characters() -> None:
    value = bencode.decode(b"d5:callsl3:a\xffbee")
    assert json.decode(json.encode(value)) == {"calls": ["a�b"]}


# --- what is written already ---

COUNTS = bencode.form({"packets": bencode.INTEGER, "name": bencode.WRITTEN})


def test_a_form_is_the_text_of_a_dictionary_with_places_for_its_values() -> None:
    written = bencode.Written(COUNTS % (7, bencode.string("f\u00fcnf")))
    assert bencode.encode({"a": written}) == bencode.encode({"a": {"packets": 7, "name": "f\u00fcnf"}})


def test_what_is_written_is_read_back_however_much_it_is() -> None:
    many = [{"packets": number, "name": "\udcff"} for number in range(bencode.MAX_ELEMENTS)]
    written = bencode.Written(bencode.write(many))
    assert bencode.plain({"all": written}) == {"all": many}
    assert json.encode(written).endswith('"name":"\ufffd"}]'.encode())


def test_a_json_reply_has_what_is_written_as_well() -> None:
    assert json.encode([bencode.Written(COUNTS % (7, bencode.string("x")))]) == b'[{"packets":7,"name":"x"}]'
