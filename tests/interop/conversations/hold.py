"""Hold, in its four ways."""

from __future__ import annotations

from tests.interop.script import QUERY, A, B, Conversation, answer, offer, sdp

CONVERSATIONS = (
    Conversation(
        "hold by sendonly",
        [
            offer(),
            answer(),
            offer(sdp(A, 4000, "a=sendonly"), to="b"),
            answer(sdp(B, 4002, "a=recvonly")),
            QUERY,
            offer(to="b"),
            answer(),
            QUERY,
        ],
    ),
    Conversation(
        "hold by inactive",
        [
            offer(),
            answer(),
            offer(sdp(A, 4000, "a=inactive"), to="b"),
            answer(sdp(B, 4002, "a=inactive")),
            QUERY,
        ],
    ),
    Conversation(
        "hold by zero address",
        [
            offer(),
            answer(),
            offer(sdp("0.0.0.0"), to="b"),
            answer(sdp(B, 4002, "a=recvonly")),
        ],
    ),
    Conversation("an offer that is on hold", [offer(sdp("0.0.0.0")), answer()]),
    Conversation("an offer that is on hold and receives only", [offer(sdp("0.0.0.0", 4000, "a=recvonly"))]),
    Conversation("a zero address in IPv6", [offer(sdp("::"))]),
    Conversation("a zero address replaced", [offer(sdp("0.0.0.0"), replace=["zero-address"])]),
)
