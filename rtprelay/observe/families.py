"""The metrics there are, and where in the relay's statistics their values stand.

The names are rtpengine's, less the prefix, so that dashboards made for it carry over; the keys are those of the reply
to the ng command `statistics`. docs/metrics.md is made from these tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Kind(enum.Enum):
    """A counter's name ends in `_total`; some of rtpengine's do not and are of no kind."""

    COUNTER = "counter"
    GAUGE = "gauge"
    UNTYPED = "untyped"


class Family(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """A family whose samples stand at `section` of the statistics, or of each interface's; each key is one sample."""

    family: Family
    section: tuple[str, ...]
    keys: Mapping[str, Mapping[str, str]]
    """By key the sample's labels."""


def _one(section: str, key: str, name: str, kind: Kind, text: str) -> Row:
    return Row(Family(name, kind, text), (section,), {key: {}})


def _by(label: str, section: str, keys: Mapping[str, str], name: str, kind: Kind, text: str) -> Row:
    """`keys` by value of the label."""
    return Row(Family(name, kind, text, (label,)), (section,), {key: {label: value} for value, key in keys.items()})


_NOW, _TOTAL, _VOIP = "currentstatistics", "totalstatistics", "voip_metrics"
_SAMPLED = {
    "mos": "MOS",
    "jitter": "jitter (reported, ms)",
    "rtt_e2e": "end-to-end round-trip time (ms)",
    "rtt_dsct": "discrete round-trip time (ms)",
    "packetloss": "packet loss (%)",
    "jitter_measured": "jitter (measured, ms)",
}
_INTERFACE = ("name", "address")


def _sampled(name: str, section: str, prefix: str = "", labels: tuple[str, ...] = ()) -> tuple[Row, ...]:
    texts = {
        f"{name}_total": f"Sum of all {_SAMPLED[name]} values sampled",
        f"{name}2_total": f"Sum of the squares of all {_SAMPLED[name]} values sampled",
        f"{name}_samples_total": f"Number of {_SAMPLED[name]} values sampled",
    }
    return tuple(
        Row(Family(prefix + key, Kind.COUNTER, text, labels), (section,), {key: {}}) for key, text in texts.items()
    )


def _traffic(what: str, direction: str) -> Row:
    labels = (*_INTERFACE, "direction")
    family = Family(f"interface_{what}", Kind.UNTYPED, f"{what.capitalize()} at an interface", labels)
    return Row(family, (direction,), {what: {"direction": direction}})


def _relayed(key: str, name: str, what: str) -> Row:
    keys = {"userspace": f"{key}_user", "kernel": f"{key}_kernel"}
    return _by("type", _TOTAL, keys, name, Kind.COUNTER, f"{what}, by where they were forwarded")


GLOBAL: tuple[Row, ...] = (
    _by("type", _NOW, {"own": "sessionsown", "foreign": "sessionsforeign"}, "sessions", Kind.GAUGE, "Sessions now"),
    _one(_NOW, "transcodedmedia", "transcoded_media", Kind.GAUGE, "Media being transcoded"),
    _one(_NOW, "mediacache", "media_cache", Kind.GAUGE, "Media files held in memory"),
    _one(_NOW, "playercache", "player_cache", Kind.GAUGE, "Encoded media held in memory"),
    _by(
        "type",
        _NOW,
        {"userspace": "media_userspace", "kernel": "media_kernel", "mixed": "media_mixed"},
        "mediastreams",
        Kind.GAUGE,
        "Media streams, by where they are forwarded",
    ),
    _one(_TOTAL, "uptime", "uptime_seconds", Kind.GAUGE, "Seconds since the start"),
    _one(_TOTAL, "managedsessions", "sessions_total", Kind.COUNTER, "Sessions that were set up and have ended"),
    _by(
        "reason",
        _TOTAL,
        {
            "rejected": "rejectedsessions",
            "timeout": "timeoutsessions",
            "silent_timeout": "silenttimeoutsessions",
            "final_timeout": "finaltimeoutsessions",
            "offer_timeout": "offertimeoutsessions",
            "terminated": "regularterminatedsessions",
            "force_terminated": "forcedterminatedsessions",
        },
        "closed_sessions_total",
        Kind.COUNTER,
        "Sessions that have ended, by why",
    ),
    _relayed("relayedpackets", "packets_total", "Packets relayed"),
    _relayed("relayedpacketerrors", "packet_errors_total", "Packets that could not be relayed"),
    _relayed("relayedbytes", "bytes_total", "Bytes relayed"),
    _one(_TOTAL, "zerowaystreams", "zero_packet_streams_total", Kind.COUNTER, "Streams without a packet"),
    _one(_TOTAL, "onewaystreams", "one_way_sessions_total", Kind.COUNTER, "Streams with packets one way only"),
    _one(_TOTAL, "avgcallduration", "call_duration_avg", Kind.GAUGE, "Average duration of calls that ended, seconds"),
    _one(_TOTAL, "totalcallsduration", "call_duration_total", Kind.COUNTER, "Sum of their durations"),
    _one(_TOTAL, "totalcallsduration2", "call_duration2_total", Kind.COUNTER, "Sum of their durations' squares"),
    *_sampled("mos", "mos"),
    *(row for name in _SAMPLED if name != "mos" for row in _sampled(name, _VOIP)),
    _one(_VOIP, "packets_lost", "packets_lost", Kind.UNTYPED, "RTP packets lost"),
    _one(_VOIP, "rtp_duplicates", "rtp_duplicates", Kind.UNTYPED, "RTP packets come twice"),
    _one(_VOIP, "rtp_skips", "rtp_skips", Kind.UNTYPED, "Jumps of RTP sequence numbers"),
    _one(_VOIP, "rtp_seq_resets", "rtp_seq_resets", Kind.UNTYPED, "RTP streams that began anew"),
    _one(_VOIP, "rtp_reordered", "rtp_reordered", Kind.UNTYPED, "RTP packets out of order"),
)

INTERFACE: tuple[Row, ...] = (
    Row(Family("ports_used", Kind.GAUGE, "Media ports in use", _INTERFACE), ("ports",), {"used": {}}),
    Row(Family("ports_free", Kind.GAUGE, "Media ports not in use", _INTERFACE), ("ports",), {"free": {}}),
    Row(Family("ports", Kind.GAUGE, "Media ports there are", _INTERFACE), ("ports",), {"totals": {}}),
    Row(Family("interface_packets_lost", Kind.UNTYPED, "RTP packets lost", _INTERFACE), (), {"packets_lost": {}}),
    Row(Family("interface_duplicates", Kind.UNTYPED, "RTP packets come twice", _INTERFACE), (), {"duplicates": {}}),
    *(row for name in _SAMPLED for row in _sampled(name, _VOIP, "interface_", _INTERFACE)),
    *(_traffic(what, direction) for what in ("packets", "bytes", "errors") for direction in ("ingress", "egress")),
)
"""For each interface; its name and address are labels beside those given here."""

REQUESTS = Family("requests_total", Kind.COUNTER, "ng requests", ("proxy", "request"))
SECONDS = Family("request_seconds_total", Kind.COUNTER, "Time it took to reply to them", ("proxy", "request"))
ERRORS = Family("errors_total", Kind.COUNTER, "ng requests answered with an error", ("proxy",))

DATA_PLANE = Family("data_plane_total", Kind.COUNTER, "Packets handed up or dropped, by why", ("reason",))
INTERNAL = Family("internal_errors_total", Kind.COUNTER, "What went wrong inside the relay, by where", ("where",))
TURNED_AWAY = Family("control_refused_total", Kind.COUNTER, "Clients of control ports turned away, by why", ("reason",))
CONNECTIONS = Family("control_connections", Kind.GAUGE, "Connections to control ports now")
INFO = Family("info", Kind.GAUGE, "Always 1", ("version",))

CATALOGUE = tuple(
    dict.fromkeys(
        (
            *(row.family for row in GLOBAL),
            *(row.family for row in INTERFACE),
            *(REQUESTS, SECONDS, ERRORS),
            *(DATA_PLANE, INTERNAL, TURNED_AWAY),
            *(CONNECTIONS, INFO),
        )
    )
)
"""Every metric there can be."""
