"""Everything said to a call besides offer and answer: block, silence, forward, delete, query, list."""

from __future__ import annotations

from tests.interop.script import QUERY, A, B, Conversation, Step, answer, ask, delete, offer, sdp

_MUTING = ("block media", "unblock media", "silence media", "unsilence media", "block DTMF", "unblock DTMF")
_FORWARDING = ("start forwarding", "stop forwarding")
TEXTS, SHOWN = "Texts of errors", "What delete shows"
CALL = (offer(label="left"), answer(label="right"))

CONVERSATIONS = (
    *(Conversation(f"{name}: an unknown call", [ask(name, TEXTS)]) for name in (*_MUTING, *_FORWARDING)),
    *(Conversation(f"{name}: a call", [*CALL, ask(name), QUERY]) for name in _MUTING),
    *(Conversation(f"{name}: a from-tag", [*CALL, ask(name, from_tag="a")]) for name in _MUTING),
    *(
        Conversation(f"{name}: a direction", [*CALL, ask(name, from_tag="a", flags=["directional"])])
        for name in _MUTING
    ),
    *(Conversation(f"{name}: an address", [*CALL, ask(name, address=A), ask(name, address=B)]) for name in _MUTING),
    *(Conversation(f"{name}: a label", [*CALL, ask(name, label="left"), ask(name, label="right")]) for name in _MUTING),
    *(Conversation(f"{name}: all", [*CALL, ask(name, flags=["all"])]) for name in _MUTING),
    *(
        Conversation(
            f"{name}: nobody",
            [*CALL, ask(name, TEXTS, address="192.0.2.99"), ask(name, TEXTS, label="nobody")],
        )
        for name in _MUTING[:4]
    ),
    Conversation(
        "DTMF blocked, and the call goes on",
        [*CALL, ask("block DTMF"), offer(to="b"), answer(), ask("unblock DTMF"), delete()],
    ),
    Conversation("blocked by flags of the offer", [offer(flags=["block-DTMF"]), answer(), delete()]),
    Conversation(
        "media from one to the other",
        [*CALL, ask("block media", from_tag="a", to_tag="b"), ask("unblock media", from_tag="a", to_tag="b")],
    ),
    Conversation(
        "queries of all kinds",
        [*CALL, ask("query", from_tag="b"), ask("query", from_tag="a", to_tag="b"), ask("query", to_tag="b")],
    ),
    Conversation(
        "lists",
        [
            ask("list"),
            *CALL,
            ask("list"),
            ask("list", limit=1),
            offer(call="d"),
            ask("list", limit=100),
            delete(call="d"),
            delete(),
            ask("list"),
        ],
    ),
    Conversation("pings", [Step({"command": "ping"}), Step({"command": "ping", "call-id": "c"})]),
    Conversation("a delete without tags", [*CALL, ask("delete", SHOWN, delete_delay=0), QUERY]),
    Conversation("a delete of nothing, fatally", [delete(flags=["fatal"])]),
    Conversation("a fatal delete for other tags", [*CALL, delete(from_tag="x", flags=["fatal"]), delete()]),
    Conversation("two deletes", [*CALL, delete(), delete()]),
    Conversation("a delete and another call", [*CALL, delete(), *CALL, QUERY, delete()]),
    Conversation("a delete of the offerer", [*CALL, delete(from_tag="a", to_tag="b")]),
    Conversation("a delete with a branch that is none", [offer(via_branch="x"), delete(via_branch="y"), QUERY]),
    Conversation("two calls at once", [*CALL, offer(call="d"), answer(call="d"), delete(call="d"), QUERY, delete()]),
    Conversation("an offer after the delete", [*CALL, delete(), answer(), offer(), delete()]),
    Conversation(
        "commands without a call-id", [Step({"command": name}) for name in ("delete", "query", "answer", *_MUTING)]
    ),
    Conversation(
        "commands without SDP",
        [
            Step({"command": name, "call-id": "c", "from-tag": "a", "to-tag": "b"})
            for name in ("offer", "answer", "publish")
        ],
    ),
    Conversation(
        "commands without tags",
        [Step({"command": name, "call-id": "c", "sdp": sdp()}) for name in ("offer", "answer")],
    ),
    Conversation(
        "what is missing besides the call",
        [
            Step({"command": "subscribe answer", "call-id": "c", "to-tag": "s"}, TEXTS),
            Step({"command": "unsubscribe", "call-id": "c"}, TEXTS),
        ],
    ),
    Conversation("an empty call-id", [Step({"command": "query", "call-id": ""}, TEXTS)]),
    Conversation("an empty from-tag", [offer(tag=""), answer(tag=""), delete(SHOWN, from_tag="")]),
    Conversation("a command in capitals", [Step({"command": "PING"})]),
    Conversation("three parties in turn", [*CALL, offer(to="x"), answer(to="x"), delete("A new dialogue")]),
    Conversation(
        "a transfer",
        [
            *CALL,
            offer(sdp(B, 4002), tag="b", to="z"),
            answer(sdp("198.51.100.9", 4008), "Ports that stay", tag="b", to="z"),
            delete(SHOWN),
        ],
    ),
    Conversation("a call with itself", [offer(), answer(sdp(A, 4000))]),
)
