"""Codecs as SDP names them (RFC 8866 section 6.6), and choosing among them without transcoding."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rtprelay.sdp.attributes import Attributes, number

MAX_PAYLOAD_TYPE = 127


class Codec(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True, gc=False):
    """One payload type. Name "" and clock rate 0: dynamic and without `a=rtpmap`, nothing is known of it."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    """`a=rtcp-fb` values of this payload type (RFC 4585 section 4.2); those for "*" belong to the section."""

    @property
    def rtpmap(self) -> str:
        """`opus/48000/2`; "" when nothing is known."""
        if not self.name:
            return ""
        return f"{self.name}/{self.clock_rate}" + (f"/{self.channels}" if self.channels != 1 else "")

    def attributes(self) -> tuple[str, ...]:
        """`rtpmap:96 opus/48000/2` and whatever else describes this payload type, without the `a=`."""
        key = self.payload_type
        rtpmap = (f"rtpmap:{key} {self.rtpmap}",) if self.name else ()
        fmtp = (f"fmtp:{key} {self.fmtp}",) if self.fmtp else ()
        return (*rtpmap, *fmtp, *(f"rtcp-fb:{key} {value}" for value in self.feedback))

    @property
    def auxiliary(self) -> bool:
        """True for what accompanies media but is none: events, comfort noise, redundancy, repair."""
        return self.name.lower() in _AUXILIARY

    def same(self, other: Codec) -> bool:
        """Whether both name one encoding, whatever the payload type and parameters (names ignore case, RFC 4855)."""
        if not self.name or not other.name:
            return not self.name and not other.name and self.payload_type == other.payload_type
        return (
            self.clock_rate == other.clock_rate
            and self.channels == other.channels
            and self.name.lower() == other.name.lower()
        )


_AUXILIARY = frozenset({"telephone-event", "tone", "cn", "red", "rtx", "ulpfec", "flexfec", "flexfec-03"})

STATIC: Mapping[int, Codec] = {
    codec.payload_type: codec
    for codec in (
        Codec(0, "PCMU", 8000),
        Codec(3, "GSM", 8000),
        Codec(4, "G723", 8000),
        Codec(5, "DVI4", 8000),
        Codec(6, "DVI4", 16000),
        Codec(7, "LPC", 8000),
        Codec(8, "PCMA", 8000),
        Codec(9, "G722", 8000),
        Codec(10, "L16", 44100, 2),
        Codec(11, "L16", 44100),
        Codec(12, "QCELP", 8000),
        Codec(13, "CN", 8000),
        Codec(14, "MPA", 90000),
        Codec(15, "G728", 8000),
        Codec(16, "DVI4", 11025),
        Codec(17, "DVI4", 22050),
        Codec(18, "G729", 8000),
        Codec(25, "CelB", 90000),
        Codec(26, "JPEG", 90000),
        Codec(28, "nv", 90000),
        Codec(31, "H261", 90000),
        Codec(32, "MPV", 90000),
        Codec(33, "MP2T", 90000),
        Codec(34, "H263", 90000),
    )
}
"""The static payload types (RFC 3551 section 6, tables 4 and 5)."""


def static_codec(text: str) -> Codec | None:
    """The codec of a static payload type, given as it stands in an `m=` line."""
    payload_type = number(text, MAX_PAYLOAD_TYPE)
    return None if payload_type is None else STATIC.get(payload_type)


_RATES = {"opus": (48000, 2), "g722": (8000, 1), "speex": (8000, 1), "telephone-event": (8000, 1)}
"""Of names that say all; `speex` is the narrow one."""


def named(text: str, payload_type: int) -> Codec | None:
    """`NAME[/RATE[/CHANNELS]]`, with its static payload type if it has one; None: the name alone does not tell."""
    name, *numbers = text.split("/")[:3]
    usual = next(((c.clock_rate, c.channels) for c in STATIC.values() if c.name.lower() == name.lower()), (0, 1))
    rate, channels = _RATES.get(name.lower(), usual)
    values = [number(value, 1 << 20) or 0 for value in numbers]
    if values:
        rate, channels = values[0], values[1] if len(values) > 1 else 1
    if not name or not rate or not channels:
        return None
    codec = Codec(payload_type, name, rate, channels)
    return next((static for static in STATIC.values() if static.same(codec)), codec)


def read_codecs(payload_types: Iterable[int], attributes: Attributes) -> tuple[Codec, ...]:
    """The codecs of an RTP section in the order of its `m=` line, a repeated payload type once.

    A malformed `a=rtpmap` is treated as absent: the codec is relayed all the same.
    """
    rtpmap, fmtp = _by_payload(attributes, "rtpmap"), _by_payload(attributes, "fmtp")
    feedback = _by_payload(attributes, "rtcp-fb")
    codecs = []
    for payload_type in dict.fromkeys(payload_types):
        key = str(payload_type)
        named = _parse_rtpmap(payload_type, rtpmap[key][0]) if key in rtpmap else STATIC.get(payload_type)
        if named is None:
            named = Codec(payload_type, "", 0)
        if key in fmtp or key in feedback:
            parameters = "; ".join(fmtp.get(key, ()))
            named = msgspec.structs.replace(named, fmtp=parameters, feedback=tuple(feedback.get(key, ())))
        codecs.append(named)
    return tuple(codecs)


def _by_payload(attributes: Attributes, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in attributes.values.get(name, ()):
        key, _, rest = value.partition(" ")
        found.setdefault(key, []).append(rest.strip())
    return found


@functools.lru_cache(maxsize=512)
def _parse_rtpmap(payload_type: int, text: str) -> Codec | None:
    name, _, rest = text.partition("/")
    rate, _, channels = rest.partition("/")
    if not name:
        return None
    return Codec(payload_type, name, number(rate, 2**32 - 1) or 0, number(channels, 255) or 1)


def matches(codec: Codec, wanted: str) -> bool:
    """Whether a codec of a `codec=` list means this one.

    `PCMA` names every variant; with a clock rate the channels count too, one if not given (`opus/48000/2`); a number
    is a payload type. Further fields (bit rate, ptime, ...) concern transcoding only.
    """
    payload_type = number(wanted, MAX_PAYLOAD_TYPE)
    if payload_type is not None:
        return codec.payload_type == payload_type
    name, *format_fields = wanted.split("/")
    if name.lower() != codec.name.lower():
        return False
    rate = format_fields[0] if format_fields else ""
    channels = format_fields[1] if len(format_fields) > 1 else ""
    if rate and number(rate, 2**32 - 1) != codec.clock_rate:
        return False
    return not rate or number(channels or "1", 255) == codec.channels


def select(
    codecs: Sequence[Codec],
    *,
    strip: Sequence[str] = (),
    mask: Sequence[str] = (),
    offer: Sequence[str] = (),
    except_: Sequence[str] = (),
) -> tuple[Codec, ...]:
    """What is left of an offer's codecs under the `codec` options, as far as no transcoding is involved.

    `strip` and `mask` remove those named; `all` and `full` remove every one that is not in `except`. What `offer` names
    comes back, in its order and behind the others, but before the events that end the list. A retransmission format
    (RFC 4588) goes with the codec it repairs.
    """
    removed = (*strip, *mask)
    everything = "all" in removed or "full" in removed
    left = [codec for codec in codecs if not _any(codec, removed) and (not everything or _any(codec, except_))]
    back = [codec for wanted in offer for codec in codecs if matches(codec, wanted)]
    end = len(left)
    while end and left[end - 1].auxiliary:
        end -= 1
    kept = list({codec.payload_type: codec for codec in (*left[:end], *back, *left[end:])}.values())
    payload_types = {codec.payload_type for codec in kept}
    gone = {codec.payload_type for codec in codecs} - payload_types
    kept = [codec for codec in kept if codec.name.lower() != "rtx" or _repaired(codec) not in gone]
    return tuple(kept)


def _any(codec: Codec, patterns: Sequence[str]) -> bool:
    return any(matches(codec, wanted) for wanted in patterns)


def _repaired(codec: Codec) -> int | None:
    """The payload type in the `apt=` parameter of a retransmission format (RFC 4588 section 8.1)."""
    for parameter in codec.fmtp.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key == "apt":
            return number(value, MAX_PAYLOAD_TYPE)
    return None


def choose(codecs: Sequence[Codec], accept: Sequence[str] = ()) -> Codec | None:
    """The one codec to answer a publisher with: the first of `accept` that was offered, else the first real one."""
    for wanted in accept:
        for codec in codecs:
            if matches(codec, wanted):
                return codec
    return next((codec for codec in codecs if not codec.auxiliary), None)


def common(offered: Sequence[Codec], answered: Sequence[Codec]) -> tuple[Codec, ...]:
    """The answer's codecs that the offer had, in the answer's order (RFC 3264 section 6.1)."""
    return tuple(codec for codec in answered if any(codec.same(other) for other in offered))
