"""Calls, tags and branches."""

from __future__ import annotations

from tests.interop.script import QUERY, B, C, Conversation, answer, ask, delete, offer, sdp

CONVERSATIONS = (
    Conversation("a plain call", [offer(), answer(), QUERY, delete(), QUERY]),
    Conversation("a call deleted by the callee", [offer(), answer(), delete(from_tag="b", to_tag="a"), QUERY]),
    Conversation("a repeated offer", [offer(), offer(), answer(), offer()]),
    Conversation("an unchanged reinvite", [offer(), answer(), offer(to="b"), answer(), QUERY]),
    Conversation(
        "a reinvite of the callee",
        [offer(), answer(), offer(sdp(B, 4002), tag="b", to="a"), answer(sdp(), tag="b", to="a")],
    ),
    Conversation("labels", [offer(label="left"), answer(label="right"), QUERY]),
    Conversation("a via-branch", [offer(via_branch="x1"), answer(via_branch="x1"), delete(via_branch="x1"), QUERY]),
    Conversation(
        "two branches, one fails, the other answers",
        [
            offer(via_branch="x1"),
            offer(via_branch="x2"),
            delete("What delete shows", via_branch="x2"),
            answer(via_branch="x1"),
            delete("Branches that are gone"),
            QUERY,
        ],
    ),
    Conversation("an unanswered call deleted with a to-tag", [offer(), delete("What delete shows", to_tag="b"), QUERY]),
    Conversation(
        "a delete for other tags",
        [offer(), answer(), delete(from_tag="x"), delete(to_tag="x"), delete(to_tag="b"), QUERY],
    ),
    Conversation(
        "a fork of one branch",
        [
            offer(),
            answer(to="b1"),
            answer(sdp(C, 4004), "Forks on one port", to="b2"),
            answer(to="b1"),
            delete("Forks on one port"),
            QUERY,
        ],
    ),
    Conversation("a query by tag", [offer(), answer(), ask("query", from_tag="a"), ask("query", from_tag="x")]),
    Conversation(
        "a delete delay and a new offer",
        [offer(), delete(delete_delay=30), ask("list"), offer(), answer(), ask("list")],
    ),
    Conversation("a delete delay cut short", [offer(), delete(delete_delay=30), delete(), QUERY]),
)
