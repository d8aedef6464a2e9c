"""Counters of a flow from both data planes it may have gone through, as one report."""

from __future__ import annotations

from rtprelay.kernel import abi
from rtprelay.plan.flow import FlowReport, OutputReport, SsrcReport


def ssrc_report(entry: abi.Ssrc) -> SsrcReport:
    return SsrcReport(
        ssrc=entry.ssrc,
        packets=entry.packets,
        bytes=entry.bytes,
        highest_sequence=entry.highest,
        lost=abi.lost(entry),
        reordered=entry.reordered,
        duplicates=entry.duplicates,
        jitter=abi.jitter_seconds(entry),
        last_timestamp=entry.last_timestamp,
        payload_type=entry.payload_type,
    )


def merge(kernel: FlowReport, user: FlowReport) -> FlowReport:
    """The sum. What userspace judged, the kernel has handed up and counted as punted, where it saw it at all."""
    return FlowReport(
        local=kernel.local,
        packets=kernel.packets + user.packets,
        bytes=kernel.bytes + user.bytes,
        dropped=kernel.dropped + user.dropped,
        punted=max(kernel.punted, user.punted),
        rtcp_packets=kernel.rtcp_packets + user.rtcp_packets,
        rtcp_bytes=kernel.rtcp_bytes + user.rtcp_bytes,
        last_packet=max(kernel.last_packet, user.last_packet),
        spoken=kernel.spoken or user.spoken,
        kernel_packets=kernel.kernel_packets,
        kernel_bytes=kernel.kernel_bytes,
        in_kernel=kernel.in_kernel,
        ssrcs=_merge_ssrcs(kernel.ssrcs, user.ssrcs),
        outputs=_merge_outputs(kernel.outputs, user.outputs),
    )


def _merge_ssrcs(kernel: tuple[SsrcReport, ...], user: tuple[SsrcReport, ...]) -> tuple[SsrcReport, ...]:
    merged = {stream.ssrc: stream for stream in kernel}
    for stream in user:
        known = merged.get(stream.ssrc)
        merged[stream.ssrc] = stream if known is None else merge_ssrc(known, stream)
    return tuple(merged.values())


def merge_ssrc(one: SsrcReport, other: SsrcReport) -> SsrcReport:
    """One source, some of its packets counted here and some there: loss is what neither has seen."""
    more = one if one.packets >= other.packets else other
    # Each counts the wraps since its own first packet: bring the other to the nearest cycle.
    cycles = round((one.highest_sequence - other.highest_sequence) / 65536) << 16
    base = min(_base(one), _base(other) + cycles)
    highest = max(one.highest_sequence, other.highest_sequence + cycles)
    packets = one.packets + other.packets
    return SsrcReport(
        ssrc=one.ssrc,
        packets=packets,
        bytes=one.bytes + other.bytes,
        highest_sequence=highest,
        lost=highest - base + 1 - packets,
        reordered=one.reordered + other.reordered,
        duplicates=one.duplicates + other.duplicates,
        jitter=more.jitter,
        last_timestamp=more.last_timestamp,
        payload_type=more.payload_type,
    )


def _base(stream: SsrcReport) -> int:
    return stream.highest_sequence + 1 - stream.packets - stream.lost


def _merge_outputs(kernel: tuple[OutputReport, ...], user: tuple[OutputReport, ...]) -> tuple[OutputReport, ...]:
    by_source = {output.source: output for output in user}
    merged = []
    for output in kernel:
        other = by_source.get(output.source, OutputReport(output.source, 0, 0, 0))
        merged.append(
            OutputReport(
                source=output.source,
                packets=output.packets + other.packets,
                bytes=output.bytes + other.bytes,
                errors=output.errors + other.errors,
            )
        )
    return tuple(merged)
