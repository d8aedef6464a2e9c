"""What is refused, and in which words."""

from __future__ import annotations

from tests.interop.script import QUERY, A, Conversation, Step, answer, ask, delete, offer, sdp

CONVERSATIONS = (
    Conversation("an unknown command", [Step({"command": "foo"})]),
    Conversation("no command", [Step({"call-id": "c"})]),
    Conversation("an offer without a from-tag", [Step({"command": "offer", "call-id": "c", "sdp": sdp()})]),
    Conversation("an offer without a call-id", [Step({"command": "offer", "from-tag": "a", "sdp": sdp()})]),
    Conversation(
        "an answer without a to-tag",
        [offer(), Step({"command": "answer", "call-id": "c", "from-tag": "a", "sdp": sdp()})],
    ),
    Conversation("an answer to an unknown call", [answer()]),
    Conversation("an answer to an unknown offerer", [offer(), answer("", "Answers out of the blue", tag="x")]),
    Conversation("unknown calls", [QUERY, delete(), delete(flags=["fatal"])]),
    Conversation(
        "SDP that is none", [offer("hello", "Texts of errors"), offer("v=0\r\no=- 1\r\nm=audio\r\n", "Texts of errors")]
    ),
    Conversation("an address that is none", [offer(sdp("198.51.100.300"), "Texts of errors")]),
    Conversation(
        "a host name for an address", [offer(sdp(A).replace(f"c=IN IP4 {A}", "c=IN IP4 host.example"), "Host names")]
    ),
    Conversation("a multicast address", [offer(sdp("224.0.0.1"), "Addresses that are refused")]),
    Conversation("limits of a list", [offer(), ask("list", limit=0), ask("list", limit=-1)]),
)
