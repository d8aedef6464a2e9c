"""Counters of a flow from both data planes it may have gone through, as one report."""

from __future__ import annotations

from rtprelay.kernel import abi
from rtprelay.plan.flow import FlowReport, OutputReport, SsrcReport


def ssrc_report(source: abi.Source) -> SsrcReport:
    ssrc, past = source.ssrc, source.past
    return SsrcReport(
        ssrc=ssrc.ssrc,
        packets=ssrc.packets,
        bytes=ssrc.bytes,
        highest_sequence=ssrc.highest,
        lost=abi.lost(source),
        reordered=past.reordered,
        duplicates=past.duplicates,
        jitter=abi.jitter_seconds(source),
        last_timestamp=ssrc.last_timestamp,
        payload_type=ssrc.payload_type,
    )


def merge(one: FlowReport, other: FlowReport) -> FlowReport:
    """The sum; `one` says who forwards now, and to which outputs. What userspace has judged, the kernel has handed up
    and counted as punted, where it saw it at all: so punts are not added."""
    return FlowReport(
        local=one.local,
        packets=one.packets + other.packets,
        bytes=one.bytes + other.bytes,
        dropped=one.dropped + other.dropped,
        punted=max(one.punted, other.punted),
        rtcp_packets=one.rtcp_packets + other.rtcp_packets,
        rtcp_bytes=one.rtcp_bytes + other.rtcp_bytes,
        last_packet=max(one.last_packet, other.last_packet),
        spoken=one.spoken or other.spoken,
        kernel_packets=one.kernel_packets + other.kernel_packets,
        kernel_bytes=one.kernel_bytes + other.kernel_bytes,
        in_kernel=one.in_kernel,
        ssrcs=_merge_ssrcs(one.ssrcs, other.ssrcs),
        outputs=_merge_outputs(one.outputs, other.outputs),
        # RTCP is read in one place only.
        hearings=one.hearings or other.hearings,
    )


def _merge_ssrcs(one: tuple[SsrcReport, ...], other: tuple[SsrcReport, ...]) -> tuple[SsrcReport, ...]:
    merged = {stream.ssrc: stream for stream in one}
    for stream in other:
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


def _merge_outputs(one: tuple[OutputReport, ...], other: tuple[OutputReport, ...]) -> tuple[OutputReport, ...]:
    by_source = {output.source: output for output in other}
    return tuple(_merge_output(output, by_source.get(output.source)) for output in one)


def _merge_output(one: OutputReport, other: OutputReport | None) -> OutputReport:
    if other is None:
        return one
    return OutputReport(
        source=one.source,
        packets=one.packets + other.packets,
        bytes=one.bytes + other.bytes,
        errors=one.errors + other.errors,
    )
