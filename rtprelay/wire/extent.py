"""Where a value ends in bytes that come piece by piece, found without building it.

A scanner goes over each byte once, however small the pieces are, and gives up on what no decoder would take: so bytes
that trickle in cost as little as bytes that come at once. It says where the value ends, not that it is well-formed.
"""

from __future__ import annotations

import re
from typing import Protocol

from rtprelay.errors import MalformedMessage
from rtprelay.wire.bencode import MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE

_LONGEST_NUMBER = len(f"i{-(1 << 63)}e")
_COLON, _INTEGER, _END, _QUOTE, _BACKSLASH = b':ie"\\'
_OPENING_BENCODE = frozenset(b"dl")
_DIGITS = frozenset(b"0123456789")
_OPENING_JSON = frozenset(b"{[")
_CLOSING_JSON = frozenset(b"}]")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_MAX_ELEMENTS = 3 * MAX_ELEMENTS + 2
"""A key, a value and its end if it is a container; the message's own beginning and end."""
_MAX_TOKENS = 8 * MAX_ELEMENTS
"""Quotes, escapes and brackets: four a member that no escapes are in, and as many for those that are."""


class Scanner(Protocol):
    """For one value, which begins at `start` of the buffer given to `end`."""

    def end(self, buffer: bytes | bytearray) -> int | None:
        """The position behind the value; None: there has to be more. `buffer` may have grown since the last call,
        and not have changed otherwise. Raises MalformedMessage."""


class BencodeScanner:
    """BEP 3: the value is a dictionary or a list."""

    def __init__(self, start: int) -> None:
        self._position = start
        self._depth = 0
        self._elements = 0

    def end(self, buffer: bytes | bytearray) -> int | None:
        size = len(buffer)
        while self._position < size:
            position = self._position
            mark = buffer[position]
            if mark in _DIGITS:
                behind = self._string_end(buffer)
                if behind is None:
                    return None
            elif mark in _OPENING_BENCODE:
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise MalformedMessage(f"Could not decode bencode dictionary: nested deeper than {MAX_DEPTH}")
                behind = position + 1
            elif mark == _END and self._depth:
                self._depth -= 1
                behind = position + 1
            elif mark == _INTEGER:
                found = buffer.find(b"e", position, position + _LONGEST_NUMBER)
                if found < 0:
                    if size - position < _LONGEST_NUMBER:
                        return None
                    raise MalformedMessage("Could not decode bencode dictionary: integer without end")
                behind = found + 1
            else:
                raise MalformedMessage(f"Could not decode bencode dictionary: unexpected byte {mark:#04x}")
            # Of a string that has not all come, behind what is here: the rest is skipped, not looked at.
            self._position = behind
            if not self._depth:
                return behind
            self._elements += 1
            if self._elements > _MAX_ELEMENTS:
                raise MalformedMessage(f"Could not decode bencode dictionary: more than {MAX_ELEMENTS} elements")
        return None

    def _string_end(self, buffer: bytes | bytearray) -> int | None:
        position = self._position
        most = len(str(MAX_MESSAGE)) + 1
        colon = buffer.find(b":", position, position + most)
        digits = bytes(buffer[position : colon if colon >= 0 else position + most])
        if not digits.isdigit():
            raise MalformedMessage(f"Could not decode bencode dictionary: bad string length {digits!r}")
        if colon < 0:
            if len(digits) < most:
                return None
            raise MalformedMessage(f"Could not decode bencode dictionary: bad string length {digits!r}")
        length = int(digits)
        if length > MAX_MESSAGE:
            raise MalformedMessage(f"Could not decode bencode dictionary: string of {length} bytes")
        return colon + 1 + length


class JsonScanner:
    """RFC 8259: the value is an object, and ends with the bracket that closes as many as are open."""

    def __init__(self, start: int) -> None:
        self._position = start
        self._depth = 0
        self._tokens = 0
        self._in_string = False

    def end(self, buffer: bytes | bytearray) -> int | None:
        size = len(buffer)
        while self._position < size:
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(buffer, self._position)
            if found is None:
                self._position = size
                return None
            position = found.start()
            # A match holds on to the buffer, which then could not grow.
            del found
            mark = buffer[position]
            self._tokens += 1
            if self._tokens > _MAX_TOKENS:
                raise MalformedMessage(f"Failed to parse JSON document: more than {MAX_ELEMENTS} elements")
            self._position = position + 1
            if mark == _QUOTE:
                self._in_string = not self._in_string
            elif mark == _BACKSLASH:
                # Whatever comes next is part of the string; it may not have come yet.
                self._position = position + 2
            elif mark in _OPENING_JSON:
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise MalformedMessage(f"Failed to parse JSON document: nested deeper than {MAX_DEPTH}")
            elif mark in _CLOSING_JSON:
                self._depth -= 1
                if self._depth <= 0:
                    return self._position
        return None
