"""The data plane in Python: judges one datagram and says what leaves, by the rules of `rtprelay.plan.flow`.

It opens no socket and reads no clock: the runtime hands in what it received and sends what the verdict names. It is the
whole data plane of `--backend userspace`, and the second opinion of the eBPF backend: whatever the kernel passes up
(fragments, oversized packets, unresolved next hops, RTCP to several receivers) is forwarded here correctly, slowly.

The hot path is `forward` for an RTP packet whose source is the expected one; the rest is written to be read.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from rtprelay.errors import BackendFault, MalformedMessage
from rtprelay.kernel.statistics import StreamStatistics
from rtprelay.plan.flow import (
    DropFlow,
    DropOutput,
    Flow,
    FlowOp,
    FlowReport,
    FlowTable,
    LockFlow,
    Mismatch,
    Output,
    OutputReport,
    PayloadRule,
    PutFlow,
    PutOutput,
)
from rtprelay.plan.quality import Heard, Hearing, hearing
from rtprelay.security.indices import SrtpFault
from rtprelay.security.srtp import Shared, SrtpContext, SrtpContexts, rtp_header_length
from rtprelay.values import Endpoint
from rtprelay.wire import rtcp
from rtprelay.wire.demux import RTCP_HEADER_LENGTH, RTP_HEADER_LENGTH, PacketKind, classify
from rtprelay.wire.rtp import HEADER

MAX_SSRCS = 16
"""SSRCs told apart at one port; a flood of made-up ones evicts the one silent for longest, never memory."""

MAX_OUTPUTS = 256
PSFB, PLI = 206, 1
"""RFC 4585 section 6.1 and 6.3.1."""
VIDEO_CLOCK = 90_000
"""RFC 3551 section 5; what is said of speech does not hold there."""
PICTURE_INTERVAL = 0.3
"""Seconds between two requests for a key frame to one source: each costs it as much as many frames."""

Datagram = tuple[Endpoint, bytes, Endpoint]
"""(local endpoint to send from, payload, destination)."""


class Forwarded(msgspec.Struct, frozen=True, gc=False):
    """Accepted; these leave. Empty where the kernel had already forwarded the packet."""

    datagrams: list[Datagram]


class Punt(msgspec.Struct, frozen=True, gc=False):
    """For the core to judge (`Relay.handle_datagram`)."""

    reason: str


class Dropped(msgspec.Struct, frozen=True, gc=False):
    reason: str


Verdict = Forwarded | Punt | Dropped


class Reception(msgspec.Struct, frozen=True, gc=False):
    """The last RTCP report on one stream (RFC 3550 section 6.4.1), as its receiver wrote it."""

    fraction_lost: float
    """Of the packets expected since the report before: 0.0 to 1.0."""
    lost: int
    jitter: int
    """In timestamp units."""
    round_trip: float | None
    """Seconds between this relay and the receiver; None where no sender report of ours was answered yet."""
    received: float


class _Told(NamedTuple):
    """A sender report as it went to a receiver, who will answer it."""

    middle: int
    """Of its NTP timestamp, as the answer names it."""
    when: float
    heard_at: Endpoint
    """The port it came in at,"""
    ssrc: int
    """by the sender's own name of the stream."""


class _Output:
    """One receiver. Every forwarded packet of the lane goes to every output, so that its counters are differences of
    the lane's: nothing is counted per copy on the hot path."""

    __slots__ = ("bytes", "bytes_at_join", "errors", "output", "packets", "packets_at_join", "srtp")

    def __init__(self, output: Output) -> None:
        self.output = output
        self.srtp: SrtpContext | None = None
        self.packets = self.bytes = self.errors = 0
        self.packets_at_join = self.bytes_at_join = 0

    def report(self, lane: _Lane) -> OutputReport:
        return OutputReport(
            source=self.output.source,
            packets=self.packets + lane.forwarded - self.packets_at_join,
            bytes=self.bytes + lane.forwarded_bytes - self.bytes_at_join,
            errors=self.errors,
        )


class _Lane:
    """The outputs that get the same packets: all of a flow's, or those of one lane."""

    __slots__ = ("forwarded", "forwarded_bytes", "outputs", "plain")

    def __init__(self) -> None:
        self.forwarded = self.forwarded_bytes = 0
        self.outputs: dict[Endpoint, _Output] = {}
        self.plain: list[tuple[Endpoint, Endpoint]] | None = None
        """Where to, if packets need not be changed."""

    def put(self, output: Output, contexts: SrtpContexts, counted: OutputReport | None = None) -> None:
        """`counted`: while it was of another lane."""
        known = self.outputs.get(output.source)
        if known is None:
            known = self.outputs[output.source] = _Output(output)
            known.packets_at_join, known.bytes_at_join = self.forwarded, self.forwarded_bytes
        if counted is not None:
            known.packets += counted.packets
            known.bytes += counted.bytes
            known.errors += counted.errors
        known.output = output
        known.srtp = contexts.sending(output.srtp)

    def plan(self) -> None:
        outputs = [known.output for known in self.outputs.values()]
        altered = any(
            output.ssrc is not None or output.sequence_offset or output.timestamp_offset or output.srtp is not None
            for output in outputs
        )
        self.plain = None if altered else [(output.source, output.destination) for output in outputs]


_NO_LANE = _Lane()
_SEVERAL = -1


def _add(reports: dict[Endpoint, OutputReport], report: OutputReport) -> None:
    before = reports.get(report.source)
    if before is not None:
        packets, octets, errors = report.packets + before.packets, report.bytes + before.bytes, report.errors
        report = OutputReport(report.source, packets, octets, errors + before.errors)
    reports[report.source] = report


class _State:
    """A flow as the hot path wants it, and what it has counted."""

    __slots__ = (
        "bytes",
        "clocks",
        "dropped",
        "expected",
        "feedback",
        "flow",
        "hearings",
        "lane",
        "lane_of",
        "lanes",
        "last_packet",
        "leg",
        "moved",
        "packets",
        "picture_requested",
        "punted",
        "receptions",
        "rtcp_bytes",
        "rtcp_outputs",
        "rtcp_packets",
        "sender",
        "sender_reports",
        "silence",
        "source_lanes",
        "spoken",
        "srtp",
        "streams",
    )

    def __init__(self, flow: Flow, contexts: SrtpContexts) -> None:
        self.packets = self.bytes = self.rtcp_packets = self.rtcp_bytes = 0
        self.dropped = self.punted = 0
        self.last_packet = 0.0
        self.picture_requested = float("-inf")
        self.spoken = self.moved = False
        self.streams: dict[int, StreamStatistics] = {}
        self.lanes: dict[int | None, _Lane] = {}
        self.sender: int | None = None
        self.sender_reports: dict[int, _Told] = {}
        self.leg: float | None = None
        self.hearings: dict[int, Hearing] = {}
        self.receptions: dict[int, Reception] = {}
        self.flow = flow
        self.install(flow, contexts)

    def install(self, flow: Flow, contexts: SrtpContexts) -> None:
        """Take on a flow, the first or its successor."""
        if flow.expected != self.flow.expected:
            self.spoken = False
        self.flow = flow
        self.expected = flow.expected
        self.clocks, self.silence, self.lane_of = _by_payload_type(flow.payloads)
        self.source_lanes = {source.ssrc: source.lane for source in flow.lane_sources}
        self.srtp = contexts.receiving(flow.srtp)
        self.rtcp_outputs = {output.source: (output, contexts.sending(output.srtp)) for output in flow.rtcp_outputs}
        self.feedback = [(output, contexts.sending(output.srtp)) for output in flow.feedback]
        wanted = {output.key for output in flow.outputs}
        left: dict[Endpoint, OutputReport] = {}
        for number, lane in self.lanes.items():
            for source in [source for source in lane.outputs if (source, number) not in wanted]:
                _add(left, lane.outputs.pop(source).report(lane))
        for output in flow.outputs:
            self._lane(output.lane).put(output, contexts, left.pop(output.source, None))
        self._plan()

    def put_output(self, output: Output, contexts: SrtpContexts) -> None:
        self._lane(output.lane).put(output, contexts)
        self._plan()

    def drop_output(self, source: Endpoint, lane: int | None) -> None:
        if lane in self.lanes and self.lanes[lane].outputs.pop(source, None) is not None:
            self._plan()

    def lane_for(self, payload_type: int, ssrc: int) -> _Lane:
        """Of a flow that has several."""
        number = self.lane_of.get(payload_type)
        return self.lanes.get(self.source_lanes.get(ssrc) if number == _SEVERAL else number, _NO_LANE)

    def _lane(self, number: int | None) -> _Lane:
        return self.lanes.setdefault(number, _Lane())

    def _plan(self) -> None:
        outputs = tuple(known.output for lane in self.lanes.values() for known in lane.outputs.values())
        if outputs != self.flow.outputs:
            self.flow = msgspec.structs.replace(self.flow, outputs=outputs)
        for lane in self.lanes.values():
            lane.plan()
        laned = any(rule.lane is not None for rule in self.flow.payloads) or any(o.lane is not None for o in outputs)
        self.lane = None if laned else self._lane(None)

    def stream(self, ssrc: int) -> StreamStatistics:
        """The statistics of an SSRC seen for the first time."""
        if len(self.streams) >= MAX_SSRCS:
            del self.streams[min(self.streams.values(), key=lambda stream: stream.arrival).ssrc]
        stream = self.streams[ssrc] = StreamStatistics(ssrc)
        return stream

    def summary(self) -> FlowReport:
        return FlowReport(
            local=self.flow.local,
            packets=self.packets,
            bytes=self.bytes,
            dropped=self.dropped,
            punted=self.punted,
            rtcp_packets=self.rtcp_packets,
            rtcp_bytes=self.rtcp_bytes,
            last_packet=self.last_packet,
            spoken=self.spoken,
        )

    def report(self) -> FlowReport:
        return msgspec.structs.replace(
            self.summary(),
            ssrcs=tuple(stream.report() for stream in self.streams.values()),
            outputs=self._output_reports(),
            hearings=tuple(self.hearings.values()),
        )

    def _output_reports(self) -> tuple[OutputReport, ...]:
        found: dict[Endpoint, OutputReport] = {}
        for lane in self.lanes.values():
            for known in lane.outputs.values():
                _add(found, known.report(lane))
        return tuple(found.values())


@functools.lru_cache(maxsize=1024)
def _by_payload_type(
    rules: tuple[PayloadRule, ...],
) -> tuple[Mapping[int, int], Mapping[int, int], Mapping[int, int | None]]:
    """Clock rate (-1: dropped), silence and lane (-1: of several). Nearly all flows have the rules of many others."""
    lanes: dict[int, int | None] = {}
    for rule in rules:
        lanes[rule.payload_type] = _SEVERAL if rule.payload_type in lanes else rule.lane
    return (
        {rule.payload_type: -1 if rule.drop else rule.clock_rate for rule in rules},
        {rule.payload_type: rule.silence for rule in rules if rule.silence is not None},
        lanes,
    )


def _keyed(flow: Flow) -> bool:
    """Its keys are in use from the start: how far they have been used is kept with them."""
    if flow.srtp is not None:
        return True
    for outputs in (flow.outputs, flow.rtcp_outputs, flow.feedback):
        for output in outputs:
            if output.srtp is not None:
                return True
    return False


def _nowhere(local: Endpoint) -> bool:
    return False


def _unheard(local: Endpoint, ssrc: int) -> int | None:
    return None


def _untold(flow: Flow) -> None:
    """Nobody wants to know."""


_unpack_header = HEADER.unpack_from
_pack_header = HEADER.pack
# The names of ebpf/include/rtprelay/reasons.h, so that a reason is counted under one name whoever found it.
_HOLD = Dropped("hold")
_PAYLOAD_TYPE = Dropped("payload_type")
_SOURCE_MISMATCH = Dropped("source_mismatch")
_SOURCE_LOCKED = Dropped("source_locked")
_UNKNOWN_SOURCE = Punt("unknown_source")
_SIGNALLED_SOURCE = Punt("signalled_source")
_LANE = Punt("lane")
_STUN = Punt("stun")
_DTLS = Punt("dtls")
_NOT_RTP = Punt("not_rtp")
# These two the kernel does not know: it looks at packets of known flows only, and changes no RTCP.
_NO_FLOW = Dropped("no_flow")
_MALFORMED_RTCP = Dropped("malformed_rtcp")
_NOT_AUTHENTIC = Dropped("srtp_auth")


def silenced(data: bytes, byte: int) -> bytes:
    """The packet with nothing to hear in it; a header that is longer than the packet leaves nothing to overwrite.

    Padding (RFC 3550 section 5.1) stays, unless there is said to be more of it than is there.
    """
    try:
        start = rtp_header_length(data)
    except SrtpFault:
        return data
    padding = data[-1] if data[0] & 0x20 and data[-1] <= len(data) - start else 0
    end = len(data) - padding
    return data[:start] + bytes((byte,)) * (end - start) + data[end:]


def _not_rtp(data: bytes) -> Punt:
    match classify(data):
        case PacketKind.STUN:
            return _STUN
        case PacketKind.DTLS:
            return _DTLS
        case _:
            return _NOT_RTP


class UserspaceForwarder:
    """All flows, and the verdict on each datagram.

    `spoken_elsewhere`: another data plane has heard the expected source of this port; `Flow.lock` holds then too.
    `shared`: the indices of an SRTP key that it uses, too. `heard_elsewhere`: the payload type of a source at a port.
    `arrived` is told of the flow when the first packet comes to a port in `awaited`, before it is judged.
    """

    def __init__(
        self,
        spoken_elsewhere: Callable[[Endpoint], bool] = _nowhere,
        shared: Shared | None = None,
        heard_elsewhere: Callable[[Endpoint, int], int | None] = _unheard,
        arrived: Callable[[Flow], None] = _untold,
    ) -> None:
        self.listening_quality = False
        """How a stream sounds is judged as by somebody who listens alone."""
        self._flows: dict[Endpoint, _State] = {}
        self._asleep: dict[Endpoint, Flow] = {}
        """Those for which nothing has come up yet: beside a kernel that forwards, nearly all."""
        self._contexts = SrtpContexts(shared)
        self._spoken_elsewhere = spoken_elsewhere
        self._heard_elsewhere = heard_elsewhere
        self._arrived = arrived
        self.awaited: set[Endpoint] = set()
        self._reasons: Counter[str] = Counter()
        self._moved: list[_State] = []

    @property
    def srtp(self) -> SrtpContexts:
        """The keys in use and how far each has been used."""
        return self._contexts

    def forward(
        self, local: Endpoint, data: bytes, source: Endpoint, now: float, already_forwarded: bool = False
    ) -> Verdict:
        """Judge a datagram received at `local`.

        `now` is CLOCK_MONOTONIC in seconds. `already_forwarded`: RTCP the kernel sent on, handed up to be read.
        """
        if local in self.awaited and (flow := self.flow(local)) is not None:
            self.awaited.remove(local)
            self._arrived(flow)
        state = self._flows.get(local) or self._wake(local)
        if state is None:
            return self._dropped(_NO_FLOW)
        size = len(data)
        if size < RTP_HEADER_LENGTH or data[0] & 0xC0 != 0x80 or 192 <= data[1] <= 223:
            return self._forward_other(state, data, source, now, already_forwarded)
        if source == state.expected:
            if state.srtp is None:
                state.spoken = True
        else:
            refusal = self._judge(state, source, data)
            if refusal is not None:
                return refusal
        if state.lane is None:
            refusal = self._look_for_lane(state, data)
            if refusal is not None:
                return refusal
        if state.srtp is not None:
            try:
                data = state.srtp.unprotect(data)
            except SrtpFault as fault:
                state.dropped += 1
                return self._dropped(Dropped(fault.label))
            if source == state.expected:
                state.spoken = True
        first, second, sequence, timestamp, ssrc = _unpack_header(data)
        payload_type = second & 0x7F
        clock = state.clocks.get(payload_type, 0)
        if clock < 0:
            state.dropped += 1
            return self._dropped(_PAYLOAD_TYPE)
        state.packets += 1
        state.bytes += size
        state.last_packet = now
        if not state.moved:
            self._note_moved(state)
        stream = state.streams.get(ssrc) or state.stream(ssrc)
        stream.update(sequence, timestamp, payload_type, size, now, clock)
        lane = state.lane or state.lane_for(payload_type, ssrc)
        if not lane.outputs:
            return self._dropped(_HOLD)
        if state.silence and payload_type in state.silence:
            data = silenced(data, state.silence[payload_type])
        lane.forwarded += 1
        lane.forwarded_bytes += size
        if lane.plain is not None:
            return Forwarded([(leaves, data, destination) for leaves, destination in lane.plain])
        payload = data[RTP_HEADER_LENGTH:]
        datagrams = []
        for known in lane.outputs.values():
            output = known.output
            header = _pack_header(
                first,
                second,
                (sequence + output.sequence_offset) & 0xFFFF,
                (timestamp + output.timestamp_offset) & 0xFFFFFFFF,
                ssrc if output.ssrc is None else output.ssrc,
            )
            packet = header + payload
            if known.srtp is not None:
                try:
                    packet = known.srtp.protect(packet)
                except SrtpFault:
                    known.errors += 1
                    known.packets -= 1
                    known.bytes -= size
                    continue
            datagrams.append((output.source, packet, output.destination))
        return Forwarded(datagrams)

    def pass_on(self, local: Endpoint, data: bytes, source: Endpoint, now: float) -> Forwarded:
        """A datagram that is no RTP, which the core has found to be the party's: it leaves as it is, and counts."""
        state = self._state(local)
        if state is None or state.lane is None:
            return Forwarded([])
        if source == state.expected:
            state.spoken = True
        state.packets += 1
        state.bytes += len(data)
        state.last_packet = now
        self._note_moved(state)
        state.lane.forwarded += 1
        state.lane.forwarded_bytes += len(data)
        return Forwarded([(leaves, data, known.output.destination) for leaves, known in state.lane.outputs.items()])

    def _look_for_lane(self, state: _State, data: bytes) -> Punt | Dropped | None:
        """The verdict on a packet whose lane is not known; nobody is asked about one that is not authentic."""
        ssrc = int.from_bytes(data[8:12])
        if state.lane_of.get(data[1] & 0x7F) != _SEVERAL or ssrc in state.source_lanes:
            return None
        if state.srtp is not None and not state.srtp.authentic(data):
            state.dropped += 1
            return self._dropped(_NOT_AUTHENTIC)
        return self._punted(state, _LANE)

    def _forward_other(
        self, state: _State, data: bytes, source: Endpoint, now: float, already_forwarded: bool
    ) -> Verdict:
        if len(data) < RTCP_HEADER_LENGTH or data[0] & 0xC0 != 0x80 or not 192 <= data[1] <= 223:
            return self._punted(state, _not_rtp(data))
        if already_forwarded:
            self._read_rtcp(state, data, now)
            return Forwarded([])
        if source != state.flow.rtcp_expected:
            refusal = self._judge(state, source, data)
            if refusal is not None:
                return refusal
        if state.srtp is not None:
            try:
                data = state.srtp.unprotect_rtcp(data)
            except SrtpFault as fault:
                state.dropped += 1
                return self._dropped(Dropped(fault.label))
        if source == state.flow.rtcp_expected:
            state.spoken = True
        state.packets += 1
        state.bytes += len(data)
        self._note_moved(state)
        state.rtcp_packets += 1
        state.rtcp_bytes += len(data)
        state.last_packet = now
        self._read_rtcp(state, data, now)
        if state.feedback:
            return Forwarded(self._feedback(state, data, now))
        if not state.rtcp_outputs:
            return self._dropped(_HOLD)
        try:
            return Forwarded(
                [
                    (output.source, self._rewrite(state, output, srtp, data), output.destination)
                    for output, srtp in self._concerned(state, int.from_bytes(data[4:8]))
                ]
            )
        except (MalformedMessage, SrtpFault):
            state.dropped += 1
            return self._dropped(_MALFORMED_RTCP)

    def _concerned(self, state: _State, sender: int) -> list[tuple[Output, SrtpContext | None]]:
        """Who gets RTCP of this SSRC: of a bundle only the receivers of its medium, where they know it by another name.
        What it says would be taken for the stream that has that name elsewhere.
        """
        receivers = list(state.rtcp_outputs.values())
        heard = self._heard(state, sender) if state.lane is None else None
        if heard is None:
            return receivers
        own = state.lane_for(heard, sender)
        others = [lane for lane in state.lanes.values() if lane is not own]
        names = {known.output.ssrc for lane in others for known in lane.outputs.values()} - {None}
        names -= {known.output.ssrc for known in own.outputs.values()}
        return [(output, srtp) for output, srtp in receivers if output.ssrc not in names]

    def _heard(self, state: _State, ssrc: int) -> int | None:
        """The payload type that a source was last heard to send; None: not known."""
        stream = state.streams.get(ssrc)
        return stream.payload_type if stream is not None else self._heard_elsewhere(state.flow.local, ssrc)

    def _feedback(self, state: _State, data: bytes, now: float) -> list[Datagram]:
        """A receiver's wish for a key frame, to the sources it has subscribed to; many receivers' wishes are one."""
        try:
            feedback = [packet for packet in rtcp.parse(data) if isinstance(packet, rtcp.Feedback)]
        except MalformedMessage:
            return []
        if not any(rtcp.picture_loss(packet) or rtcp.full_intra_requests(packet) for packet in feedback):
            return []
        datagrams = []
        for output, srtp in state.feedback:
            source = self._state(output.source)
            if source is None or source.sender is None or now - source.picture_requested < PICTURE_INTERVAL:
                continue
            source.picture_requested = now
            request = rtcp.build((rtcp.Feedback(PSFB, PLI, sender=feedback[0].sender, media=source.sender),))
            datagrams.append(
                (output.source, request if srtp is None else srtp.protect_rtcp(request), output.destination)
            )
        return datagrams

    def _judge(self, state: _State, source: Endpoint, data: bytes) -> Punt | Dropped | None:
        """The verdict on a packet that is not from the expected source; None: accepted all the same.

        Nobody is judged by a packet that is not authentic: the keys come before the source.
        """
        flow = state.flow
        if state.srtp is not None and not state.srtp.authentic(data):
            state.dropped += 1
            return self._dropped(_NOT_AUTHENTIC)
        if source == flow.signalled:
            return self._punted(state, _SIGNALLED_SOURCE)
        if flow.on_mismatch is Mismatch.ACCEPT:
            return None
        locked = flow.lock and (state.spoken or self._spoken_elsewhere(flow.local))
        if flow.on_mismatch is Mismatch.PUNT and not locked:
            return self._punted(state, _UNKNOWN_SOURCE)
        state.dropped += 1
        return self._dropped(_SOURCE_LOCKED if flow.on_mismatch is Mismatch.PUNT else _SOURCE_MISMATCH)

    def _note_moved(self, state: _State) -> None:
        if not state.moved:
            state.moved = True
            self._moved.append(state)

    def _dropped(self, verdict: Dropped) -> Dropped:
        self._reasons["drop_" + verdict.reason] += 1
        return verdict

    def _punted(self, state: _State, verdict: Punt) -> Punt:
        state.punted += 1
        self._reasons["punt_" + verdict.reason] += 1
        return verdict

    def _read_rtcp(self, state: _State, data: bytes, now: float) -> None:
        """Keep what the reports in a packet say; unreadable ones (encrypted, say) tell nothing and harm nothing."""
        try:
            packets = rtcp.parse(data)
        except MalformedMessage:
            return
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport):
                state.sender = packet.ssrc
                self._note_sender_report(state, packet, now)
            if isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport):
                for block in packet.blocks:
                    self._note_reception(state, packet.ssrc, block, now)

    def _note_sender_report(self, state: _State, report: rtcp.SenderReport, now: float) -> None:
        """Remember when the report went to each receiver, at the port where that receiver will answer it."""
        for output, _ in self._concerned(state, report.ssrc):
            answering = self._state(output.source)
            if answering is None:
                continue
            ssrc = report.ssrc if output.ssrc is None else output.ssrc
            if ssrc in answering.sender_reports or len(answering.sender_reports) < MAX_SSRCS:
                middle = report.ntp >> 16 & 0xFFFFFFFF
                answering.sender_reports[ssrc] = _Told(middle, now, state.flow.local, report.ssrc)

    def _note_reception(self, state: _State, receiver: int, block: rtcp.ReportBlock, now: float) -> None:
        if block.ssrc not in state.receptions and len(state.receptions) >= MAX_SSRCS:
            return
        told = state.sender_reports.get(block.ssrc)
        answered = told is not None and told.middle != 0 and told.middle == block.last_sender_report
        reception = state.receptions[block.ssrc] = Reception(
            fraction_lost=block.fraction_lost / 256,
            lost=block.lost,
            jitter=block.jitter,
            round_trip=max(0.0, now - told.when - block.delay_since_last / 65536) if told and answered else None,
            received=now,
        )
        if reception.round_trip is not None:
            state.leg = reception.round_trip
        if told is not None and (state.leg is not None or self.listening_quality):
            self._judge_hearing(state, receiver, told, reception, state.leg or 0.0)

    def _judge_hearing(self, state: _State, receiver: int, told: _Told, reception: Reception, leg: float) -> None:
        """How the stream sounds there; in a conversation nothing can be said of it while no round trip is known."""
        clock = self._clock(told)
        if clock <= 0 or clock == VIDEO_CLOCK or (receiver not in state.hearings and len(state.hearings) >= MAX_SSRCS):
            return
        sender = self._flows.get(told.heard_at)
        heard = Heard(
            at=reception.received,
            jitter=1e3 * reception.jitter / clock,
            loss=100 * reception.fraction_lost,
            leg=1e3 * leg,
            round_trip=1e3 * (leg + ((sender.leg if sender is not None else None) or 0.0)),
            listening=self.listening_quality,
        )
        state.hearings[receiver] = hearing(receiver, state.hearings.get(receiver), heard, reception.lost)

    def _clock(self, told: _Told) -> int:
        """The RTP clock of a stream, by what it was last heard to send; 0: not known."""
        # Where its RTCP came in, or at the port before (RFC 3550 section 11).
        for local in (told.heard_at, told.heard_at.with_port(told.heard_at.port & ~1)):
            state = self._flows.get(local)
            if state is not None:
                payload_type = self._heard(state, told.ssrc)
                if payload_type is not None:
                    return state.clocks.get(payload_type, 0)
        return 0

    def _rewrite(self, state: _State, output: Output, srtp: SrtpContext | None, data: bytes) -> bytes:
        """The packet as `output` shall see it: what the speaker's streams and the receiver's own are called there."""
        data = self._renamed(state, output, data)
        return data if srtp is None else srtp.protect_rtcp(data)

    def _renamed(self, state: _State, output: Output, data: bytes) -> bytes:
        targets: dict[int, rtcp.Target] = {}
        reverse = self._state(output.source)
        back, _ = reverse.rtcp_outputs.get(state.flow.local, (None, None)) if reverse is not None else (None, None)
        if reverse is not None and back is not None and back.ssrc is not None and reverse.sender is not None:
            targets[back.ssrc] = rtcp.Target(reverse.sender, back.sequence_offset)
        if output.ssrc is None and not output.timestamp_offset and not targets:
            return data
        return rtcp.rewrite(data, rtcp.Substitution(output.ssrc, output.timestamp_offset, targets))

    def send_failed(self, local: Endpoint, source: Endpoint, size: int) -> None:
        """The runtime could not send a datagram of the flow at `local` from `source`."""
        state = self._flows.get(local)
        lanes = state.lanes.values() if state is not None else ()
        known = next((lane.outputs[source] for lane in lanes if source in lane.outputs), None)
        if known is not None:
            known.errors += 1
            known.packets -= 1
            known.bytes -= size

    def apply(self, op: FlowOp) -> None:
        """Carry out one op. Raises BackendFault where it cannot be."""
        match op:
            case PutFlow(flow):
                self.put_flow(flow)
            case DropFlow(local):
                self.drop_flow(local)
            case PutOutput(local, output):
                self.put_output(local, output)
            case DropOutput(local, source, lane):
                self.drop_output(local, source, lane)
            case LockFlow(local):
                self.lock(local)

    def put_flow(self, flow: Flow) -> None:
        if len(flow.outputs) + len(flow.rtcp_outputs) > MAX_OUTPUTS:
            by_lane = Counter(output.lane for output in flow.outputs)
            self._check_outputs(flow.local, max((len(flow.rtcp_outputs), *by_lane.values())))
        state = self._flows.get(flow.local)
        if state is not None:
            state.install(flow, self._contexts)
            return
        self._asleep[flow.local] = flow
        if _keyed(flow):
            self._wake(flow.local)

    def drop_flow(self, local: Endpoint) -> None:
        self._flows.pop(local, None)
        self._asleep.pop(local, None)
        self.awaited.discard(local)

    def put_output(self, local: Endpoint, output: Output) -> None:
        state = self._state(local)
        if state is None:
            raise BackendFault(f"no flow at {local} to add an output to")
        if (output.lane is None) != (state.lane is not None):
            raise BackendFault(f"an output of lane {output.lane} does not fit to the others at {local}")
        lane = state.lanes.get(output.lane, _NO_LANE)
        self._check_outputs(local, len(lane.outputs.keys() | {output.source}))
        state.put_output(output, self._contexts)

    def drop_output(self, local: Endpoint, source: Endpoint, lane: int | None) -> None:
        state = self._state(local)
        if state is not None:
            state.drop_output(source, lane)

    def lock(self, local: Endpoint) -> None:
        """The expected source has spoken."""
        state = self._state(local)
        if state is not None:
            state.spoken = True

    def _check_outputs(self, local: Endpoint, count: int) -> None:
        if count > MAX_OUTPUTS:
            raise BackendFault(f"{count} outputs at {local}, at most {MAX_OUTPUTS} are possible")

    def _state(self, local: Endpoint) -> _State | None:
        return self._flows.get(local) or self._wake(local)

    def _wake(self, local: Endpoint) -> _State | None:
        flow = self._asleep.pop(local, None)
        if flow is None:
            return None
        state = self._flows[local] = _State(flow, self._contexts)
        return state

    def table(self) -> FlowTable:
        return self._asleep | {local: state.flow for local, state in self._flows.items()}

    def flow(self, local: Endpoint) -> Flow | None:
        state = self._flows.get(local)
        return self._asleep.get(local) if state is None else state.flow

    def report(self, local: Endpoint) -> FlowReport | None:
        state = self._state(local)
        return None if state is None else state.report()

    def summary(self, local: Endpoint) -> FlowReport | None:
        """The report without single sources and outputs; None where nothing has come this way yet."""
        state = self._flows.get(local)
        if state is None or not (state.packets or state.dropped or state.punted or state.hearings):
            return None
        return state.summary()

    def moved(self) -> list[Endpoint]:
        """The flows whose packet count has changed since the last call."""
        moved, self._moved = self._moved, []
        for state in moved:
            state.moved = False
        return [state.flow.local for state in moved if self._flows.get(state.flow.local) is state]

    def receptions(self, local: Endpoint) -> Mapping[int, Reception]:
        """What the party behind `local` last reported on each stream it receives."""
        state = self._flows.get(local)
        return {} if state is None else state.receptions

    def counters(self) -> dict[str, int]:
        return dict(self._reasons)
