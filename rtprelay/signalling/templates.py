"""Named sets of flags an operator has configured: `template=WebRTC` stands for all that is said there.

The template `default` is applied to every request, one with the name of a command to that command's, then those that a
request names. They come before what the request says itself: of what holds one value the last word counts, lists grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rtprelay.signalling.flags import Kind, find
from rtprelay.signalling.options import Options, tokens

DEFAULT = "default"
_KEY = "template"


class Templates:
    """Texts as in `rtpp-flags`, by name. Shared by all who read requests; they may change at any time."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self.become(texts or {})

    def become(self, texts: Mapping[str, str]) -> None:
        self._words = {name: tokens(text) for name, text in texts.items()}

    def apply(self, options: Options, command: str, body: Mapping[str, Any]) -> None:
        """What the request leaves to templates. A template nobody has configured is an unknown flag."""
        if not self._words:
            return
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
