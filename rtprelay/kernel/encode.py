"""Flows and outputs as the maps hold them (`ebpf/include/rtprelay/abi.h`), and back."""

from __future__ import annotations

import ctypes
import functools

import msgspec

from rtprelay.kernel import abi
from rtprelay.kernel.nexthop import NextHop, Path
from rtprelay.kernel.slots import order_of
from rtprelay.plan.flow import Flow, Mismatch, Output, PayloadRule
from rtprelay.values import Endpoint, Family

_MAX_MTU = 0xFFFF
_IP6_GROWTH = 20
_TICKS_PER_SECOND = 1_000_000_000 << abi.Limits.CLOCK_SHIFT

# Plain numbers: the operators of enum classes are methods in Python, 0.5 us each, and these run for every output.
_PRESENT, _READY, _LOCAL = int(abi.OutputFlag.PRESENT), int(abi.OutputFlag.READY), int(abi.OutputFlag.LOCAL)
_SSRC = int(abi.OutputFlag.SSRC)
_XDP, _LOCK = int(abi.FlowFlag.XDP), int(abi.FlowFlag.LOCK)
_CLOCK_MASK, _LISTED = int(abi.PayloadRule.CLOCK_MASK), int(abi.PayloadRule.LISTED)
_DROP = int(abi.PayloadRule.DROP)


class Range(msgspec.Struct, frozen=True):
    """Places of the output array: a block just large enough for `count` outputs and holes."""

    base: int = 0
    count: int = 0

    @property
    def order(self) -> int:
        return order_of(self.count)


NOWHERE = Range()


class Place(msgspec.Struct, frozen=True):
    """Where the kernel keeps what belongs to a flow."""

    slot: int
    generation: int
    outputs: Range = NOWHERE
    rtcp: Range = NOWHERE
    group: int = abi.NONE


@functools.lru_cache(maxsize=65536)
def endpoint_bytes(value: Endpoint | None) -> bytes:
    """As the maps have it: also the key of the flows map."""
    return bytes(abi.endpoint(value))


def _endpoint(raw: bytes) -> abi.Endpoint:
    return abi.Endpoint.from_buffer_copy(raw)


def path_of(output: Output) -> Path:
    """The pair of addresses that decides the way of its packets."""
    return _raw(output.source), _raw(output.destination)


def raw_address(address: str) -> bytes:
    """4 or 16 bytes, as netlink has it. Raises ValueError."""
    return _raw(Endpoint.parse(address, 0))


def _raw(value: Endpoint) -> bytes:
    return value.packed[12:] if value.family is Family.IP4 else value.packed


def by_xdp(local: Endpoint, output: Output, hop: NextHop) -> bool:
    """XDP changes neither the length of a packet nor what cannot take its frames."""
    return hop.mac is not None and hop.transmit and output.destination.family is local.family


def output_fits(output: Output) -> bool:
    """Whether the maps can say all of it. Whatever else an output may come to ask for - its keys above all - makes its
    flow one for userspace, rather than being passed over."""
    return output == Output(
        source=output.source,
        destination=output.destination,
        ssrc=output.ssrc,
        sequence_offset=output.sequence_offset,
        timestamp_offset=output.timestamp_offset,
        tos=output.tos,
    )


def flow_fits(flow: Flow) -> bool:
    """The same for a flow."""
    plain = Flow(
        local=flow.local,
        expected=flow.expected,
        signalled=flow.signalled,
        rtcp_expected=flow.rtcp_expected,
        on_mismatch=flow.on_mismatch,
        lock=flow.lock,
        payloads=flow.payloads,
        outputs=flow.outputs,
        rtcp_outputs=flow.rtcp_outputs,
    )
    return flow == plain and all(map(output_fits, (*flow.outputs, *flow.rtcp_outputs))) and _rules_fit(flow.payloads)


@functools.lru_cache(maxsize=1024)
def _rules_fit(rules: tuple[PayloadRule, ...]) -> bool:
    return all(rule == PayloadRule(rule.payload_type, rule.clock_rate, rule.drop) for rule in rules)


def mtu_for(local: Endpoint, output: Output, hop: NextHop) -> int:
    """Of packets as they come in: those that change from IPv4 to IPv6 grow on the way."""
    grows = local.family is Family.IP4 and output.destination.family is Family.IP6
    return hop.mtu - _IP6_GROWTH if grows else hop.mtu


def output_entry(output: Output, hop: NextHop) -> bytes:
    flags = _PRESENT
    if hop.local:
        flags |= _LOCAL
    elif hop.mac is not None:
        flags |= _READY
    if output.ssrc is not None:
        flags |= _SSRC
    return bytes(
        abi.Output(
            source=abi.address_bytes(output.source),
            destination=abi.address_bytes(output.destination),
            source_port=output.source.port,
            destination_port=output.destination.port,
            destination_mac=_MAC.from_buffer_copy(hop.mac or bytes(6)),
            source_mac=_MAC.from_buffer_copy(hop.source_mac),
            ifindex=hop.index,
            flags=flags,
            ssrc=output.ssrc or 0,
            timestamp_offset=output.timestamp_offset & 0xFFFFFFFF,
            sequence_offset=output.sequence_offset & 0xFFFF,
            tos=output.tos,
            srtp_out=abi.NONE,
        )
    )


_MAC = ctypes.c_uint8 * 6


def without(entry: bytes, flag: abi.OutputFlag) -> bytes:
    """The same entry with a flag cleared and nothing else touched: half-written it is no nonsense either.

    Without PRESENT it is a hole: copies for it may still be on their way to its device.
    """
    changed = abi.Output.from_buffer_copy(entry)
    changed.flags &= ~flag
    return bytes(changed)


def output_of(entry: bytes) -> Output | None:
    """The way back; None for a hole."""
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
    )


def flow_entry(flow: Flow, place: Place, mtu: int, xdp: bool, kernel_rtcp: bool) -> tuple[bytes, bytes]:
    """The flow and its rules. `mtu`: the smallest of the outputs; `xdp`: XDP can serve all of them; `kernel_rtcp`: RTCP
    needs no rewriting."""
    flags = (_XDP if xdp else 0) | (_LOCK if flow.lock else 0)
    clocks, payload = payload_table(flow.payloads)
    usual = usual_type(flow.payloads)
    entry = bytes(
        abi.Flow(
            local=abi.address_bytes(flow.local),
            local_port=flow.local.port,
            expected=abi.address_bytes(flow.expected),
            expected_port=flow.expected.port if flow.expected else 0,
            slot=place.slot,
            generation=place.generation,
            output_base=place.outputs.base,
            output_count=place.outputs.count,
            flags=flags,
            on_mismatch=int(flow.on_mismatch),
            mtu=min(mtu, _MAX_MTU),
            usual_type=usual.payload_type if usual else abi.NO_PAYLOAD_TYPE,
            usual_clock=abi.tick(usual.clock_rate) if usual else 0,
        )
    )
    rules = bytes(
        abi.Rules(
            rtcp_expected=_endpoint(endpoint_bytes(flow.rtcp_expected)),
            signalled=_endpoint(endpoint_bytes(flow.signalled)),
            group=place.group,
            rtcp_output=place.rtcp.base if kernel_rtcp else abi.NONE,
            rtcp_base=place.rtcp.base,
            rtcp_count=place.rtcp.count,
            srtp_in=abi.NONE,
            clocks=_CLOCKS.from_buffer_copy(clocks),
            payload=_PAYLOADS.from_buffer_copy(payload),
        )
    )
    return entry, rules


_CLOCKS = ctypes.c_uint32 * abi.Limits.CLOCKS
_PAYLOADS = ctypes.c_uint8 * abi.Limits.PAYLOAD_TYPES


def usual_type(rules: tuple[PayloadRule, ...]) -> PayloadRule | None:
    """The payload type of nearly all packets, as far as one can tell beforehand: the preferred one."""
    return next((rule for rule in rules if not rule.drop), None)


@functools.lru_cache(maxsize=1024)
def payload_table(rules: tuple[PayloadRule, ...]) -> tuple[bytes, bytes]:
    """`clocks` and `payload` of a flow. Rates beyond the seventh are left unknown: no jitter, nothing else."""
    ticks = [0]
    payload = bytearray(abi.Limits.PAYLOAD_TYPES)
    for rule in rules:
        tick = abi.tick(rule.clock_rate)
        if tick not in ticks and len(ticks) < abi.Limits.CLOCKS:
            ticks.append(tick)
        index = ticks.index(tick) if tick in ticks else 0
        payload[rule.payload_type] = index | _LISTED | (_DROP if rule.drop else 0)
    ticks += [0] * (abi.Limits.CLOCKS - len(ticks))
    return bytes(_CLOCKS(*ticks)), bytes(payload)


@functools.lru_cache(maxsize=1024)
def payload_rules(clocks: bytes, payload: bytes) -> tuple[PayloadRule, ...]:
    """The way back."""
    rates = [round(_TICKS_PER_SECOND / tick) if tick else 0 for tick in _CLOCKS.from_buffer_copy(clocks)]
    return tuple(
        PayloadRule(number, rates[rule & _CLOCK_MASK], bool(rule & _DROP))
        for number, rule in enumerate(payload)
        if rule & _LISTED
    )


def flow_of(
    local: Endpoint,
    entry: abi.Flow,
    rules: abi.Rules,
    outputs: tuple[Output, ...],
    rtcp_outputs: tuple[Output, ...],
) -> Flow:
    """The way back."""
    return Flow(
        local=local,
        expected=abi.address_of(entry.expected, entry.expected_port) if entry.expected_port else None,
        signalled=abi.address(rules.signalled),
        rtcp_expected=abi.address(rules.rtcp_expected),
        on_mismatch=Mismatch(entry.on_mismatch),
        lock=bool(entry.flags & _LOCK),
        payloads=payload_rules(bytes(rules.clocks), bytes(rules.payload)),
        outputs=outputs,
        rtcp_outputs=rtcp_outputs,
    )
