"""Flows and outputs as the maps hold them (`ebpf/include/rtprelay/abi.h`), and back."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from rtprelay.kernel import abi
from rtprelay.kernel.nexthop import NextHop, Path
from rtprelay.kernel.slots import order_of
from rtprelay.kernel.srtp_keys import fits, trailer_length
from rtprelay.plan.flow import Flow, LaneSource, Mismatch, Output, PayloadRule
from rtprelay.security.srtp import SrtpParameters
from rtprelay.values import Endpoint, Family

_MAX_MTU = 0xFFFF
_IP6_GROWTH = 20
_TICKS_PER_SECOND = 1_000_000_000 << abi.Limits.CLOCK_SHIFT

# Plain numbers: the operators of enum classes are methods in Python, 0.5 us each, and these run for every output.
_PRESENT, _READY, _LOCAL = int(abi.OutputFlag.PRESENT), int(abi.OutputFlag.READY), int(abi.OutputFlag.LOCAL)
_SSRC, _KEYED, _IP6 = int(abi.OutputFlag.SSRC), int(abi.OutputFlag.SRTP), int(abi.OutputFlag.IP6)
_XDP, _LOCK, _SRTP = int(abi.FlowFlag.XDP), int(abi.FlowFlag.LOCK), int(abi.FlowFlag.SRTP)
_SRTP_OUT, _LANED = int(abi.FlowFlag.SRTP_OUT), int(abi.FlowFlag.LANED)
_SILENCED = int(abi.FlowFlag.SILENCED)
_CLOCK_MASK, _LISTED = int(abi.PayloadRule.CLOCK_MASK), int(abi.PayloadRule.LISTED)
_DROP, _SILENCE_MASK = int(abi.PayloadRule.DROP), int(abi.PayloadRule.SILENCE_MASK)
_SILENCE_SHIFT, _SILENCES = int(abi.Limits.SILENCE_SHIFT), int(abi.Limits.SILENCES)
_BY_SSRC = int(abi.Limits.LANE_BY_SSRC)
_LANES, _PAYLOAD_TYPES = int(abi.Limits.MAX_LANES), int(abi.Limits.PAYLOAD_TYPES)


class Range(msgspec.Struct, frozen=True, gc=False):
    """Places of the output array: a block just large enough for `count` outputs and holes."""

    base: int = 0
    count: int = 0

    @property
    def order(self) -> int:
        return order_of(self.count)


NOWHERE = Range()


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where the kernel keeps what belongs to a flow."""

    slot: int
    generation: int
    outputs: Range = NOWHERE
    rtcp: Range = NOWHERE
    group: int = abi.NO_GROUP
    srtp_in: int = abi.NONE


_CODES: dict[object, str] = {ctypes.c_uint8: "B", ctypes.c_uint16: "H", ctypes.c_uint32: "I"}


def _packer(structure: type[ctypes.Structure], *members: str) -> struct.Struct:
    """Packs the named members of the structure, in the order they have there; the others are zero.

    Numbers are given as such, in all else the bytes: addresses, ports (big-endian), arrays. Filling a ctypes structure
    and copying it out costs four times as much.
    """
    places = [name for name, *_ in structure._fields_]
    if sorted(members, key=places.index) != list(members):
        raise ValueError(f"members of {structure.__name__} in another order")
    codes = [
        _CODES.get(kind, f"{ctypes.sizeof(kind)}s") if name in members else f"{ctypes.sizeof(kind)}x"
        for name, kind, *_ in structure._fields_
    ]
    return struct.Struct("=" + "".join(codes))


_FLOW = _packer(
    abi.Flow,
    *("local", "expected", "local_port", "expected_port", "slot", "output_base", "output_count", "generation"),
    *("flags", "on_mismatch", "mtu", "usual_type", "group", "usual_clock"),
)
_RULES = _packer(
    abi.Rules,
    *("rtcp_expected", "signalled", "rtcp_output", "rtcp_base", "rtcp_count", "srtp_in"),
    *("clocks", "silences", "payload"),
)
_OUTPUT = _packer(
    abi.Output,
    *("source", "destination", "source_port", "destination_port", "destination_mac", "source_mac", "ifindex", "ssrc"),
    *("timestamp_offset", "sequence_offset", "tos", "flags"),
)
_WRAP = _packer(abi.Wrap, "srtp_out")
_FLAGS_AT = abi.offset_of(abi.Output, "flags")
_NO_PORT, _NO_MAC = bytes(2), bytes(6)
_NO_ENDPOINT = bytes(ctypes.sizeof(abi.Endpoint))


def _port(value: Endpoint) -> bytes:
    return value.port.to_bytes(2, "big")


def _endpoint(value: Endpoint | None) -> bytes:
    """struct rtprelay_endpoint."""
    return value.packed + _port(value) + _NO_PORT if value is not None else _NO_ENDPOINT


def path_of(output: Output) -> Path:
    """The pair of addresses that decides the way of its packets."""
    return raw_address(output.source.address), raw_address(output.destination.address)


@functools.lru_cache(maxsize=65536)
def raw_address(address: str) -> bytes:
    """4 or 16 bytes, as netlink has it. Raises ValueError."""
    value = Endpoint.parse(address, 0)
    return value.packed[12:] if value.family is Family.IP4 else value.packed


def output_fits(output: Output) -> bool:
    """Whether the maps can say all of it; where not, its flow is one for userspace."""
    return (output.srtp is None or fits(output.srtp)) and (output.lane is None or output.lane < _LANES)


_NO_LANES = (None,)
_NO_LANE = frozenset(_NO_LANES)


def flow_fits(flow: Flow) -> bool:
    """The same for a flow."""
    if flow.userspace or flow.feedback or (flow.srtp is not None and not fits(flow.srtp)):
        return False
    for output in flow.outputs:
        if not output_fits(output):
            return False
    for output in flow.rtcp_outputs:
        if not output_fits(output):
            return False
    return _rules_fit(flow.payloads) and _lanes_fit(flow)


@functools.lru_cache(maxsize=1024)
def _rules_fit(rules: tuple[PayloadRule, ...]) -> bool:
    return len({rule.silence for rule in rules if rule.silence is not None}) < _SILENCES


def _lanes_fit(flow: Flow) -> bool:
    lanes = lanes_of(flow.payloads, flow.outputs)
    return lanes is _NO_LANES or all(lane is not None and lane < _LANES for lane in lanes)


def lanes_of(rules: tuple[PayloadRule, ...], outputs: Iterable[Output]) -> tuple[int | None, ...]:
    """The lanes of a flow in their order, (None,) where it has none."""
    lanes = _lanes_of_rules(rules)
    for output in outputs:
        if output.lane not in lanes:
            lanes = lanes.union([output.lane for output in outputs])
            break
    if lanes <= _NO_LANE:
        return _NO_LANES
    return tuple(sorted(lanes, key=lambda lane: -1 if lane is None else lane))


@functools.lru_cache(maxsize=1024)
def _lanes_of_rules(rules: tuple[PayloadRule, ...]) -> frozenset[int | None]:
    return frozenset(rule.lane for rule in rules)


def way_of(family: Family, output: Output, hop: NextHop) -> tuple[int, bool]:
    """The MTU of packets as they come in, of this family, and whether XDP can serve the output.

    From IPv4 to IPv6, or when protected, they grow on the way. XDP changes neither the length of a header nor what
    cannot take its frames.
    """
    there, mtu = output.destination.family, hop.mtu
    if output.srtp is not None:
        mtu -= trailer_length(output.srtp)
    if there is family:
        return mtu, hop.transmit and hop.mac is not None
    return mtu - (_IP6_GROWTH if there is Family.IP6 else 0), False


def output_entry(output: Output, hop: NextHop, srtp_out: int = abi.NONE) -> bytes:
    """An output, and behind it what it is wrapped in where it is in something."""
    flags = _PRESENT if output.destination.family is Family.IP4 else _PRESENT | _IP6
    if hop.local:
        flags |= _LOCAL
    elif hop.mac is not None:
        flags |= _READY
    if output.ssrc is not None:
        flags |= _SSRC
    if srtp_out != abi.NONE:
        flags |= _KEYED
    source, destination = output.source, output.destination
    entry = _OUTPUT.pack(
        source.packed,
        destination.packed,
        _port(source),
        _port(destination),
        hop.mac or _NO_MAC,
        hop.source_mac,
        hop.index,
        output.ssrc or 0,
        output.timestamp_offset & 0xFFFFFFFF,
        output.sequence_offset & 0xFFFF,
        output.tos,
        flags,
    )
    return entry if srtp_out == abi.NONE else entry + _WRAP.pack(srtp_out)


def is_wrapped(entry: bytes) -> bool:
    """Whether something belongs behind it."""
    return bool(entry[_FLAGS_AT] & _KEYED)


def without(entry: bytes, flag: abi.OutputFlag) -> bytes:
    """The same entry with a flag cleared and nothing else touched: half-written it is no nonsense either.

    Without PRESENT it is a hole: copies for it may still be on their way to its device.
    """
    changed = abi.Output.from_buffer_copy(entry)
    changed.flags &= ~flag
    return bytes(changed) + entry[_OUTPUT.size :]


def ifindex_of(entry: bytes) -> int:
    """The output's device."""
    return int(abi.Output.from_buffer_copy(entry).ifindex)


def srtp_out_of(entry: bytes) -> int:
    """The place of the output's key."""
    return int(abi.Wrap.from_buffer_copy(entry, _OUTPUT.size).srtp_out) if is_wrapped(entry) else abi.NONE


def output_of(entry: bytes, lane: int | None = None, srtp: SrtpParameters | None = None) -> Output | None:
    """The way back; None for a hole. `lane`: of the block it is in, `srtp`: the key at its place."""
    raw = abi.Output.from_buffer_copy(entry)
    source = abi.address_of(raw.source, raw.source_port)
    destination = abi.address_of(raw.destination, raw.destination_port)
    if not raw.flags & _PRESENT or source is None or destination is None:
        return None
    return Output(
        source=source,
        destination=destination,
        ssrc=raw.ssrc if raw.flags & _SSRC else None,
        sequence_offset=raw.sequence_offset,
        timestamp_offset=raw.timestamp_offset,
        tos=raw.tos,
        lane=lane,
        srtp=srtp,
    )


Entry = tuple[bytes, bytes]
"""A flow and its rules."""


def flow_entry(
    flow: Flow,
    outputs: Sequence[Output],
    place: Place,
    mtu: int,
    xdp: bool,
    kernel_rtcp: bool = False,
    lane: int | None = None,
) -> Entry:
    """A flow, or one lane of it. `outputs`: those there are now; `mtu`: the smallest of theirs; `xdp`: XDP can serve
    all of them; `kernel_rtcp`: RTCP needs no rewriting.
    """
    rules = flow.payloads
    table = payload_table(rules if lane is None else tuple(rule for rule in rules if rule.lane == lane))
    flags = _XDP if xdp else 0
    for output in outputs:
        if output.srtp is not None:
            flags |= _SRTP_OUT
            break
    if table.silenced:
        flags |= _SILENCED
    return _entry(flow, place, table, mtu, flags, kernel_rtcp)


def bundle_entry(flow: Flow, place: Place, xdp: bool, kernel_rtcp: bool) -> Entry:
    """The flow that leads to its lanes. `xdp`: XDP can serve one of them."""
    return _entry(flow, place, _lane_table(flow.payloads), _MAX_MTU, _LANED | (_XDP if xdp else 0), kernel_rtcp)


def _entry(flow: Flow, place: Place, table: PayloadTable, mtu: int, flags: int, kernel_rtcp: bool) -> Entry:
    flags |= (_LOCK if flow.lock else 0) | (_SRTP if flow.srtp is not None else 0)
    local = flow.local
    nobody = _NO_ENDPOINT
    expected = nobody if flow.expected is None else _endpoint(flow.expected)
    entry = _FLOW.pack(
        local.packed,
        expected[:16],
        _port(local),
        expected[16:18],
        place.slot,
        place.outputs.base,
        place.outputs.count,
        place.generation,
        flags,
        flow.on_mismatch,
        min(mtu, _MAX_MTU),
        table.usual_type,
        place.group,
        table.usual_clock,
    )
    rules = _RULES.pack(
        expected if flow.rtcp_expected is flow.expected else _endpoint(flow.rtcp_expected),
        nobody if flow.signalled is None else _endpoint(flow.signalled),
        place.rtcp.base if kernel_rtcp else abi.NONE,
        place.rtcp.base,
        place.rtcp.count,
        place.srtp_in,
        table.clocks,
        table.silences,
        table.payload,
    )
    return entry, rules


def is_bundle(entry: abi.Flow) -> bool:
    return bool(entry.flags & _LANED)


_CLOCKS = ctypes.c_uint32 * abi.Limits.CLOCKS


class PayloadTable(NamedTuple):
    """What a flow's payload rules are to the kernel."""

    clocks: bytes
    silences: bytes
    payload: bytes
    silenced: bool
    usual_type: int
    """The payload type of nearly all packets, as far as one can tell beforehand: the preferred one."""
    usual_clock: int


@functools.lru_cache(maxsize=1024)
def payload_table(rules: tuple[PayloadRule, ...]) -> PayloadTable:
    """Rates beyond the seventh are left unknown: no jitter, nothing else."""
    ticks = [0]
    silences = [0, *dict.fromkeys(rule.silence for rule in rules if rule.silence is not None)]
    payload = bytearray(_PAYLOAD_TYPES)
    for rule in rules:
        tick = abi.tick(rule.clock_rate)
        if tick not in ticks and len(ticks) < abi.Limits.CLOCKS:
            ticks.append(tick)
        index = ticks.index(tick) if tick in ticks else 0
        payload[rule.payload_type] = index | _LISTED | (_DROP if rule.drop else 0)
        if rule.silence is not None:
            payload[rule.payload_type] |= silences.index(rule.silence, 1) << _SILENCE_SHIFT
    ticks += [0] * (abi.Limits.CLOCKS - len(ticks))
    usual = next((rule for rule in rules if not rule.drop), None)
    return PayloadTable(
        bytes(_CLOCKS(*ticks)),
        bytes(silences).ljust(_SILENCES, b"\0"),
        bytes(payload),
        len(silences) > 1,
        usual.payload_type if usual is not None else abi.NO_PAYLOAD_TYPE,
        abi.tick(usual.clock_rate) if usual is not None else 0,
    )


@functools.lru_cache(maxsize=1024)
def _lane_table(rules: tuple[PayloadRule, ...]) -> PayloadTable:
    """Which lane a payload type belongs to."""
    payload = bytearray(_PAYLOAD_TYPES)
    for rule in rules:
        number = rule.lane + 1 if rule.lane is not None else 0
        payload[rule.payload_type] = _BY_SSRC if payload[rule.payload_type] else number
    return PayloadTable(bytes(_CLOCKS()), bytes(_SILENCES), bytes(payload), False, abi.NO_PAYLOAD_TYPE, 0)


@functools.lru_cache(maxsize=1024)
def _payload_rules(clocks: bytes, silences: bytes, payload: bytes, lane: int | None) -> tuple[PayloadRule, ...]:
    rates = [round(_TICKS_PER_SECOND / tick) if tick else 0 for tick in _CLOCKS.from_buffer_copy(clocks)]
    return tuple(
        PayloadRule(
            number,
            rates[rule & _CLOCK_MASK],
            bool(rule & _DROP),
            silences[(rule & _SILENCE_MASK) >> _SILENCE_SHIFT] if rule & _SILENCE_MASK else None,
            lane,
        )
        for number, rule in enumerate(payload)
        if rule & _LISTED
    )


def payload_rules(rules: abi.Rules, lane: int | None = None) -> tuple[PayloadRule, ...]:
    """The way back, of a flow or one lane of it."""
    return _payload_rules(bytes(rules.clocks), bytes(rules.silences), bytes(rules.payload), lane)


def flow_of(
    local: Endpoint,
    entry: abi.Flow,
    rules: abi.Rules,
    payloads: tuple[PayloadRule, ...],
    outputs: tuple[Output, ...],
    rtcp_outputs: tuple[Output, ...],
    srtp: SrtpParameters | None = None,
    lane_sources: tuple[LaneSource, ...] = (),
) -> Flow:
    """The way back."""
    return Flow(
        local=local,
        expected=abi.address_of(entry.expected, entry.expected_port) if entry.expected_port else None,
        signalled=abi.address(rules.signalled),
        rtcp_expected=abi.address(rules.rtcp_expected),
        on_mismatch=Mismatch(entry.on_mismatch),
        lock=bool(entry.flags & _LOCK),
        payloads=payloads,
        lane_sources=lane_sources,
        outputs=outputs,
        rtcp_outputs=rtcp_outputs,
        srtp=srtp,
    )
