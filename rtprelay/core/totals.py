"""What the relay has done since it started: sessions by how they ended, packets and bytes by path."""

from __future__ import annotations

import enum

import msgspec

from rtprelay.plan.flow import FlowReport
from rtprelay.values import Endpoint


class EndReason(enum.Enum):
    """Why a call ended; the values are the keys of rtpengine's statistics."""

    REGULAR = "regularterminatedsessions"
    FORCED = "forcedterminatedsessions"
    TIMEOUT = "timeoutsessions"
    SILENT_TIMEOUT = "silenttimeoutsessions"
    OFFER_TIMEOUT = "offertimeoutsessions"
    FINAL_TIMEOUT = "finaltimeoutsessions"
    REJECTED = "rejectedsessions"


class Traffic(msgspec.Struct):
    packets: int = 0
    bytes: int = 0
    errors: int = 0


class Totals:
    """Running sums. Flow reports are cumulative per flow: only their growth is added."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.managed = 0
        """Sessions that ended after having been set up."""
        self.ended: dict[EndReason, int] = dict.fromkeys(EndReason, 0)
        self.duration = 0.0
        self.duration_squared = 0.0
        self.one_way_streams = 0
        self.zero_way_streams = 0
        self.user = Traffic()
        self.kernel = Traffic()
        self._last: dict[Endpoint, tuple[int, int, int, int, int]] = {}

    def observe(self, report: FlowReport) -> None:
        now = (report.packets, report.bytes, report.dropped, report.kernel_packets, report.kernel_bytes)
        packets, size, dropped, kernel_packets, kernel_bytes = (
            new - old for new, old in zip(now, self._last.get(report.local, (0, 0, 0, 0, 0)), strict=True)
        )
        self._last[report.local] = now
        self.kernel.packets += kernel_packets
        self.kernel.bytes += kernel_bytes
        self.user.packets += packets - kernel_packets
        self.user.bytes += size - kernel_bytes
        (self.kernel if report.in_kernel else self.user).errors += dropped

    def adopt(self, report: FlowReport) -> None:
        """A flow of a former process: what it counted then is not ours to count again."""
        self._last[report.local] = (
            report.packets,
            report.bytes,
            report.dropped,
            report.kernel_packets,
            report.kernel_bytes,
        )

    def forget(self, local: Endpoint) -> None:
        self._last.pop(local, None)

    def end(self, reason: EndReason, seconds: float) -> None:
        self.ended[reason] += 1
        self.managed += 1
        self.duration += seconds
        self.duration_squared += seconds * seconds
