"""Requests that a proxy makes again and again: remembered or not, they are what decoder and rules make of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import RelayError
from rtprelay.signalling import frame, idioms, parse
from rtprelay.signalling.command import Command
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.parse import parse_command
from rtprelay.signalling.templates import Templates
from rtprelay.wire import bencode

KAMAILIO: dict[str, Any] = {
    "supports": ["load limit"],
    "flags": ["trust-address"],
    "sdp": "v=0\r\n",
    "ICE": "remove",
    "direction": ["a", "b"],
    "call-id": "call-1@example",
    "received-from": ["IP4", "192.0.2.1"],
    "from-tag": "f",
    "command": "offer",
}


def outcome(body: bytes, known: Idioms | None = None) -> Command | str:
    try:
        return parse_command(bencode.decode(body)) if known is None else known.read(frame.plain(body))
    except RelayError as error:
        return error.reason


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What had to be taken apart by the rules."""
    seen: list[Any] = []

    def taken_apart(body: Any) -> Any:
        seen.append(body)
        return parse.take_apart(body)

    monkeypatch.setattr(idioms, "take_apart", taken_apart)
    return seen


def knowing(*bodies: dict[str, Any]) -> Idioms:
    known = Idioms()
    for body in (*bodies, *bodies):
        known.read(frame.plain(bencode.encode(body)))
    return known


def test_what_is_said_a_third_time_is_not_taken_apart_again(decoded: list[Any]) -> None:
    known = knowing(KAMAILIO)
    assert len(decoded) == 2
    again = {**KAMAILIO, "sdp": "v=0\r\n" * 100, "call-id": "x", "from-tag": "", "received-from": ["IP4", "10.0.0.1"]}
    body = bencode.encode(again)
    assert outcome(body, known) == outcome(body)
    assert len(decoded) == 2


def test_proxies_have_several_idioms_that_begin_alike(decoded: list[Any]) -> None:
    answer = {**KAMAILIO, "command": "answer", "to-tag": "t"}
    delete = {"supports": ["load limit"], "call-id": "c", "from-tag": "f", "command": "delete"}
    bodies = [KAMAILIO, answer, delete, {**KAMAILIO, "ICE": "force"}]
    known = knowing(*bodies)
    decoded.clear()
    for body in map(bencode.encode, bodies):
        assert outcome(body, known) == outcome(body)
    assert not decoded


@pytest.mark.parametrize(
    "changes",
    [
        {"sdp": ""},
        {"call-id": ""},
        {"from-tag": "t" * 513},
        {"from-tag": "\u00fc"},
        {"call-id": 7},
        {"received-from": ["IP4", "nowhere"]},
        {"received-from": ["IP6", "::1"]},
        {"sdp": "v=0\r\n" * 1000},
        {"ICE": "force"},
        {"command": "answer"},
        {"more": "x"},
    ],
)
def test_what_differs_is_read_or_refused_by_the_rules(changes: dict[str, Any]) -> None:
    body = bencode.encode({**KAMAILIO, **changes})
    assert outcome(body, knowing(KAMAILIO)) == outcome(body)


@pytest.mark.parametrize(
    "twice", [b"7:call-id1:a7:call-id1:b", b"7:call-idli1ee7:call-id1:b", b"5:flagsl1:xe5:flagsl1:ye"]
)
def test_a_key_that_comes_twice_means_what_the_decoder_says(twice: bytes) -> None:
    known = Idioms()
    for own in (b"1:c", b"2:cc", b"3:ccc"):
        body = b"d" + twice + b"7:command6:delete7:call-id" + own + b"e"
        assert outcome(body, known) == outcome(body)


@pytest.mark.parametrize("said", [["IP4", "192.0.2.?"], [], "IP4 192.0.2.1", "192.0.2.1", ["192.0.2.1"], [[]], 7])
def test_where_a_request_came_from_may_be_said_in_other_forms(said: Any) -> None:
    other = {**KAMAILIO, "received-from": said}
    known = knowing(other)
    for body in map(bencode.encode, (KAMAILIO, other)):
        assert outcome(body, known) == outcome(body)


def test_a_template_that_changes_is_heard_at_once() -> None:
    templates = Templates()
    known = Idioms(templates)
    message = frame.plain(bencode.encode(KAMAILIO))
    assert {known.read(message).flags.label for _ in range(3)} == {None}
    templates.become({"default": "label=x"})
    assert {known.read(message).flags.label for _ in range(3)} == {"x"}


def test_idioms_are_bounded_in_number_and_length(monkeypatch: pytest.MonkeyPatch, decoded: list[Any]) -> None:
    monkeypatch.setattr(idioms, "REMEMBERED", 4)
    bodies = [{**KAMAILIO, "flags": [f"x-{number}"]} for number in range(6)]
    known = Idioms()
    for body in bodies:
        for _ in range(2):
            known.read(frame.plain(bencode.encode(body)))
    decoded.clear()
    for body in bodies:
        known.read(frame.plain(bencode.encode(body)))
    assert len(decoded) == 4  # the fifth made the others go
    long = knowing({**KAMAILIO, "flags": ["x" * 3000]})
    decoded.clear()
    long.read(frame.plain(bencode.encode({**KAMAILIO, "flags": ["x" * 3000]})))
    assert decoded


@given(st.data())
def test_mutated_requests_are_what_the_decoder_makes_of_them(data: st.DataObject) -> None:
    message = bytearray(bencode.encode(KAMAILIO))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(1, len(message)))
        message[start : data.draw(st.integers(start, min(len(message), start + 8)))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"0:", b"1:", b"01:a", b"9999:", b"e", b"d", b"l", b"i1e", b"-1:"])
        )
    assert outcome(bytes(message), knowing(KAMAILIO)) == outcome(bytes(message))
