"""The reply to `query` (and to `delete`): what is known of a call, in rtpengine's keys and their order.

The views are filled by the core; times are whole seconds of the UNIX epoch, 0 where nothing happened yet. As rtpengine
does, keys without a value are left out.
"""

from __future__ import annotations

import msgspec

from rtprelay.signalling.command import Body
from rtprelay.values import Endpoint


class Counts(msgspec.Struct, frozen=True, gc=False):
    packets: int = 0
    bytes: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.packets + other.packets, self.bytes + other.bytes, self.errors + other.errors)


class SsrcView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ssrc: int
    packets: int = 0
    bytes: int = 0
    last_timestamp: int = 0
    last_sequence: int = 0


class Impression(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a stream sounds to a receiver. Times are milliseconds."""

    score: float
    """MOS, 1.0 to 4.5."""
    round_trip: float
    """Between the two parties; `leg`: between the relay and the receiver."""
    leg: float
    jitter: float
    loss: float
    """Percent."""
    reported_at: int | None = None


class HearingView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the receiver with this SSRC has reported (RFC 3550 section 6.4)."""

    ssrc: int
    lost: int
    samples: int
    average: Impression
    lowest: Impression
    highest: Impression


class StreamView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One local port: RTP or RTCP of a media section."""

    local: Endpoint | None = None
    endpoint: Endpoint | None = None
    """Where media is sent, learned or signalled."""
    advertised: Endpoint | None = None
    """What the SDP named."""
    crypto_suite: str = ""
    last_packet: int = 0
    last_kernel_packet: int = 0
    last_user_packet: int = 0
    ssrc: int | None = None
    flags: tuple[str, ...] = ()
    """Of RTP, RTCP, fallback RTCP, filled, confirmed, kernelized, no kernel support."""
    received: Counts = Counts()
    sent: Counts = Counts()


class MediaView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    index: int
    """From 1."""
    type: str
    protocol: str = ""
    codec: str = ""
    """The preferred one: `PCMU/8000`."""
    label: str = ""
    streams: tuple[StreamView, ...] = ()
    flags: tuple[str, ...] = ()
    """Of initialized, rtcp-mux, DTLS-SRTP, SDES, passthrough, ICE, send, recv."""
    ingress: tuple[SsrcView, ...] = ()
    egress: tuple[SsrcView, ...] = ()


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """The participant at the other end; `kind` is `offer/answer` or `pub/sub`."""

    tag: str
    kind: str = "offer/answer"


class TagView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    tag: str
    """Empty while the party has not answered; the reply has a key of its own for it."""
    created: int
    via_branch: str = ""
    aliases: tuple[str, ...] = ()
    label: str = ""
    metadata: str = ""
    subscriptions: tuple[Subscription, ...] = ()
    subscribers: tuple[Subscription, ...] = ()
    medias: tuple[MediaView, ...] = ()


class CallView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    created_us: int
    """Microseconds of the UNIX epoch."""
    last_signal: int
    tags: tuple[TagView, ...] = ()
    hearings: tuple[HearingView, ...] = ()
    metadata: str = ""


def query(call: CallView) -> Body:
    """The whole reply. Totals are those of the streams; SSRCs are told apart by number across the call."""
    streams = [stream for tag in call.tags for media in tag.medias for stream in media.streams]
    rtcp = sum((stream.received for stream in streams if "RTCP" in stream.flags), Counts())
    rtp = sum((stream.received for stream in streams if "RTCP" not in stream.flags), Counts())
    created, microseconds = divmod(call.created_us, 1_000_000)
    body: Body = {
        "created": created,
        "created_us": microseconds,
        "created_ts": call.created_us,
        "last signal": call.last_signal,
        "last redis update": 0,
        "SSRC": _sources(call),
        "tags": {tag.tag or f"<untagged {number}>": _tag(tag) for number, tag in enumerate(call.tags, 1)},
        "totals": {"RTP": _counts(rtp), "RTCP": _counts(rtcp)},
    }
    if call.metadata:
        body["metadata"] = call.metadata
    body["result"] = "ok"
    return body


def _sources(call: CallView) -> Body:
    """By SSRC what it has sent and what it says of what it hears; some listen only."""
    sources: Body = {
        str(ssrc.ssrc): _source(ssrc) for tag in call.tags for media in tag.medias for ssrc in media.ingress
    }
    for hearing in call.hearings:
        sources.setdefault(str(hearing.ssrc), {}).update(_hearing(hearing))
    return sources


def _hearing(view: HearingView) -> Body:
    return {
        "cumulative loss": view.lost,
        "average MOS": {**_impression(view.average), "samples": view.samples},
        "lowest MOS": {**_impression(view.lowest), "reported at": view.lowest.reported_at},
        "highest MOS": {**_impression(view.highest), "reported at": view.highest.reported_at},
    }


def _impression(view: Impression) -> Body:
    """Of the MOS ten times as much, round trips in microseconds."""
    return {
        "MOS": round(10 * view.score),
        "round-trip time": round(1e3 * view.round_trip),
        "round-trip time leg": round(1e3 * view.leg),
        "jitter": round(view.jitter),
        "packet loss": round(view.loss),
    }


def _tag(view: TagView) -> Body:
    body: Body = {"tag": view.tag}
    if view.via_branch:
        body["via-branch"] = view.via_branch
    if view.aliases:
        body["tag-aliases"] = list(view.aliases)
    if view.label:
        body["label"] = view.label
    body["created"] = view.created
    if view.metadata:
        body["metadata"] = view.metadata
    body["subscriptions"] = [{"tag": other.tag, "type": other.kind} for other in view.subscriptions]
    body["subscribers"] = [{"tag": other.tag, "type": other.kind} for other in view.subscribers]
    body["medias"] = [_media(media) for media in view.medias]
    body["VSC"] = []
    return body


def _media(view: MediaView) -> Body:
    body: Body = {"index": view.index, "type": view.type}
    if view.protocol:
        body["protocol"] = view.protocol
    if view.codec:
        body["codec"] = view.codec
    if view.label:
        body["label"] = view.label
    body["streams"] = [_stream(stream) for stream in view.streams]
    body["flags"] = list(view.flags)
    body["ingress SSRCs"] = [{"SSRC": ssrc.ssrc, **_source(ssrc)} for ssrc in view.ingress]
    body["egress SSRCs"] = [{"SSRC": ssrc.ssrc, **_source(ssrc)} for ssrc in view.egress]
    return body


def _stream(view: StreamView) -> Body:
    body: Body = {}
    if view.local is not None:
        body["local port"] = view.local.port
        body["local address"] = view.local.address
        body["family"] = _family(view.local)
    if view.endpoint is not None:
        body["endpoint"] = _endpoint(view.endpoint)
    if view.advertised is not None:
        body["advertised endpoint"] = _endpoint(view.advertised)
    if view.crypto_suite:
        body["crypto suite"] = view.crypto_suite
    body["last packet"] = view.last_packet
    body["last kernel packet"] = view.last_kernel_packet
    body["last user packet"] = view.last_user_packet
    if view.ssrc is not None:
        body["SSRC"] = view.ssrc
    body["flags"] = list(view.flags)
    body["stats"] = _counts(view.received)
    body["stats_out"] = _counts(view.sent)
    return body


def _endpoint(endpoint: Endpoint) -> Body:
    return {"family": _family(endpoint), "address": endpoint.address, "port": endpoint.port}


def _family(endpoint: Endpoint) -> str:
    return "IPv6" if ":" in endpoint.address else "IPv4"


def _source(view: SsrcView) -> Body:
    return {
        "bytes": view.bytes,
        "packets": view.packets,
        "last RTP timestamp": view.last_timestamp,
        "last RTP seq": view.last_sequence,
    }


def _counts(counts: Counts) -> Body:
    return {"packets": counts.packets, "bytes": counts.bytes, "errors": counts.errors}
