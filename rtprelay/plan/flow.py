"""The data plane's desired state: what enters at each local port and where it goes.

A `FlowTable` is a plain mapping from local endpoint to `Flow`. Backends are given `FlowOp`s (the difference between two
tables) and report back `FlowReport`s; both are values, so that every backend can be driven by the same tests.

Theory of operation of one flow, in the order a packet meets it (all backends do the same):

1. The packet's destination is `Flow.local`; no flow there: not ours.
2. STUN and DTLS (RFC 7983 first byte 0..3, 20..63) and anything else that is not RTP version 2: PUNT.
3. RTCP (RFC 5761: packet type 192..223) is told from RTP whatever the port.
4. Source check. `expected`: accepted. Otherwise `on_mismatch`: ACCEPT: accepted as it is (media handover, asymmetric);
   PUNT: up to the core, to be judged (learning) — but once `expected` itself has spoken and `lock` is set, DROP; DROP:
   dropped and counted. `signalled`, when it differs from `expected`, is always punted: the address the SDP named beats
   a learned one. `expected` None: nothing is accepted, `on_mismatch` decides. RTCP is checked against `rtcp_expected`
   in the same way. SRTP (`srtp`): index guess, replay check, authentication, decryption, in this order (RFC 3711
   section 3.3), before anything is learned, counted as accepted, or changed. RTCP likewise.
5. A payload type with a `drop` rule is dropped; an unknown one is forwarded, without jitter.
6. Statistics per SSRC: packets, bytes, loss, reordering, duplicates, RFC 3550 jitter.
7. Each of `outputs` gets a copy of RTP, rewritten. RTCP goes to `rtcp_outputs`; with one output and no SSRC rewriting
   the kernel may forward it itself, and always hands a copy up to be read. No outputs: counted, then dropped (hold).
   At a port that bundles media which go different ways (RFC 9143), rules and outputs are of lanes: a packet goes to the
   outputs of its payload type's lane. Where several lanes have the type, the SSRC decides; one that is not among
   `lane_sources` is punted, once it has been found authentic.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from rtprelay.plan.quality import Hearing
from rtprelay.security.srtp import SrtpParameters
from rtprelay.values import Counts, Endpoint


class Mismatch(enum.IntEnum):
    """What becomes of a packet whose source is not the expected one."""

    DROP = 0
    PUNT = 1
    ACCEPT = 2


class PayloadRule(msgspec.Struct, frozen=True, array_like=True, cache_hash=True, gc=False):
    """What is known of one payload type: its RTP clock (Hz, 0 unknown) and whether it is dropped."""

    payload_type: int
    clock_rate: int
    drop: bool = False
    silence: int | None = None
    """The payload is overwritten with this byte: what the codec plays as silence."""
    lane: int | None = None
    """Of a bundled port: only outputs of this lane get it. None: all of the flow's rules and outputs are of none."""


class LaneSource(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which lane a source is of, where several have its payload types."""

    ssrc: int
    lane: int


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One copy of a packet: leaves from the local endpoint `source` (unique in its lane) to `destination`.

    `ssrc` None keeps the sender's SSRC, otherwise it is substituted (also in RTCP, by userspace).
    `sequence_offset` (mod 2^16) and `timestamp_offset` (mod 2^32) are added. `tos` is the IP TOS / traffic class byte.
    """

    source: Endpoint
    destination: Endpoint
    ssrc: int | None = None
    sequence_offset: int = 0
    timestamp_offset: int = 0
    tos: int = 0
    lane: int | None = None
    """Of a bundled port: only payload types of this lane are copied; None: all."""
    srtp: SrtpParameters | None = None
    """The copy is protected with these keys; None: it leaves as it is."""

    @property
    def key(self) -> OutputKey:
        """Which output of its flow it is."""
        return self.source, self.lane


OutputKey = tuple[Endpoint, int | None]
"""Where an output leaves from, and its lane."""


class Flow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything a data plane needs to know of one local port. See the module text for the semantics."""

    local: Endpoint
    expected: Endpoint | None
    signalled: Endpoint | None = None
    rtcp_expected: Endpoint | None = None
    on_mismatch: Mismatch = Mismatch.DROP
    lock: bool = True
    payloads: tuple[PayloadRule, ...] = ()
    outputs: tuple[Output, ...] = ()
    rtcp_outputs: tuple[Output, ...] = ()
    srtp: SrtpParameters | None = None
    """What comes in is protected with these keys, and nothing that fails to authenticate is accepted; None: it is taken
    as it is.
    """
    userspace: bool = False
    """The kernel hands every packet up: it lacks something this flow needs."""
    lane_sources: tuple[LaneSource, ...] = ()
    feedback: tuple[Output, ...] = ()
    """Where a receiver's requests for a key frame (PLI, FIR; RFC 4585, RFC 5104) go: to the sources it subscribed to.
    """

    @property
    def barren(self) -> bool:
        """Nothing is forwarded: nobody is expected here, or nobody would get it."""
        if self.expected is None and self.rtcp_expected is None and self.on_mismatch is not Mismatch.ACCEPT:
            return True
        return not (self.outputs or self.rtcp_outputs or self.feedback)


FlowTable = Mapping[Endpoint, Flow]


class PutFlow(msgspec.Struct, frozen=True, tag="put_flow", gc=False):
    """Install the flow or replace the one at its local port, outputs included; counters and SSRC state of the port go
    on.
    """

    flow: Flow


class DropFlow(msgspec.Struct, frozen=True, tag="drop_flow", gc=False):
    """Remove the flow at `local`; unknown: nothing happens."""

    local: Endpoint


class PutOutput(msgspec.Struct, frozen=True, tag="put_output", gc=False):
    """Add one RTP output to an installed flow, or replace the one with the same `source` and lane; the others are not
    touched.
    """

    local: Endpoint
    output: Output


class DropOutput(msgspec.Struct, frozen=True, tag="drop_output", gc=False):
    """Take the RTP output that leaves from `source`, of this lane, off an installed flow."""

    local: Endpoint
    source: Endpoint
    lane: int | None = None


class LockFlow(msgspec.Struct, frozen=True, tag="lock_flow", gc=False):
    """The flow's expected source has spoken, though this data plane may not have heard it; unknown: nothing happens."""

    local: Endpoint


FlowOp = PutFlow | DropFlow | PutOutput | DropOutput | LockFlow


class SsrcReport(msgspec.Struct, frozen=True, gc=False):
    """RTP statistics of one SSRC at one port (RFC 3550 section 6.4.1 and appendix A)."""

    ssrc: int
    packets: int
    bytes: int
    highest_sequence: int
    """Extended: cycles << 16 | sequence."""
    lost: int
    """Cumulative, may be negative with duplicates."""
    reordered: int
    duplicates: int
    jitter: float
    """Seconds."""
    last_timestamp: int
    payload_type: int


class OutputReport(msgspec.Struct, frozen=True, gc=False):
    """What has left from one local endpoint, by whatever lane."""

    source: Endpoint
    packets: int
    bytes: int
    errors: int


class FlowReport(msgspec.Struct, frozen=True, gc=False):
    """Counters of one flow since it was first installed, whichever path forwarded (kernel + userspace).

    packets/bytes count accepted RTP and RTCP with UDP payload bytes; `dropped` those refused; `punted` those handed up.
    `last_packet` is in seconds of CLOCK_MONOTONIC, 0.0 when none came. `spoken`: the expected source has sent since it
    became the expected source.
    """

    local: Endpoint
    packets: int
    bytes: int
    dropped: int
    punted: int
    rtcp_packets: int
    rtcp_bytes: int
    last_packet: float
    spoken: bool
    kernel_packets: int = 0
    kernel_bytes: int = 0
    in_kernel: bool = False
    ssrcs: tuple[SsrcReport, ...] = ()
    outputs: tuple[OutputReport, ...] = ()
    hearings: tuple[Hearing, ...] = ()
    """What the party here has reported of what it hears."""

    def received(self) -> tuple[Counts, Counts]:
        """RTP, or what else is media here, and RTCP; where nothing else has come, RTCP is what was refused as well."""
        of_rtcp = self.dropped if self.packets == self.rtcp_packets > 0 else 0
        media = Counts(self.packets - self.rtcp_packets, self.bytes - self.rtcp_bytes, self.dropped - of_rtcp)
        return media, Counts(self.rtcp_packets, self.rtcp_bytes, of_rtcp)


class Capabilities(msgspec.Struct, frozen=True):
    """What a backend can do; the planner chooses from it."""

    name: str
    max_outputs: int = 256
    in_kernel: bool = False
    srtp_suites: frozenset[str] = frozenset()
