"""`list totals` and `list counters`: rtpengine's words for the keys of its statistics, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CURRENT = {
    "sessionsown": "Owned sessions",
    "sessionsforeign": "Foreign sessions",
    "sessionstotal": "Total sessions",
    "transcodedmedia": "Transcoded media",
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
TOTAL = {
    "uptime": "Uptime of rtprelay",
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
UNITS = {
    "uptime": " seconds",
    "avgcallduration": " seconds",
    "totalcallsduration": " seconds",
    "totalcallsduration2": " seconds squared",
    "totalcallsduration_stddev": " seconds",
}
RATES = {key: words for key, words in CURRENT.items() if "rate" in key}


def totals(statistics: Mapping[str, Any]) -> str:
    return (
        "\nStatistics over currently running sessions:\n\n"
        + _lines(CURRENT, statistics.get("currentstatistics", {}))
        + "\nTotal statistics (does not include current running sessions):\n\n"
        + _lines(TOTAL, statistics.get("totalstatistics", {}))
    )


def counters(statistics: Mapping[str, Any]) -> str:
    return "\nCurrent per-second counters:\n\n" + _lines(RATES, statistics.get("currentstatistics", {}))


def _lines(words: Mapping[str, str], values: Mapping[str, Any]) -> str:
    return "".join(f" {text:<48}:{values[key]}{UNITS.get(key, '')}\n" for key, text in words.items() if key in values)
