"""What an action of the console gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """`text` for people and rtpengine's scripts; `data` is the same for machines, None: nothing but the text."""

    text: str
    data: Any = None


Action = Callable[[list[str]], Answer]
"""Takes the words that follow those of its line."""
Actions = Mapping[str, Action]
"""By the words of their line in the grammar."""

MORE = Answer("More parameters required.\n")
NO_SESSIONS = "No sessions on this media relay.\n"


def unknown_call(call_id: str) -> Answer:
    return Answer(f"\nCall ID not found ({call_id}).\n\n")


def refused(text: str) -> Action:
    """For lines of rtpengine's that have no meaning here."""
    answer = Answer(f"Not supported: {text}\n")
    return lambda words: answer
