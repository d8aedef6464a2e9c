"""The reply to `statistics`, the same as `list jsonstats`: a relay's counters in rtpengine's keys and their order.

The field names of Current and Totals are the keys on the wire. Fractions, and the uptime, are strings there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from rtprelay.signalling.command import Body
from rtprelay.values import Counts


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now. Rates are per second."""

    sessionsown: int = 0
    sessionsforeign: int = 0
    sessionstotal: int = 0
    transcodedmedia: int = 0
    mediacache: int = 0
    playercache: int = 0
    packetrate_user: int = 0
    byterate_user: int = 0
    errorrate_user: int = 0
    packetrate_kernel: int = 0
    byterate_kernel: int = 0
    errorrate_kernel: int = 0
    packetrate: int = 0
    byterate: int = 0
    errorrate: int = 0
    media_userspace: int = 0
    media_kernel: int = 0
    media_mixed: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start; sessions are counted when they end."""

    uptime: int = 0
    managedsessions: int = 0
    rejectedsessions: int = 0
    timeoutsessions: int = 0
    silenttimeoutsessions: int = 0
    finaltimeoutsessions: int = 0
    offertimeoutsessions: int = 0
    regularterminatedsessions: int = 0
    forcedterminatedsessions: int = 0
    relayedpackets_user: int = 0
    relayedpacketerrors_user: int = 0
    relayedbytes_user: int = 0
    relayedpackets_kernel: int = 0
    relayedpacketerrors_kernel: int = 0
    relayedbytes_kernel: int = 0
    relayedpackets: int = 0
    relayedpacketerrors: int = 0
    relayedbytes: int = 0
    zerowaystreams: int = 0
    onewaystreams: int = 0
    avgcallduration: float = 0.0
    totalcallsduration: float = 0.0
    totalcallsduration2: float = 0.0
    totalcallsduration_stddev: float = 0.0


class Samples(msgspec.Struct, frozen=True, gc=False):
    """Sum, sum of squares and number of some measured value."""

    total: float = 0.0
    squares: float = 0.0
    count: int = 0

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.total + other.total, self.squares + other.squares, self.count + other.count)

    def taking(self, value: float) -> Samples:
        """With one more."""
        return Samples(self.total + value, self.squares + value * value, self.count + 1)

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """Of the population; rounding must not make the variance negative."""
        return math.sqrt(max(0.0, self.squares / self.count - self.average**2)) if self.count else 0.0


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Sampled from RTCP (RFC 3550 section 6.4), except for `jitter_measured`. Times are in milliseconds,
    loss is in percent.
    """

    mos: Samples = Samples()
    jitter: Samples = Samples()
    rtt_e2e: Samples = Samples()
    rtt_dsct: Samples = Samples()
    packetloss: Samples = Samples()
    jitter_measured: Samples = Samples()
    packets_lost: int = 0
    rtp_duplicates: int = 0
    rtp_skips: int = 0
    rtp_seq_resets: int = 0
    rtp_reordered: int = 0

    def __add__(self, other: Quality) -> Quality:
        return Quality(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class ProxyView(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one proxy, by command name, with the seconds they took in all."""

    proxy: str
    requests: Mapping[str, int] = {}
    seconds: Mapping[str, float] = {}
    errors: int = 0


class InterfaceView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    address: str
    port_min: int
    port_max: int
    ports_used: int = 0
    quality: Quality = Quality()
    received: Counts = Counts()
    sent: Counts = Counts()


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    current: Current = Current()
    totals: Totals = Totals()
    quality: Quality = Quality()
    proxies: tuple[ProxyView, ...] = ()
    interfaces: tuple[InterfaceView, ...] = ()


COMMANDS = {
    "ping": "Ping",
    "offer": "Offer",
    "answer": "Answer",
    "delete": "Delete",
    "query": "Query",
    "list": "List",
    "start recording": "StartRec",
    "stop recording": "StopRec",
    "pause recording": "PauseRec",
    "start forwarding": "StartFwd",
    "stop forwarding": "StopFwd",
    "block DTMF": "BlkDTMF",
    "unblock DTMF": "UnblkDTMF",
    "block media": "BlkMedia",
    "unblock media": "UnblkMedia",
    "play media": "PlayMedia",
    "stop media": "StopMedia",
    "play DTMF": "PlayDTMF",
    "statistics": "Stats",
    "silence media": "SlnMedia",
    "unsilence media": "UnslnMedia",
    "block silence media": "BlkSlnMedia",
    "unblock silence media": "UnblkSlnMedia",
    "publish": "Pub",
    "subscribe request": "SubReq",
    "subscribe answer": "SubAns",
    "unsubscribe": "Unsub",
    "inject start": "InjStart",
    "inject stop": "InjStop",
    "connect": "Conn",
    "cli": "CLI",
    "transform": "Trnsfm",
    "create": "Create",
    "create answer": "CrtAnsw",
}
"""The commands counted, with their column title in `list totals`; in lower case it is part of the keys here."""

_VOIP = ("jitter", "rtt_e2e", "rtt_dsct", "packetloss", "jitter_measured")
_RTP = ("packets_lost", "rtp_duplicates", "rtp_skips", "rtp_seq_resets", "rtp_reordered")


def statistics(view: Statistics) -> Body:
    """The whole reply."""
    return {"statistics": jsonstats(view), "result": "ok"}


def jsonstats(view: Statistics) -> Body:
    """What the reply holds under `statistics`, and the text of `list jsonstats`."""
    totals = _fields(view.totals)
    totals["uptime"] = str(view.totals.uptime)
    return {
        "currentstatistics": _fields(view.current),
        "totalstatistics": totals,
        "mos": _samples("mos", view.quality.mos),
        "voip_metrics": {**_voip(view.quality), **{name: getattr(view.quality, name) for name in _RTP}},
        "controlstatistics": {
            "proxies": [_proxy(proxy) for proxy in view.proxies],
            **{
                f"total{title.lower()}count": sum(proxy.requests.get(name, 0) for proxy in view.proxies)
                for name, title in COMMANDS.items()
            },
        },
        "interfaces": [_interface(interface) for interface in view.interfaces],
        "transcoders": [],
        "poller_threads": [],
    }


def _fields(struct: msgspec.Struct) -> Body:
    return {name: _number(getattr(struct, name)) for name in struct.__struct_fields__}


def _number(value: Any) -> Any:
    return f"{value:.6f}" if isinstance(value, float) else value


def _samples(name: str, samples: Samples) -> Body:
    return {
        f"{name}_total": _number(samples.total),
        f"{name}2_total": _number(samples.squares),
        f"{name}_samples_total": samples.count,
        f"{name}_average": _number(samples.average),
        f"{name}_stddev": _number(samples.deviation),
    }


def _voip(quality: Quality) -> Body:
    return {key: value for name in _VOIP for key, value in _samples(name, getattr(quality, name)).items()}


def _proxy(view: ProxyView) -> Body:
    body: Body = {"proxy": view.proxy}
    for name, title in COMMANDS.items():
        body[f"{title.lower()}count"] = view.requests.get(name, 0)
        body[f"{title.lower()}duration"] = _number(float(view.seconds.get(name, 0.0)))
    body["errorcount"] = view.errors
    return body


def _interface(view: InterfaceView) -> Body:
    ports = view.port_max - view.port_min + 1
    return {
        "name": view.name,
        "address": view.address,
        "ports": {
            "min": view.port_min,
            "max": view.port_max,
            "used": view.ports_used,
            "used_pct": f"{100 * view.ports_used / ports:.2f}",
            "free": ports - view.ports_used,
            "totals": ports,
        },
        "packets_lost": view.quality.packets_lost,
        "duplicates": view.quality.rtp_duplicates,
        "voip_metrics": {**_samples("mos", view.quality.mos), **_voip(view.quality)},
        "ingress": _fields(view.received),
        "egress": _fields(view.sent),
    }
