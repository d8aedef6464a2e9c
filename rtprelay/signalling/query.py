"""The reply to `query` (and to `delete`): what is known of a call, in rtpengine's keys and their order.

The core fills it in, from the inside out. Times are whole seconds of the UNIX epoch, 0 where nothing happened yet. As
rtpengine does, keys without a value are left out.

A delete says some 200 things. As dictionaries they took longer to write than the rest of its reply to make, so the
inner ones are written as bencode at once, each by its form; JSON reads them back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from rtprelay.signalling.command import Body
from rtprelay.values import Counts, Endpoint
from rtprelay.wire.bencode import INTEGER, WRITTEN, Written, entries, form, string, write

_NOTHING = Counts()

Source = tuple[int, Body]
"""An SSRC, and what `source` says of it."""
Other = tuple[str, str]
"""The participant at the other end of a subscription: its tag, and `offer/answer` or `pub/sub`."""

_COUNTS = form({"packets": INTEGER, "bytes": INTEGER, "errors": INTEGER})
_TOTALS = form({"RTP": _COUNTS, "RTCP": _COUNTS})
_OTHER = form({"tag": WRITTEN, "type": WRITTEN})
_ENDPOINT = form({"family": WRITTEN, "address": WRITTEN, "port": WRITTEN})
_LOCAL = entries({"local port": WRITTEN, "local address": WRITTEN, "family": WRITTEN})
_SENT_TO, _ADVERTISED = string("endpoint"), string("advertised endpoint")
_LAST = entries({"last packet": INTEGER, "last kernel packet": INTEGER, "last user packet": INTEGER})
_SSRC = entries({"SSRC": INTEGER})
_STREAM = entries({"flags": WRITTEN, "stats": _COUNTS, "stats_out": _COUNTS})
_SECTION = entries({"index": INTEGER, "type": WRITTEN})
_MEDIA = entries({"streams": WRITTEN, "flags": WRITTEN, "ingress SSRCs": WRITTEN, "egress SSRCs": WRITTEN})
_TAG = entries({"tag": WRITTEN})
_CREATED = entries({"created": INTEGER})
_PARTICIPANT = entries({"subscriptions": WRITTEN, "subscribers": WRITTEN, "medias": WRITTEN, "VSC": "le"})
_NAMES = {
    name: entries({name: WRITTEN}) for name in ("via-branch", "label", "metadata", "protocol", "codec", "crypto suite")
}


def call(
    *,
    created_us: int,
    last_signal: int,
    tags: Iterable[tuple[str, str]],
    sources: Mapping[str, Body],
    rtp: Counts,
    rtcp: Counts,
    metadata: str = "",
) -> Body:
    """The whole reply. `created_us`: microseconds of the UNIX epoch. `tags`: each with what `tag` says of it; that of a
    party that has not answered is empty, and the reply has a key of its own for it.
    """
    created, microseconds = divmod(created_us, 1_000_000)
    by_tag = {tag or f"<untagged {number}>": text for number, (tag, text) in enumerate(tags, 1)}
    body: Body = {
        "created": created,
        "created_us": microseconds,
        "created_ts": created_us,
        "last signal": last_signal,
        "last redis update": 0,
        "SSRC": sources,
        "tags": Written(f"d{''.join([string(tag) + text for tag, text in by_tag.items()])}e"),
        "totals": Written(_TOTALS % (rtp.packets, rtp.bytes, rtp.errors, rtcp.packets, rtcp.bytes, rtcp.errors)),
    }
    if metadata:
        body["metadata"] = metadata
    body["result"] = "ok"
    return body


def tag(
    *,
    tag: str,
    created: int,
    subscriptions: Sequence[Other],
    subscribers: Sequence[Other],
    medias: Iterable[str],
    via_branch: str = "",
    label: str = "",
    metadata: str = "",
) -> str:
    """A participant."""
    names = _named("via-branch", via_branch) + _named("label", label) if via_branch or label else ""
    sources = _others(subscriptions)
    # In a dialogue they are the same.
    sinks = sources if subscribers == subscriptions else _others(subscribers)
    lists = (sources, sinks, f"l{''.join(medias)}e")
    noted = _named("metadata", metadata) if metadata else ""
    return f"d{_TAG % string(tag)}{names}{_CREATED % created}{noted}{_PARTICIPANT % lists}e"


def media(
    *,
    index: int,
    kind: str,
    streams: Iterable[str],
    flags: tuple[str, ...],
    ingress: Iterable[Source] = (),
    egress: Iterable[Source] = (),
    protocol: str = "",
    codec: str = "",
    label: str = "",
) -> str:
    """A section: `index` counts from 1, `codec` is the preferred one, as `PCMU/8000`.

    Flags: initialized, rtcp-mux, DTLS-SRTP, SDES, passthrough, ICE, send, recv.
    """
    lists = (f"l{''.join(streams)}e", _flags(flags), _sources(ingress), _sources(egress))
    return f"d{_section(index, kind, protocol, codec, label)}{_MEDIA % lists}e"


def stream(
    *,
    flags: tuple[str, ...],
    local: Endpoint | None = None,
    endpoint: Endpoint | None = None,
    advertised: Endpoint | None = None,
    crypto_suite: str = "",
    last_packet: int = 0,
    last_kernel_packet: int = 0,
    last_user_packet: int = 0,
    ssrc: int | None = None,
    received: Counts = _NOTHING,
    sent: Counts = _NOTHING,
) -> str:
    """A local port, RTP or RTCP of a section. `endpoint` is where media is sent, `advertised` what the SDP named.

    Flags: RTP, RTCP, filled, confirmed, kernelized, no kernel support.
    """
    text = f"d{_local(local.address) % local.port}" if local is not None else "d"
    place = ""
    if endpoint is not None:
        place = _endpoint(endpoint.address) % endpoint.port
        text += _SENT_TO + place
    if advertised is not None:
        # The two are mostly one.
        if advertised is not endpoint:
            place = _endpoint(advertised.address) % advertised.port
        text += _ADVERTISED + place
    if crypto_suite:
        text += _named("crypto suite", crypto_suite)
    text += _LAST % (last_packet, last_kernel_packet, last_user_packet)
    if ssrc is not None:
        text += _SSRC % ssrc
    counts = (received.packets, received.bytes, received.errors, sent.packets, sent.bytes, sent.errors)
    return f"{text}{_STREAM % (_flags(flags), *counts)}e"


def source(*, packets: int, octets: int, last_timestamp: int, last_sequence: int) -> Body:
    """What has come under an SSRC."""
    return {
        "bytes": octets,
        "packets": packets,
        "last RTP timestamp": last_timestamp,
        "last RTP seq": last_sequence,
    }


def hearing(lost: int, average: Body, lowest: Body, highest: Body, interval: int, progression: list[Body]) -> Body:
    """What the receiver with an SSRC has reported (RFC 3550 section 6.4): impressions of it, and how it went, at least
    `interval` seconds from the one to the next.
    """
    return {
        "cumulative loss": lost,
        "average MOS": average,
        "lowest MOS": lowest,
        "highest MOS": highest,
        "MOS progression": {"interval": interval, "entries": progression},
    }


def impression(*, score: float, round_trip: float, leg: float, jitter: float, loss: float) -> Body:
    """How a stream sounds to its receiver: by a MOS of 1.0 to 4.5, the round trips between the two parties and from
    the relay to the receiver and the jitter, all in milliseconds, and the loss in percent.

    It names ten times the MOS, and round trips in microseconds.
    """
    return {
        "MOS": round(10 * score),
        "round-trip time": round(1e3 * round_trip),
        "round-trip time leg": round(1e3 * leg),
        "jitter": round(jitter),
        "packet loss": round(loss),
    }


@functools.lru_cache(256)
def _section(index: int, kind: str, protocol: str, codec: str, label: str) -> str:
    names = _named("protocol", protocol) + _named("codec", codec) + _named("label", label)
    return _SECTION % (index, string(kind)) + names


def _named(key: str, value: str) -> str:
    return _NAMES[key] % string(value) if value else ""


def _others(others: Iterable[Other]) -> str:
    return f"l{''.join([_OTHER % (string(tag), string(kind)) for tag, kind in others])}e"


def _sources(sources: Iterable[Source]) -> str:
    return write([{"SSRC": ssrc, **source} for ssrc, source in sources]) if sources else "le"


@functools.lru_cache(256)
def _flags(flags: tuple[str, ...]) -> str:
    return write(list(flags))


@functools.lru_cache(4096)
def _endpoint(address: str) -> str:
    """An endpoint's form, but for its port: addresses come again, at the latest in the same reply."""
    return _ENDPOINT % (_family(address), string(address), INTEGER)


@functools.lru_cache(256)
def _local(address: str) -> str:
    """Likewise that of one of our own."""
    return _LOCAL % (INTEGER, string(address), _family(address))


def _family(address: str) -> str:
    return "4:IPv6" if ":" in address else "4:IPv4"
