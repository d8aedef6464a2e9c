"""Offers and answers made up by hypothesis, of SDP and options that both relays understand alike.

What docs/compatibility.md says they do not has no place here: an answer names only what it was offered, keys come by
SDES, and nothing has to be transcoded (rtpengine does so for what is masked, and for events without a voice).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.interop.script import A, B, sdp

CODECS = {
    0: ("PCMU/8000", ""),
    8: ("PCMA/8000", ""),
    9: ("G722/8000", ""),
    3: ("GSM/8000", ""),
    96: ("opus/48000/2", "useinbandfec=1"),
    97: ("speex/16000", ""),
    101: ("telephone-event/8000", "0-15"),
}
EVENTS = 101
WITH_EVENTS = (3, EVENTS)
WIDE = frozenset({"96", "97"})
"""Whose clock rate is not that of the events: rtpengine drops events beside them."""
VIDEO_CODECS = {102: ("VP8/90000", ""), 103: ("H264/90000", "packetization-mode=1"), 34: ("H263/90000", "")}
FAX = ("a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxRateManagement:transferredTCF", "a=sendrecv")
NAMES = ("PCMU", "PCMA", "G722", "opus", "opus/48000/2", "speex/16000", "AMR")
WORDS = ("strip", "offer", "except")
KEY = "A" * 40
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
ANSWERED = {
    "sendrecv": ("", *DIRECTIONS),
    "sendonly": ("recvonly", "inactive"),
    "recvonly": ("sendonly", "inactive"),
    "inactive": ("inactive",),
}
"""RFC 3264 section 6.1."""
PROFILES = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF")
FLAGS = (
    *("trust-address", "SIP-source-address", "generate-mid", "no-rtcp-attribute", "full-rtcp-attribute"),
    *(
        "asymmetric",
        "symmetric",
        "strict-source",
        "media-handover",
        "port-latching",
        "original-sendrecv",
        "unidirectional",
    ),
)


class Section(NamedTuple):
    kind: str
    codecs: tuple[int, ...]
    lines: tuple[str, ...]

    def text(self, port: int, profile: str) -> list[str]:
        known = CODECS if self.kind == "audio" else VIDEO_CODECS
        formats = " ".join(map(str, self.codecs))
        out = [f"m={self.kind} {port} {profile} {formats}"]
        for number in self.codecs:
            name, parameters = known[number]
            out.append(f"a=rtpmap:{number} {name}")
            out += [f"a=fmtp:{number} {parameters}"] if parameters else []
        return [*out, *self.lines]


def _lines(secure: bool) -> st.SearchStrategy[tuple[str, ...]]:
    keys = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
    # In a plain profile it is opportunistic SRTP (RFC 8643).
    crypto = st.just(keys) if secure else st.sampled_from(["", "", keys])
    plain = st.sampled_from(["", "a=x-unknown:1", "a=silenceSupp:off - - - -", "a=label:7", "a=maxptime:60"])
    direction = st.sampled_from(["", *(f"a={name}" for name in DIRECTIONS)])
    mux = st.sampled_from(["", "a=rtcp-mux"])
    return st.tuples(crypto, plain, direction, mux).map(lambda lines: tuple(line for line in lines if line))


def _codecs(known: Sequence[int]) -> st.SearchStrategy[tuple[int, ...]]:
    """Events come last and with a codec that no option strips by name: rtpengine leaves nothing of events alone."""
    real = [number for number in known if number not in WITH_EVENTS]
    events = st.sampled_from([(), WITH_EVENTS] if EVENTS in known else [()])
    voices = st.lists(st.sampled_from(real), min_size=1, max_size=5, unique=True).map(tuple)
    return st.tuples(voices, events).map(lambda pair: pair[0] + pair[1])


@st.composite
def descriptions(draw: st.DrawFn) -> str:
    """An offer of the caller."""
    profile = draw(st.sampled_from(PROFILES))
    secure = "SAVP" in profile
    audio = Section("audio", draw(_codecs(tuple(CODECS))), draw(_lines(secure)))
    sections = [audio.text(4000, profile)]
    if draw(st.booleans()):
        video = Section("video", draw(_codecs(tuple(VIDEO_CODECS))), draw(_lines(secure)))
        sections.append(video.text(5000, profile))
    if draw(st.booleans()):
        sections.append(["m=image 6000 udptl t38", *draw(st.lists(st.sampled_from(FAX), unique=True))])
    origin = draw(st.sampled_from(["- 1 1", "alice 42 7"]))
    return sdp(A, 4000, *(line for section in sections for line in section), audio=False, origin=origin)


def options(offering: bool) -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)
    everything = st.sampled_from([["all"], ["full"]])
    codec = st.one_of(
        *(st.fixed_dictionaries({word: names}) for word in ("strip", "offer", "except")),
        *(st.fixed_dictionaries({"strip": everything, kept: names}) for kept in ("offer", "except")),
        st.fixed_dictionaries({"strip": everything, "offer": names, "except": names}),
    )
    spelled = st.builds(lambda word, names: [f"codec-{word}-{name}" for name in names], st.sampled_from(WORDS), names)
    common: dict[str, st.SearchStrategy[Any]] = {
        "flags": st.builds(
            list.__add__,
            st.lists(st.sampled_from(FLAGS), max_size=3, unique=True),
            st.one_of(st.just([]), spelled) if offering else st.just([]),
        ),
        "OSRTP": st.sampled_from([["accept"], ["offer"], ["offer", "accept"]] if offering else [["accept"]]),
        "replace": st.lists(
            st.sampled_from(["origin", "session-connection", "username", "session-name", "sdp-version"]),
            max_size=3,
            unique=True,
        ),
        "label": st.sampled_from(["left", "right"]),
    }
    said: dict[str, st.SearchStrategy[Any]] = {
        "transport-protocol": st.sampled_from(PROFILES),
        "ICE": st.sampled_from(["remove", "force"]),
        "rtcp-mux": st.sampled_from(
            [[], ["offer"], ["require"], ["demux"], ["accept"], ["reject"], ["offer", "require"]]
        ),
        "codec": codec,
        "direction": st.sampled_from([["a", "b"], ["b", "a"], ["a", "a"]]),
        "address-family": st.sampled_from(["IP4", "IP6"]),
        "via-branch": st.just("z9hG4bK1"),
        "TOS": st.sampled_from([0, 184]),
    }
    made_up = st.fixed_dictionaries(
        {"DTLS": st.just("off"), "received-from": st.sampled_from([["IP4", A], ["IP4", B]])},
        optional={**common, **(said if offering else {})},
    )
    return made_up.filter(_alike)


def _alike(options: dict[str, Any]) -> bool:
    """Not so: keys offered in plain RTP/AVPF and passed on in RTP/AVP come back from rtpengine in RTP/AVP; a codec that
    is stripped by one option and offered by another is transcoded there.
    """
    osrtp = "transport-protocol" in options and "offer" in options.get("OSRTP", ())
    return not osrtp and not ("codec" in options and any("codec" in flag for flag in options.get("flags", ())))


@st.composite
def answers(draw: st.DrawFn, offered: str) -> str:
    """What the callee makes of the SDP it was shown."""
    sections: list[list[str]] = []
    for line in offered.splitlines():
        if line.startswith("m="):
            sections.append([])
        if sections:
            sections[-1].append(line)
    out: list[str] = []
    for index, lines in enumerate(sections):
        kind, port, profile, *formats = lines[0].removeprefix("m=").split()
        voices = [number for number in formats if number != str(EVENTS)]
        events = [number for number in formats if number not in voices]
        if kind == "image":
            out += [f"m=image {draw(st.sampled_from([0, 4002 + 1000 * index]))} {profile} t38"]
            continue
        refused = port == "0" or not voices or (index > 0 and draw(st.booleans()))
        taken = draw(st.lists(st.sampled_from(voices or formats), min_size=1, unique=True))
        if WIDE.isdisjoint(taken):
            taken += draw(st.sampled_from([[], events])) if voices else []
        out.append(f"m={kind} {0 if refused else 4002 + 1000 * index} {profile} {' '.join(taken)}")
        for line in lines:
            name, _, value = line.partition(":")
            if (name in ("a=rtpmap", "a=fmtp") and value.split(" ")[0] in taken) or (
                line == "a=rtcp-mux" and not refused and draw(st.booleans())
            ):
                out.append(line)
        suites = [line.split(" inline:")[0] for line in lines if line.startswith("a=crypto:") and "AES_CM_128" in line]
        if suites and not refused and ("SAVP" in profile or draw(st.booleans())):
            out.append(f"{suites[0]} inline:{'B' * 39}A")
        offered_way = next((line[2:] for line in lines if line[2:] in ANSWERED), "sendrecv")
        if not refused and (direction := draw(st.sampled_from(ANSWERED[offered_way]))):
            out.append(f"a={direction}")
    return sdp(B, 4002, *out, audio=False)
