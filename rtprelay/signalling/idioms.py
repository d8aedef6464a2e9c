"""What a proxy says again and again, but for what is its call's own.

The requests of a proxy have the same keys in the same order from call to call, and the same flags; only names, SDP and
the sender's address differ. The second time that the same is said, the text is kept with holes for these: its *idiom*.
From then on such a request costs a few comparisons, and its own values are cut out by their lengths.

Bencode says of each string where it ends, so a text that has the idiom's words and strings in its holes is one that the
decoder would take, and it holds what it would find. Whatever is not so is left to the decoder, its complaints too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from rtprelay.signalling import frame
from rtprelay.signalling.command import Command, CommandName
from rtprelay.signalling.options import Said, read_address
from rtprelay.signalling.parse import OF_THE_CALL, RECEIVED_FROM, complete, parse_command, take_apart
from rtprelay.signalling.templates import Templates
from rtprelay.wire.bencode import LENGTHS, decode_prefix, string

REMEMBERED = 128
"""Idioms: a proxy has one for each command, and for each set of flags that its script makes."""
LONGEST = 2048
"""Bytes of an idiom's words."""
_MAX_DIGITS = max(map(len, LENGTHS))
_RECEIVED_FROM = "received_from"
_LONGEST_ADDRESS = 64


class _Hole(msgspec.Struct, frozen=True):
    field: str
    """Of Command."""
    longest: int


class _End(msgspec.Struct, frozen=True):
    """What is asked for by all requests that have come as far as this."""

    name: CommandName
    said: Said


class _Step(msgspec.Struct, frozen=True):
    """Words, and what is behind them: a hole and how it may go on from there, or the end."""

    words: str
    hole: _Hole | None = None
    steps: list[_Step] = []
    end: _End | None = None


class Idioms:
    """Reads the requests of all who share `templates`."""

    def __init__(self, templates: Templates | None = None) -> None:
        self._templates = templates or Templates()
        self._forget()

    def _forget(self) -> None:
        self._edition = self._templates.edition
        self._begin: list[_Step] = []
        self._number = 0
        self._times = functools.lru_cache(REMEMBERED)(_Times)

    def read(self, message: frame.Frame) -> Command:
        """Raises RelayError."""
        if self._edition != self._templates.edition:
            self._forget()
        if message.encoding is not frame.Encoding.BENCODE:
            return parse_command(frame.decode(message), self._templates)
        known = self._recognise(message.body)
        if known is not None:
            return known
        body = frame.decode(message)
        name, own, others = take_apart(body)
        said = self._templates.read(name.value, others)
        command = complete(name, said, own)
        self._note(message.body, body, own, _End(name, said))
        return command

    def _recognise(self, body: bytes) -> Command | None:
        text = body.decode("latin-1")
        if not text.isascii():
            return None
        position, steps = 0, self._begin
        own: dict[str, Any] = {}
        while True:
            for step in steps:
                if text.startswith(step.words, position):
                    break
            else:
                return None
            hole, end = step.hole, step.end
            if end is not None:
                return complete(end.name, end.said, own)
            start = position + len(step.words)
            colon = text.find(":", start, start + _MAX_DIGITS + 1)
            length = LENGTHS.get(text[start:colon]) if colon > 0 else None
            if hole is None or length is None or length > hole.longest:
                return None
            position = colon + 1 + length
            value: str | None = text[colon + 1 : position]
            if hole.field == _RECEIVED_FROM:
                value = read_address(value)
            if value is None or position > len(text):
                return None
            own[hole.field] = value
            steps = step.steps

    def _note(self, text: bytes, body: Mapping[str, Any], own: Mapping[str, Any], end: _End) -> None:
        """This has been said, and means `own` and `end`."""
        if len(text) - sum(map(len, own.values())) <= LONGEST and self._times(id(end.said), *body).second():
            holes = _holes(text, own)
            if holes is not None and text.isascii():
                self._learn(text, holes, end)

    def _learn(self, body: bytes, holes: list[tuple[_Hole, int, int]], end: _End) -> None:
        if self._number == REMEMBERED:
            self._forget()
        self._number += 1
        text, position, steps = body.decode("ascii"), 0, self._begin
        for hole, start, stop in holes:
            words, position = text[position:start], stop
            step = next((step for step in steps if step.words == words and step.hole == hole), None)
            if step is None:
                step = _Step(words, hole, [])
                steps.append(step)
            steps = step.steps
        steps.append(_Step(text[position : decode_prefix(body)[1]], end=end))


def _holes(body: bytes, own: Mapping[str, Any]) -> list[tuple[_Hole, int, int]] | None:
    """Where each of a request's own values is. None: one is said twice, or in another form."""
    holes = []
    seen = set()
    position = 1
    while body[position : position + 1] != b"e":
        key, start = decode_prefix(body, position)
        value, position = decode_prefix(body, start)
        row = OF_THE_CALL.get(key)
        if row is None and key != RECEIVED_FROM:
            continue
        if key in seen:
            return None
        seen.add(key)
        if row is not None and type(value) is str and len(value) <= row.high:
            holes.append((_Hole(row.target, row.high), start, position))
        elif row is None and type(value) is list and value and type(value[-1]) is str:
            holes.append((_Hole(_RECEIVED_FROM, _LONGEST_ADDRESS), position - 1 - len(string(value[-1])), position - 1))
    return holes if {hole.field for hole, _, _ in holes} == own.keys() else None


class _Times:
    """How often the same has been said."""

    def __init__(self, *_what: object) -> None:
        self._times = 0

    def second(self) -> bool:
        self._times += 1
        return self._times == 2
