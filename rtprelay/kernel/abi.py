"""The kernel ABI as Python likes it: the generated structures, and the few conversions every kernel backend needs.

Maps, all shared by the programs, named as in ebpf/lib:

    rtprelay_abi     ARRAY[1]             Abi: who finds the set pinned compares it with `expected_abi()`
    rtprelay_ports   ARRAY, mmap          local port -> where its flow is  userspace writes: see flowmap.py
    rtprelay_flows   ARRAY, mmap          index -> Flow                    userspace writes
    rtprelay_rules   ARRAY, mmap          the same index -> Rules          userspace writes
    rtprelay_output  ARRAY, mmap          index -> Output                  userspace writes
    rtprelay_groups  ARRAY_OF_MAPS        index -> devmap of GroupEntry    userspace writes
    rtprelay_devices DEVMAP_HASH          ifindex -> GroupEntry            userspace writes
    rtprelay_state   ARRAY, mmap          Flow.slot -> State               programs write, userspace zeroes
    rtprelay_aside   ARRAY, mmap          Flow.slot -> Aside               programs write, userspace zeroes
    rtprelay_wrap    ARRAY, mmap          the same index -> Wrap           userspace writes
    rtprelay_sent    ARRAY, mmap          index of an Output -> Sent       programs write, userspace zeroes
    rtprelay_unsent  ARRAY, mmap          the same index -> u64, errors    programs write, userspace zeroes
    rtprelay_ssrcs   HASH                 SsrcKey -> Source                programs make, userspace deletes
    rtprelay_lanes   HASH                 SsrcKey -> number of a lane      userspace writes
    rtprelay_srtp_keys HASH               place of a key -> srtp key       userspace writes: see keyring.py
    rtprelay_srtp_state ARRAY, mmap       the same place -> SrtpState      programs write, userspace zeroes and starts
    rtprelay_srtp_streams HASH            SrtpStreamKey -> SrtpStream      programs make, userspace starts and deletes
    rtprelay_counts  PERCPU_ARRAY         Reason, or COUNTER_BASE + Counter -> u64
    rtprelay_homes   HASH                 local address -> its number      userspace writes: see steer.py
    rtprelay_held    ARRAY, mmap          this number -> SteerHeld         userspace writes
    rtprelay_queues  SOCKMAP              number of a queue -> its socket  userspace writes
    rtprelay_serial, rtprelay_cursor      private to the broadcast, see ebpf/lib/broadcast.h
"""

from __future__ import annotations

import ctypes
import functools

from rtprelay.kernel._abi import (
    COUNTER_TEXT,
    LAYOUT,
    REASON_ACTION,
    REASON_TEXT,
    Abi,
    Aside,
    Counter,
    Endpoint,
    Flow,
    FlowFlag,
    GroupEntry,
    Limits,
    Mismatch,
    Output,
    OutputFlag,
    PayloadRule,
    PuntClass,
    Reason,
    Rules,
    Sent,
    Source,
    SrtpClaim,
    SrtpState,
    SrtpStream,
    SrtpStreamKey,
    Ssrc,
    SsrcKey,
    State,
    SteerHeld,
    Wrap,
)
from rtprelay.values import Endpoint as Address
from rtprelay.values import canonical_address

__all__ = [
    "COUNTER_TEXT",
    "LAYOUT",
    "NONE",
    "NO_GROUP",
    "NO_PAYLOAD_TYPE",
    "REASON_ACTION",
    "REASON_TEXT",
    "Abi",
    "Aside",
    "Counter",
    "Endpoint",
    "Flow",
    "FlowFlag",
    "GroupEntry",
    "Limits",
    "Mismatch",
    "Output",
    "OutputFlag",
    "PayloadRule",
    "PuntClass",
    "Reason",
    "Rules",
    "Sent",
    "Source",
    "SrtpClaim",
    "SrtpState",
    "SrtpStream",
    "SrtpStreamKey",
    "Ssrc",
    "SsrcKey",
    "State",
    "SteerHeld",
    "Wrap",
    "address",
    "address_bytes",
    "address_of",
    "count_names",
    "endpoint",
    "expected_abi",
    "first_source",
    "jitter_seconds",
    "lost",
    "offset_of",
    "tick",
]

NONE = int(Limits.NONE)
NO_GROUP = int(Limits.NO_GROUP)
NO_PAYLOAD_TYPE = 255
"""As Flow.usual_type: every payload type is looked up."""

_ADDRESS = ctypes.c_uint8 * 16


def endpoint(value: Address | None) -> Endpoint:
    """As the maps have it; None becomes all zero."""
    if value is None:
        return Endpoint()
    return Endpoint((ctypes.c_uint8 * 16).from_buffer_copy(value.packed), value.port)


def address(value: Endpoint) -> Address | None:
    """The way back."""
    return address_of(value.address, value.port)


def address_bytes(value: Address | None) -> ctypes.Array[ctypes.c_uint8]:
    """The address alone, as flows and outputs have it beside the port."""
    return _ADDRESS.from_buffer_copy(value.packed) if value is not None else _ADDRESS()


def address_of(raw: ctypes.Array[ctypes.c_uint8], port: int) -> Address | None:
    """The way back."""
    packed = bytes(raw)
    if not port and not any(packed):
        return None
    return Address(_spelled(packed), port)


@functools.lru_cache(maxsize=65536)
def _spelled(packed: bytes) -> str:
    """Many ports have few addresses."""
    return canonical_address(packed.hex(":", 2))


def offset_of(structure: type[ctypes.Structure], member: str) -> int:
    """Bytes from the start of the structure."""
    return int(getattr(structure, member).offset)


def tick(clock_rate: int) -> int:
    """An entry of Flow.clocks: the length of one RTP tick; 0 where the rate is unknown (0) or beyond measure."""
    if clock_rate <= 0:
        return 0
    ticks = round((1_000_000_000 << Limits.CLOCK_SHIFT) / clock_rate)
    return ticks if ticks < 1 << 32 else 0


def first_source(state: State, aside: Aside) -> Source | None:
    """What a flow knows of its first source, as of the further ones; None: nobody has spoken."""
    if not state.ssrc.window[0]:
        return None
    source = Source(state.ssrc, aside.past)
    source.ssrc.packets -= aside.rtcp_packets + aside.further_packets
    source.ssrc.bytes -= aside.rtcp_bytes + aside.further_bytes
    return source


def lost(source: Source) -> int:
    """RFC 3550 appendix A.3: expected less received; negative where duplicates outweigh losses."""
    ssrc = source.ssrc
    return ssrc.highest - source.past.base + 1 - ssrc.packets if ssrc.window[0] else 0


def jitter_seconds(source: Source) -> float:
    return source.ssrc.jitter * 2.0 ** (Limits.TRANSIT_SHIFT - Limits.JITTER_SHIFT) / 1e9


def expected_abi() -> Abi:
    """What the `rtprelay_abi` map of a set of maps holds that this program can work with."""
    return Abi(Limits.ABI_VERSION, ctypes.sizeof(Flow), ctypes.sizeof(Output), ctypes.sizeof(State))


def count_names() -> dict[int, str]:
    """Index into rtprelay_counts -> name, as in `punt_stun`, `drop_hold`, `xdp_forwarded`."""
    names = {int(reason): f"{REASON_ACTION[reason]}_{reason.name.lower()}" for reason in Reason}
    names |= {Limits.COUNTER_BASE + counter: counter.name.lower() for counter in Counter}
    return names
