"""Named sets of flags an operator has configured: `template=WebRTC` stands for all that is said there.

The template `default` is applied to every request, one with the name of a command to that command's, then those that a
request names. They come before what the request says itself: of what holds one value the last word counts, lists grow.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from rtprelay.signalling.flags import Kind, find
from rtprelay.signalling.options import Options, Said, tokens

DEFAULT = "default"
_KEY = "template"
REMEMBERED = 512
LONGEST = 1024
"""Bytes of what is remembered."""


class Templates:
    """Texts as in `rtpp-flags`, by name. Shared by all who read requests; they may change at any time."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        # But for the names of its call, a proxy says the same again and again: 1 us instead of 9.
        self._known = functools.lru_cache(REMEMBERED)(self._encoded)
        self.edition = 0
        self.become(texts or {})

    def become(self, texts: Mapping[str, str]) -> None:
        self._words = {name: tokens(text) for name, text in texts.items()}
        self._known.cache_clear()
        self.edition += 1

    def read(self, command: str, body: Mapping[str, Any]) -> Said:
        """What the entries of a request say, and what they leave to templates. Raises PeerFault."""
        try:
            encoded = msgspec.msgpack.encode(body)
        except (UnicodeEncodeError, OverflowError):  # bytes that are no UTF-8, an integer of more than 64 bits
            return self._read(command, body)
        return self._known(command, encoded) if len(encoded) <= LONGEST else self._read(command, body)

    def _encoded(self, command: str, body: bytes) -> Said:
        return self._read(command, msgspec.msgpack.decode(body))

    def _read(self, command: str, body: Mapping[str, Any]) -> Said:
        options = Options()
        if self._words:
            self._leave(options, command, body)
        for key, value in body.items():
            options.key(key, value)
        return options.said()

    def _leave(self, options: Options, command: str, body: Mapping[str, Any]) -> None:
        """A template nobody has configured is an unknown flag."""
        for name in (DEFAULT, command):
            self._apply(options, name)
        for name in _named(body):
            if name not in self._words:
                options.reject(_KEY, name)
            elif name not in (DEFAULT, command):
                self._apply(options, name)

    def _apply(self, options: Options, name: str) -> None:
        for word in self._words.get(name, ()):
            options.flag(word)


def _named(body: Mapping[str, Any]) -> Iterator[str]:
    for key, value in body.items():
        flag = find(key)
        if flag is None:
            continue
        if flag.name == _KEY:
            yield str(value)
        elif flag.kind is Kind.FLAGS:
            for word in tokens(value) if isinstance(value, str) else value if isinstance(value, list) else ():
                name, equals, text = str(word).partition("=")
                if equals and name == _KEY:
                    yield text
