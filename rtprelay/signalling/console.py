"""The texts of rtpengine-ctl's `list numsessions` and `list totals`: scripts read them by line and column."""

from __future__ import annotations

from rtprelay.signalling.statistics import COMMANDS, Current, ProxyView, Quality, Samples, Statistics

_CURRENT = {
    "sessionsown": "Owned sessions",
    "sessionsforeign": "Foreign sessions",
    "sessionstotal": "Total sessions",
    "transcodedmedia": "Transcoded media",
    "mediacache": "Media cache size",
    "playercache": "Player cache size",
    "packetrate_user": "Packets per second (userspace)",
    "byterate_user": "Bytes per second (userspace)",
    "errorrate_user": "Errors per second (userspace)",
    "packetrate_kernel": "Packets per second (kernel)",
    "byterate_kernel": "Bytes per second (kernel)",
    "errorrate_kernel": "Errors per second (kernel)",
    "packetrate": "Packets per second (total)",
    "byterate": "Bytes per second (total)",
    "errorrate": "Errors per second (total)",
    "media_userspace": "Userspace-only media streams",
    "media_kernel": "Kernel-only media streams",
    "media_mixed": "Mixed kernel/userspace media streams",
}
_TOTALS = {
    "uptime": "Uptime of rtpengine",
    "managedsessions": "Total managed sessions",
    "rejectedsessions": "Total rejected sessions",
    "timeoutsessions": "Total timed-out sessions via TIMEOUT",
    "silenttimeoutsessions": "Total timed-out sessions via SILENT_TIMEOUT",
    "finaltimeoutsessions": "Total timed-out sessions via FINAL_TIMEOUT",
    "offertimeoutsessions": "Total timed-out sessions via OFFER_TIMEOUT",
    "regularterminatedsessions": "Total regular terminated sessions",
    "forcedterminatedsessions": "Total forced terminated sessions",
    "relayedpackets_user": "Total relayed packets (userspace)",
    "relayedpacketerrors_user": "Total relayed packet errors (userspace)",
    "relayedbytes_user": "Total relayed bytes (userspace)",
    "relayedpackets_kernel": "Total relayed packets (kernel)",
    "relayedpacketerrors_kernel": "Total relayed packet errors (kernel)",
    "relayedbytes_kernel": "Total relayed bytes (kernel)",
    "relayedpackets": "Total relayed packets",
    "relayedpacketerrors": "Total relayed packet errors",
    "relayedbytes": "Total relayed bytes",
    "zerowaystreams": "Total number of streams with no relayed packets",
    "onewaystreams": "Total number of 1-way streams",
    "avgcallduration": "Average call duration",
    "totalcallsduration": "Total calls duration",
    "totalcallsduration2": "Total calls duration squared",
    "totalcallsduration_stddev": "Total calls duration standard deviation",
}
_UNITS = {
    "uptime": " seconds",
    "avgcallduration": " seconds",
    "totalcallsduration": " seconds",
    "totalcallsduration2": " seconds squared",
    "totalcallsduration_stddev": " seconds",
}
_VOIP = {
    "jitter": "jitter (reported)",
    "rtt_e2e": "end-to-end round-trip time",
    "rtt_dsct": "discrete round-trip time",
    "packetloss": "packet loss",
    "jitter_measured": "jitter (measured)",
}
_RTP = {
    "packets_lost": "Packets lost",
    "rtp_duplicates": "Duplicate RTP packets",
    "rtp_skips": "RTP sequence skips",
    "rtp_seq_resets": "RTP sequence resets",
    "rtp_reordered": "Out-of-order RTP packets",
}


def numsessions(current: Current, *, ipv4: int, ipv6: int, mixed: int) -> str:
    """`list numsessions`; the last three count sessions by the families of their media."""
    return (
        f"Current sessions own: {current.sessionsown}\n"
        f"Current sessions foreign: {current.sessionsforeign}\n"
        f"Current sessions total: {current.sessionstotal}\n"
        f"Current transcoded media: {current.transcodedmedia}\n"
        f"Current sessions ipv4 only media: {ipv4}\n"
        f"Current sessions ipv6 only media: {ipv6}\n"
        f"Current sessions ip mixed  media: {mixed}\n"
    )


def counters(current: Current) -> str:
    """`list counters`."""
    rates = (_line(title, getattr(current, name)) for name, title in _CURRENT.items() if "rate" in name)
    return "\nCurrent per-second counters:\n\n" + "".join(rates)


def totals(view: Statistics) -> str:
    """`list totals`."""
    parts = [
        "\nStatistics over currently running sessions:\n\n",
        *(_line(title, getattr(view.current, name)) for name, title in _CURRENT.items()),
        "\nTotal statistics (does not include current running sessions):\n\n",
        *(_line(title, getattr(view.totals, name), _UNITS.get(name, "")) for name, title in _TOTALS.items()),
        "\n\nMOS statistics:\n\n",
        _samples("MOS", view.quality.mos),
        "\n\nVoIP metrics:\n\n",
        _voip(view.quality),
        *(_line(title, getattr(view.quality, name)) for name, title in _RTP.items()),
        "\n\nControl statistics:\n\n",
        _control(view.proxies),
        "\n\n",
    ]
    for interface in view.interfaces:
        parts += [
            f"VoIP metrics for interface {interface.name}/{interface.address}:\n",
            _samples("MOS", interface.quality.mos),
            _voip(interface.quality),
            "\n",
        ]
    return "".join(parts)


def _line(title: str, value: float, unit: str = "") -> str:
    shown = f"{value:.6f}" if isinstance(value, float) else str(value)
    return f" {title:<48}:{shown}{unit}\n"


def _voip(quality: Quality) -> str:
    return "".join(_samples(title, getattr(quality, name)) for name, title in _VOIP.items())


def _samples(title: str, samples: Samples) -> str:
    return (
        _line(f"Sum of all {title} values sampled", samples.total)
        + _line(f"Sum of all {title} square values sampled", samples.squares)
        + _line(f"Total number of {title} samples", samples.count)
        + _line(f"Average {title}", samples.average)
        + _line(f"{title} standard deviation", samples.deviation)
    )


def _control(proxies: tuple[ProxyView, ...]) -> str:
    rows = [f"{'Proxy':>21} |" + "|".join(f" {title:>10} " for title in COMMANDS.values()) + "\n"]
    for proxy in proxies:
        counts = (f" {proxy.requests.get(name, 0):>10} " for name in COMMANDS)
        rows.append(f"{proxy.proxy:>21} |" + "|".join(counts) + "\n")
    return "".join(rows)
