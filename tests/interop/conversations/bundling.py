"""BUNDLE: each word, towards a phone that knows of none."""

from __future__ import annotations

from collections.abc import Sequence

from tests.interop.script import VIDEO, A, B, Conversation, answer, offer, sdp


def _differs(words: Sequence[str], *changing: str) -> str:
    return "Bundles" if set(words) & set(changing) else ""


CONVERSATIONS = tuple(
    Conversation(
        f"bundle: {' '.join(words)}",
        [
            offer(sdp(A, 4000, *VIDEO), _differs(words, "offer", "require", "strict"), bundle=words),
            answer(sdp(B, 4002, *VIDEO), _differs(words, "require", "strict")),
        ],
    )
    for words in (["offer"], ["require"], ["strict"], ["accept"], ["reject"])
)
