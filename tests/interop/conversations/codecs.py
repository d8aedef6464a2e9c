"""Codecs chosen, hidden and reordered, as far as nothing has to be transcoded."""

from __future__ import annotations

from typing import Any

from tests.interop.script import A, B, Conversation, answer, ask, offer, sdp

MANY = sdp(
    A,
    4000,
    "a=rtpmap:96 opus/48000/2",
    "a=fmtp:96 useinbandfec=1",
    "a=rtpmap:97 G722/8000",
    "a=rtpmap:98 speex/16000",
    "a=rtpmap:99 speex/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-15",
).replace("AVP 0 8", "AVP 96 97 98 99 0 8 101")
NEWER = "Newer than 10.5"
BACK = sdp(B, 4002, "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15").replace("AVP 0 8", "AVP 0 8 101")
TIME = "a=ptime:20\r\n"
OTHER_WAY = BACK.replace("AVP 0 8 101", "AVP 8 0 101")
VIDEO = sdp(
    A,
    4000,
    "m=video 5000 RTP/AVP 98 99 100",
    "a=rtpmap:98 VP8/90000",
    "a=rtpmap:99 rtx/90000",
    "a=fmtp:99 apt=98",
    "a=rtpmap:100 H264/90000",
    "a=fmtp:100 packetization-mode=1",
)

_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("strip all", {"strip": ["all"]}),
    ("strip all and one, offer both", {"strip": ["all", "PCMA"], "offer": ["PCMA", "PCMU"]}),
    ("strip all and one, except both", {"strip": ["all", "PCMA"], "except": ["PCMA", "PCMU"]}),
    ("strip PCMU", {"strip": ["PCMU"]}),
    ("strip in small letters", {"strip": ["pcmu"]}),
    ("strip two", {"strip": ["PCMU", "G722"]}),
    ("strip one rate", {"strip": ["speex/16000"]}),
    ("strip all rates", {"strip": ["speex"]}),
    ("strip with channels", {"strip": ["opus/48000/2"]}),
    ("strip with too few channels", {"strip": ["opus/48000"]}),
    ("strip with a rate that is none", {"strip": ["PCMU/16000"]}),
    ("strip an unknown codec", {"strip": ["AMR"]}),
    ("strip events", {"strip": ["telephone-event"]}),
    ("strip all but one", {"strip": ["all"], "except": ["PCMA"]}),
    ("strip all but two", {"strip": ["all"], "except": ["PCMA", "opus"]}),
    ("strip all, offer one", {"strip": ["all"], "offer": ["PCMA"]}),
    ("strip all, offer two", {"strip": ["all"], "offer": ["PCMA", "PCMU"]}),
    ("strip all, offer with events", {"strip": ["all"], "offer": ["PCMA", "telephone-event"]}),
    ("strip fully, offer one", {"strip": ["full"], "offer": ["PCMA"]}),
    ("strip fully but one", {"strip": ["full"], "except": ["PCMA"]}),
    ("offer one", {"offer": ["PCMA"]}),
    ("offer two", {"offer": ["PCMA", "opus"]}),
    ("offer an unknown codec", {"offer": ["AMR"]}),
    ("offer with a rate", {"offer": ["speex/8000"]}),
    ("except alone", {"except": ["PCMA"]}),
    ("strip one but offer it", {"strip": ["PCMA"], "offer": ["PCMA"]}),
    ("strip one but except it", {"strip": ["PCMA"], "except": ["PCMA"]}),
    ("mask one", {"mask": ["PCMU"]}),
    ("mask all but one", {"mask": ["all"], "except": ["PCMA"]}),
    ("mask all, offer one", {"mask": ["all"], "offer": ["PCMA"]}),
    ("mask one, strip one", {"mask": ["PCMU"], "strip": ["opus"]}),
    ("mask fully, offer one", {"mask": ["full"], "offer": ["PCMA"]}),
    ("ignore one", {"ignore": ["PCMU"]}),
    ("ignore an unknown one", {"ignore": ["AMR"]}),
)

CONVERSATIONS = (
    *(Conversation(f"codecs: {name}", [offer(MANY, codec=said), answer(BACK)]) for name, said in _OPTIONS),
    Conversation("codecs: accept one", [offer(MANY, codec={"accept": ["PCMA"]}), answer(BACK, "Accepted codecs")]),
    Conversation(
        "codecs of audio and video: strip VP8",
        [offer(VIDEO, "Retransmissions of what is stripped", codec={"strip": ["VP8"]})],
    ),
    *(
        Conversation(f"codecs of audio and video: {name}", [offer(VIDEO, codec=said)])
        for name, said in (
            ("strip rtx", {"strip": ["rtx"]}),
            ("offer H264", {"offer": ["H264"]}),
            ("strip all, offer PCMA and H264", {"strip": ["all"], "offer": ["PCMA", "H264"]}),
            ("strip all but VP8", {"strip": ["all"], "except": ["VP8"]}),
        )
    ),
    *(
        Conversation(f"codecs as flags: {' '.join(flags)}", [offer(MANY, flags=flags)])
        for flags in (
            ["codec-strip-PCMU"],
            ["codec-strip-PCMU", "codec-strip-opus"],
            ["codec-strip-all", "codec-offer-PCMA"],
            ["codec-strip-all", "codec-except-PCMA"],
            ["codec-mask-PCMU"],
            ["codec-offer-PCMA", "codec-offer-PCMU"],
            ["codec-accept-PCMA"],
        )
    ),
    *(
        Conversation(f"codecs with {' '.join(flags)}", [offer(MANY, flags=flags), answer(BACK, flags=flags)])
        for flags in (
            ["reuse-codecs"],
            ["no-codec-renegotiation"],
            ["static-codecs"],
            ["symmetric-codecs"],
            ["reorder-codecs"],
            ["allow-asymmetric-codecs"],
            ["allow-no-codec-media"],
        )
    ),
    *(
        Conversation(f"codecs in {order}, answered with {' '.join(flags)}", [offer(MANY), answer(back, flags=flags)])
        for flags in (["single-codec"], ["symmetric-codecs"], ["reorder-codecs"], ["static-codecs"], ["reuse-codecs"])
        for order, back in (("the order offered", BACK), ("another order", OTHER_WAY))
    ),
    Conversation(
        "codecs reused in a reinvite",
        [offer(MANY), answer(OTHER_WAY), offer(MANY, to="b", flags=["reuse-codecs"]), answer(OTHER_WAY)],
    ),
    Conversation("single codec in the offer", [offer(MANY, flags=["single-codec"]), answer(BACK)]),
    Conversation("an answer in another order", [offer(MANY), answer(BACK.replace("0 8 101", "8 101 0"))]),
    Conversation(
        "an answer with another payload type",
        [
            offer(MANY),
            answer(sdp(B, 4002, "a=rtpmap:97 opus/48000/2").replace("AVP 0 8", "AVP 97"), "Payload types of an answer"),
        ],
    ),
    Conversation(
        "an answer with a codec nobody offered",
        [offer(), answer(sdp(B, 4002, "a=rtpmap:97 opus/48000/2").replace("AVP 0 8", "AVP 97 0"))],
    ),
    Conversation(
        "codecs stripped in a reinvite",
        [offer(MANY), answer(BACK), offer(MANY, to="b", codec={"strip": ["PCMU"]}), answer(BACK)],
    ),
    Conversation(
        "codecs stripped before, not in the reinvite",
        [offer(MANY, codec={"strip": ["PCMU"]}), answer(BACK.replace("0 8", "8")), offer(MANY, to="b"), answer(BACK)],
    ),
    Conversation("codecs stripped from the answer", [offer(MANY), answer(BACK, codec={"strip": ["PCMU"]})]),
    Conversation("the order of an answer told", [offer(MANY), answer(BACK, codec={"offer": ["PCMA"]})]),
    Conversation(
        "static payload types named otherwise", [offer(sdp(A, 4000, "a=rtpmap:0 FOO/8000"), codec={"strip": ["PCMU"]})]
    ),
    Conversation(
        "feedback and parameters of what is stripped",
        [offer(sdp(A, 4000, "a=fmtp:8 x=1", "a=rtcp-fb:8 nack", "a=fmtp:0 y=2"), codec={"strip": ["PCMA"]})],
    ),
    Conversation(
        "codecs of a subscription",
        [
            offer(MANY),
            answer(BACK),
            ask("subscribe request", from_tag="a", to_tag="s", codec={"strip": ["PCMU"]}),
            ask("subscribe request", from_tag="a", to_tag="t", codec={"strip": ["all"], "offer": ["PCMA"]}),
            ask("subscribe request", from_tag="a", to_tag="u", codec={"offer": ["PCMA"]}),
        ],
    ),
    *(
        Conversation(
            f"codecs of a publisher: {' '.join(accepted)}",
            [ask("publish", from_tag="p", sdp=MANY, codec={"accept": accepted})],
        )
        for accepted in (["PCMA"], ["PCMA", "opus"], ["opus"], ["AMR", "PCMU"], ["any"], ["all"], ["full"])
    ),
    # --- packet times ---
    *(
        Conversation(
            f"ptime {ptime}, in return {reverse}, {'20 offered' if time else 'none offered'}",
            [offer(MANY + time, ptime=ptime, ptime_reverse=reverse), answer(BACK + time)],
        )
        for ptime, reverse in ((40, 0), (0, 30), (40, 30))
        for time in ("", TIME)
    ),
    Conversation("repacketize", [offer(MANY, NEWER, repacketize=60)]),
    Conversation("a packet time unanswered", [offer(MANY + TIME), answer(BACK, "What an answer leaves out")]),
    Conversation("ptime as a flag", [offer(MANY, NEWER, flags=["ptime=40"]), answer(BACK)]),
    Conversation("ptime answered", [offer(MANY), answer(sdp(B, 4002, "a=ptime:30"))]),
    Conversation("maxptime", [offer(sdp(A, 4000, "a=maxptime:60"))]),
)
