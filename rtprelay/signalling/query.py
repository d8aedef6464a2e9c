"""The reply to `query` (and to `delete`): what is known of a call, in rtpengine's keys and their order.

The core fills it in, from the inside out. Times are whole seconds of the UNIX epoch, 0 where nothing happened yet. As
rtpengine does, keys without a value are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from rtprelay.signalling.command import Body
from rtprelay.values import Endpoint


class Counts(msgspec.Struct, frozen=True, gc=False):
    packets: int = 0
    bytes: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.packets + other.packets, self.bytes + other.bytes, self.errors + other.errors)


_NOTHING = Counts()

Source = tuple[int, Body]
"""An SSRC, and what `source` says of it."""
Other = tuple[str, str]
"""The participant at the other end of a subscription: its tag, and `offer/answer` or `pub/sub`."""


def call(
    *,
    created_us: int,
    last_signal: int,
    tags: Iterable[Body],
    sources: Mapping[str, Body],
    rtp: Counts,
    rtcp: Counts,
    metadata: str = "",
) -> Body:
    """The whole reply. `created_us`: microseconds of the UNIX epoch. While a party has not answered its tag is empty;
    the reply has a key of its own for it.
    """
    created, microseconds = divmod(created_us, 1_000_000)
    body: Body = {
        "created": created,
        "created_us": microseconds,
        "created_ts": created_us,
        "last signal": last_signal,
        "last redis update": 0,
        "SSRC": sources,
        "tags": {tag["tag"] or f"<untagged {number}>": tag for number, tag in enumerate(tags, 1)},
        "totals": {"RTP": _counts(rtp), "RTCP": _counts(rtcp)},
    }
    if metadata:
        body["metadata"] = metadata
    body["result"] = "ok"
    return body


def tag(
    *,
    tag: str,
    created: int,
    subscriptions: Iterable[Other],
    subscribers: Iterable[Other],
    medias: list[Body],
    via_branch: str = "",
    label: str = "",
    metadata: str = "",
) -> Body:
    """A participant."""
    body: Body = {"tag": tag}
    if via_branch:
        body["via-branch"] = via_branch
    if label:
        body["label"] = label
    body["created"] = created
    if metadata:
        body["metadata"] = metadata
    body["subscriptions"] = [{"tag": other, "type": kind} for other, kind in subscriptions]
    body["subscribers"] = [{"tag": other, "type": kind} for other, kind in subscribers]
    body["medias"] = medias
    body["VSC"] = []
    return body


def media(
    *,
    index: int,
    kind: str,
    streams: list[Body],
    flags: list[str],
    ingress: Iterable[Source] = (),
    egress: Iterable[Source] = (),
    protocol: str = "",
    codec: str = "",
    label: str = "",
) -> Body:
    """A section: `index` counts from 1, `codec` is the preferred one, as `PCMU/8000`.

    Flags: initialized, rtcp-mux, DTLS-SRTP, SDES, passthrough, ICE, send, recv.
    """
    body: Body = {"index": index, "type": kind}
    if protocol:
        body["protocol"] = protocol
    if codec:
        body["codec"] = codec
    if label:
        body["label"] = label
    body["streams"] = streams
    body["flags"] = flags
    body["ingress SSRCs"] = [{"SSRC": ssrc, **source} for ssrc, source in ingress]
    body["egress SSRCs"] = [{"SSRC": ssrc, **source} for ssrc, source in egress]
    return body


def stream(
    *,
    flags: list[str],
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
) -> Body:
    """A local port, RTP or RTCP of a section. `endpoint` is where media is sent, `advertised` what the SDP named.

    Flags: RTP, RTCP, filled, confirmed, kernelized, no kernel support.
    """
    body: Body = {}
    if local is not None:
        body["local port"] = local.port
        body["local address"] = local.address
        body["family"] = _family(local)
    if endpoint is not None:
        body["endpoint"] = _endpoint(endpoint)
    if advertised is not None:
        body["advertised endpoint"] = _endpoint(advertised)
    if crypto_suite:
        body["crypto suite"] = crypto_suite
    body["last packet"] = last_packet
    body["last kernel packet"] = last_kernel_packet
    body["last user packet"] = last_user_packet
    if ssrc is not None:
        body["SSRC"] = ssrc
    body["flags"] = flags
    body["stats"] = _counts(received)
    body["stats_out"] = _counts(sent)
    return body


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


def _endpoint(endpoint: Endpoint) -> Body:
    return {"family": _family(endpoint), "address": endpoint.address, "port": endpoint.port}


def _family(endpoint: Endpoint) -> str:
    return "IPv6" if ":" in endpoint.address else "IPv4"


def _counts(counts: Counts) -> Body:
    return {"packets": counts.packets, "bytes": counts.bytes, "errors": counts.errors}
