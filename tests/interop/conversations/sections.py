"""Media sections that come, go and change."""

from __future__ import annotations

from tests.interop.script import FAX, NO_VIDEO, VIDEO, A, B, Conversation, answer, offer, sdp

CONVERSATIONS = (
    Conversation("video rejected", [offer(sdp(A, 4000, *VIDEO)), answer(sdp(B, 4002, *NO_VIDEO))]),
    Conversation(
        "video added and removed",
        [
            offer(),
            answer(),
            offer(sdp(A, 4000, *VIDEO), to="b"),
            answer(sdp(B, 4002, *VIDEO)),
            offer(sdp(A, 4000, *NO_VIDEO), to="b"),
            answer(sdp(B, 4002, *NO_VIDEO)),
        ],
    ),
    Conversation("an answer with fewer sections", [offer(sdp(A, 4000, *VIDEO)), answer()]),
    Conversation("an answer with more sections", [offer(), answer(sdp(B, 4002, *VIDEO), "Sections nobody offered")]),
    Conversation("fax", [offer(sdp(A, 0, *FAX, audio=False)), answer(sdp(B, 0, *FAX, audio=False))]),
    Conversation(
        "audio, fax and audio again",
        [
            offer(),
            answer(),
            offer(sdp(A, 0, *FAX, audio=False), "Ports that stay", to="b"),
            answer(sdp(B, 0, *FAX, audio=False), "Ports that stay"),
            offer(to="b"),
            answer(),
        ],
    ),
    Conversation("BFCP", [offer(sdp(A, 4000, "m=application 7002 UDP/BFCP *"))]),
    Conversation("mids made up", [offer(sdp(A, 4000, *VIDEO), flags=["generate-mid"])]),
    Conversation(
        "codecs stripped", [offer(codec={"strip": ["PCMU"]}), offer(codec={"strip": ["all"], "offer": ["PCMA"]})]
    ),
    Conversation(
        "a transport translated",
        [
            offer(transport_protocol="RTP/AVPF"),
            answer(sdp(B, 4002).replace("RTP/AVP", "RTP/AVPF")),
            offer(to="b"),
        ],
    ),
    Conversation("another transport in the answer", [offer(), answer(sdp(B, 4002).replace("RTP/AVP", "RTP/AVPF"))]),
)
