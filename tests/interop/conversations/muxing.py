"""rtcp-mux: every option, offered and accepted or not."""

from __future__ import annotations

from collections.abc import Sequence

from tests.interop.script import A, B, Conversation, answer, offer, sdp


def _offered(words: Sequence[str], mine: bool) -> bool:
    """Whether the answerer is offered rtcp-mux: only then may it accept."""
    return bool({"offer", "require"} & set(words)) or (mine and "demux" not in words)


CONVERSATIONS = (
    *(
        Conversation(
            f"rtcp-mux: {' '.join(words) or 'nothing said'}, {'offered' if mine else 'not offered'}, "
            f"{'accepted' if yours else 'not accepted'}",
            [
                offer(sdp(A, 4000, *["a=rtcp-mux"] * mine), rtcp_mux=words),
                answer(sdp(B, 4002, *["a=rtcp-mux"] * yours)),
                offer(sdp(A, 4000, *["a=rtcp-mux"] * mine), to="b"),
            ],
        )
        for words in ([], ["offer"], ["require"], ["demux"], ["accept"], ["reject"])
        for mine in (False, True)
        for yours in (False, True)
        if (yours or words != ["require"]) and (not yours or _offered(words, mine))
    ),
)
