"""publish, subscribe and unsubscribe."""

from __future__ import annotations

from tests.interop.script import VIDEO, A, B, C, Conversation, answer, ask, offer, sdp

CONVERSATIONS = (
    Conversation("a publisher", [ask("publish", from_tag="p", sdp=sdp(A, 4000, "a=sendonly"))]),
    Conversation("a publisher who may choose", [ask("publish", from_tag="p", sdp=sdp(), codec={"accept": ["PCMA"]})]),
    Conversation(
        "a publisher of video",
        [
            ask("publish", "Video published", from_tag="p", sdp=sdp(A, 4000, *VIDEO)),
            ask("publish", from_tag="p", sdp=sdp(A, 4000, *VIDEO), codec={"accept": ["any"]}),
        ],
    ),
    Conversation(
        "a subscriber",
        [
            ask("publish", from_tag="p", sdp=sdp(A, 4000, "a=sendonly")),
            ask("subscribe request", from_tag="p", to_tag="s"),
            ask("subscribe answer", to_tag="s", sdp=sdp(C, 6000).replace("AVP 0 8", "AVP 0")),
            ask("subscribe request", from_tag="p", to_tag="s"),
            ask("unsubscribe", to_tag="s"),
        ],
    ),
    Conversation(
        "two publishers, one subscriber",
        [
            ask("publish", from_tag="p1", sdp=sdp()),
            ask("publish", from_tag="p2", sdp=sdp(B, 4002)),
            ask("subscribe request", to_tag="s", from_tags=["p2", "p1"]),
        ],
    ),
    Conversation(
        "a running call subscribed to",
        [
            offer(label="left"),
            answer(label="right"),
            ask("subscribe request", from_tag="a", to_tag="s1"),
            ask("subscribe answer", to_tag="s1", sdp=sdp(C, 6000)),
            ask("subscribe request", to_tag="s2", flags=["all"]),
            ask("subscribe request", to_tag="s3", label="right"),
            ask("subscribe request", to_tag="s4", from_tag="a", interface="b"),
            ask("unsubscribe", to_tag="s1"),
        ],
    ),
    Conversation(
        "a subscriber who takes some codecs",
        [
            offer(),
            answer(),
            ask("subscribe request", from_tag="a", to_tag="s"),
            ask(
                "subscribe answer",
                "Subscribers with fewer codecs",
                to_tag="s",
                sdp=sdp(C, 6000).replace("AVP 0 8", "AVP 0"),
            ),
        ],
    ),
    Conversation(
        "subscriptions to nothing",
        [
            ask("subscribe request", "Texts of errors", from_tag="p"),
            offer(),
            ask("subscribe request", "Texts of errors"),
            ask("subscribe request", "Subscriptions to nobody", from_tag="nobody", to_tag="s"),
            ask("subscribe answer", to_tag="nobody", sdp=sdp()),
            ask("unsubscribe", "Unsubscribing twice", to_tag="nobody"),
        ],
    ),
)
