"""What the relay has done since it started: sessions by how they ended, packets and bytes by path and by address."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from rtprelay.call.call import Call, SubscriptionKind
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling.statistics import Quality, Samples
from rtprelay.values import Endpoint

RATE_EVERY = 1.0
"""Seconds over which rates are averaged, at least."""


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

    def add(self, packets: int, size: int, errors: int) -> None:
        self.packets += packets
        self.bytes += size
        self.errors += errors


class Rates(msgspec.Struct):
    """Traffic per second, between the last two looks that were far enough apart."""

    since: float
    seen: tuple[int, int, int] = (0, 0, 0)
    per_second: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def look(self, traffic: Traffic, now: float) -> None:
        passed = now - self.since
        if passed < RATE_EVERY:
            return
        counts = (traffic.packets, traffic.bytes, traffic.errors)
        packets, size, errors = ((new - old) / passed for new, old in zip(counts, self.seen, strict=True))
        self.per_second = (packets, size, errors)
        self.seen, self.since = counts, now


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
        self.user_rates = Rates(started)
        self.kernel_rates = Rates(started)
        self.received: defaultdict[str, Traffic] = defaultdict(Traffic)
        """By local address; so is `sent`."""
        self.sent: defaultdict[str, Traffic] = defaultdict(Traffic)
        self.quality: defaultdict[str, Quality] = defaultdict(Quality)
        """Of all streams that have ended, by local address."""
        self.in_kernel: dict[Endpoint, bool] = {}
        """How each flow that has carried packets is forwarded now."""
        self._last: dict[Endpoint, FlowReport | None] = {}

    def observe(self, report: FlowReport) -> None:
        if not (report.packets or report.dropped or report.local in self._last):
            return
        last = self._last.get(report.local, _NOTHING)
        # Kept as long as the port is open.
        self._last[report.local] = msgspec.structs.replace(report, ssrcs=(), hearings=()) if report.ssrcs else report
        if report.packets:
            self.in_kernel[report.local] = report.in_kernel
        if last is None:
            return
        if last.packets > report.packets:
            last = _NOTHING  # the port's counters have started again
        packets, size = report.packets - last.packets, report.bytes - last.bytes
        errors = max(0, report.dropped - last.dropped)
        kernel_packets = report.kernel_packets - last.kernel_packets
        kernel_bytes = report.kernel_bytes - last.kernel_bytes
        self.kernel.add(kernel_packets, kernel_bytes, errors if report.in_kernel else 0)
        self.user.add(packets - kernel_packets, size - kernel_bytes, 0 if report.in_kernel else errors)
        self.received[report.local.address].add(packets, size, errors)
        before = {output.source: output for output in last.outputs}
        for output in report.outputs:
            had = before.get(output.source)
            if had is None or had.packets > output.packets:
                self.sent[output.source.address].add(output.packets, output.bytes, output.errors)
            else:
                self.sent[output.source.address].add(
                    output.packets - had.packets, output.bytes - had.bytes, max(0, output.errors - had.errors)
                )

    @property
    def bandwidth(self) -> float:
        """Bytes per second that come in, as far as they are forwarded."""
        return self.user_rates.per_second[1] + self.kernel_rates.per_second[1]

    def look(self, now: float) -> None:
        self.user_rates.look(self.user, now)
        self.kernel_rates.look(self.kernel, now)

    def adopt(self, locals_: Iterable[Endpoint]) -> None:
        """Flows of a former process: what they have counted so far is not ours to count again."""
        self._last.update(dict.fromkeys(locals_))

    def forget(self, locals_: Iterable[Endpoint]) -> None:
        for local in locals_:
            self._last.pop(local, None)
            self.in_kernel.pop(local, None)

    def retire(self, report: FlowReport) -> None:
        """A flow is no more, and its call goes on; this is the last report of it."""
        self.observe(report)
        self._note_quality(report)
        self.forget((report.local,))

    def end(self, call: Call, reason: EndReason, seconds: float, reports: Mapping[Endpoint, FlowReport]) -> None:
        """A call is over; `reports` are the last ones of its flows."""
        self.ended[reason] += 1
        self.managed += 1
        self.duration += seconds
        self.duration_squared += seconds * seconds
        for subscription in call.subscriptions:
            if subscription.kind is not SubscriptionKind.OFFER_ANSWER or subscription.source >= subscription.sink:
                continue  # not part of a pair, or its other half
            one, other = call.media(subscription.source), call.media(subscription.sink)
            if one is not None and other is not None and one.local and other.local:
                heard = _heard(reports.get(one.local)) + _heard(reports.get(other.local))
                self.zero_way_streams += heard == 0
                self.one_way_streams += heard == 1
        for report in reports.values():
            self._note_quality(report)

    def _note_quality(self, report: FlowReport) -> None:
        if report.ssrcs or report.hearings:
            for quality in _qualities(report):
                self.quality[report.local.address] += quality


def _heard(report: FlowReport | None) -> bool:
    return report is not None and report.packets > 0


def _qualities(report: FlowReport) -> Iterator[Quality]:
    """What was measured here, and what the party here has reported."""
    for ssrc in report.ssrcs:
        yield Quality(
            jitter_measured=Samples().taking(1e3 * ssrc.jitter),
            packets_lost=max(0, ssrc.lost),
            rtp_duplicates=ssrc.duplicates,
            rtp_reordered=ssrc.reordered,
        )
    for hearing in report.hearings:
        yield Quality(
            mos=hearing.score,
            jitter=hearing.jitter,
            rtt_e2e=hearing.round_trip,
            rtt_dsct=hearing.leg,
            packetloss=hearing.loss,
        )


_NOTHING = FlowReport(
    local=Endpoint("0.0.0.0", 0),
    packets=0,
    bytes=0,
    dropped=0,
    punted=0,
    rtcp_packets=0,
    rtcp_bytes=0,
    last_packet=0.0,
    spoken=False,
)
