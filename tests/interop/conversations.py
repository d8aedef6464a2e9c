"""What proxies say to a relay: sequences of requests, told to rtpengine and to ours alike.

`differs` names the heading of docs/compatibility.md that says why the two replies are not alike; it holds only as long
as they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

A = "198.51.100.1"
B = "198.51.100.3"
C = "198.51.100.4"
A6 = "2001:db8::1"
B6 = "2001:db8::3"
VIDEO = ("m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000")
NO_VIDEO = ("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000")
FAX = ("m=image 6000 udptl t38", "a=T38FaxVersion:0")


class Step(NamedTuple):
    request: dict[str, Any]
    differs: str = ""


class Conversation(NamedTuple):
    name: str
    steps: Sequence[Step]


def sdp(address: str = A, port: int = 4000, *lines: str, audio: bool = True, origin: str = "- 1 1") -> str:
    family = "IP6" if ":" in address else "IP4"
    section = (f"m=audio {port} RTP/AVP 0 8",) if audio else ()
    text = ("v=0", f"o={origin} IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0", *section, *lines)
    return "".join(f"{line}\r\n" for line in text)


def offer(text: str = "", differs: str = "", *, call: str = "c", tag: str = "a", to: str = "", **keys: Any) -> Step:
    request = {"command": "offer", "call-id": call, "from-tag": tag, "sdp": text or sdp()}
    return Step({**request, **({"to-tag": to} if to else {}), **_spelled(keys)}, differs)


def answer(text: str = "", differs: str = "", *, call: str = "c", tag: str = "a", to: str = "b", **keys: Any) -> Step:
    request = {"command": "answer", "call-id": call, "from-tag": tag, "to-tag": to, "sdp": text or sdp(B, 4002)}
    return Step({**request, **_spelled(keys)}, differs)


def ask(command: str, differs: str = "", *, call: str = "c", **keys: Any) -> Step:
    return Step({"command": command, "call-id": call, **_spelled(keys)}, differs)


def delete(differs: str = "", *, call: str = "c", **keys: Any) -> Step:
    return ask("delete", differs, call=call, **{"delete_delay": 0, "from_tag": "a", **keys})


def _spelled(keys: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in keys.items()}


def _offered(words: Sequence[str], mine: bool) -> bool:
    """Whether the answerer is offered rtcp-mux: only then may it accept."""
    return bool({"offer", "require"} & set(words)) or (mine and "demux" not in words)


QUERY = ask("query")
CONVERSATIONS = (
    # --- identification ---
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
    # --- NAT and addressing ---
    Conversation("SIP source address", [offer(flags=["SIP-source-address"], received_from=["IP4", C]), QUERY]),
    Conversation("trust address", [offer(flags=["trust-address"], received_from=["IP4", C]), QUERY]),
    Conversation(
        "a stock kamailio.cfg",
        [
            offer(flags=["SIP-source-address"], replace=["origin", "session-connection"], received_from=["IP4", C]),
            answer(flags=["SIP-source-address"], replace=["origin", "session-connection"], received_from=["IP4", B]),
        ],
    ),
    Conversation("replace origin", [offer(replace=["origin"]), answer(replace=["origin"])]),
    Conversation(
        "replace version and username",
        [
            offer(replace=["SDP-version", "username"]),
            offer(sdp(origin="al 1 7"), replace=["SDP-version", "username"]),
            offer(sdp(A, 4000, "a=sendonly", origin="al 1 8"), replace=["SDP-version", "username"]),
        ],
    ),
    Conversation(
        "replace session name",
        [
            offer(replace=["session-name"]),
            offer(sdp().replace("s=-", "s=other"), replace=["session-name"]),
        ],
    ),
    Conversation(
        "interfaces",
        [
            offer(direction=["a", "b"]),
            answer(),
            offer(to="b"),
            offer(sdp(B, 4002), tag="b", to="a"),
        ],
    ),
    Conversation(
        "interfaces the other way round", [offer(direction=["a", "b"]), answer(), offer(to="b", direction=["b", "a"])]
    ),
    Conversation("an unknown interface", [offer(direction=["a", "nowhere"])]),
    Conversation("a media address", [offer(media_address="192.0.2.77"), answer(media_address="192.0.2.78")]),
    Conversation("IPv6", [offer(sdp(A6)), answer(sdp(B6, 4002)), QUERY]),
    Conversation(
        "IPv6 to IPv4",
        [offer(sdp(A6), address_family="IP4"), answer(), offer(sdp(A6), to="b"), offer(sdp(B, 4002), tag="b", to="a")],
    ),
    Conversation("IPv4 to IPv6", [offer(address_family="IP6"), answer(sdp(B6, 4002))]),
    Conversation("a caller that moves", [offer(), answer(), offer(sdp(A, 4010), "Ports that stay", to="b"), answer()]),
    Conversation("port latching", [offer(), answer(), offer(sdp(A, 4010), to="b", flags=["port-latching"]), answer()]),
    Conversation("no port latching", [offer(), answer(), offer(sdp(A, 4010), to="b", flags=["no-port-latching"])]),
    Conversation("an RTCP attribute", [offer(sdp(A, 4000, "a=rtcp:4100")), QUERY]),
    Conversation("an RTCP address", [offer(sdp(A, 4000, f"a=rtcp:4100 IN IP4 {C}")), QUERY]),
    Conversation(
        "no and full RTCP attributes", [offer(flags=["no-rtcp-attribute"]), answer(flags=["full-rtcp-attribute"])]
    ),
    Conversation(
        "flags without an effect on the SDP",
        [
            offer(flags=["asymmetric", "strict-source", "media-handover", "unidirectional"]),
            answer(flags=["symmetric"]),
        ],
    ),
    Conversation("rtpp-flags", [offer("", "Newer than 10.5", rtpp_flags="trust-address replace-origin ICE=remove")]),
    # --- hold ---
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
    # --- media sections ---
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
    # --- rtcp-mux ---
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
    # --- errors ---
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
    # --- publish and subscribe ---
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
