"""Flows into maps: what is written where, and in which order, so that no packet meets a half-written flow.

Theory of operation. A flow has a slot for its state, kept while the port is in use, and a *block* of outputs: a range
of the output array just large enough (a power of two), and for XDP a group of devices.

* Outputs are written first, then the group, the flow last; what the flow pointed to before waits out a grace period.
* An output is not replaced in place: a torn read would send media to nobody knows whom. The block is built anew and the
  flow switched over, one atomic write. MAC addresses alone are rewritten in place; torn, they cost one packet.
* A join touches its own place: a free one of the block, or a hole of the same device. A leave makes a hole.
  A block without room is built anew, twice as large; one that is mostly holes, smaller.
* Counters of an output that moves to another block go along; what the old place counted meanwhile is added afterwards.

Everything can fail for want of room, and then leaves the flow as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.encode import (
    NOWHERE,
    Place,
    Range,
    by_xdp,
    flow_entry,
    flow_of,
    mtu_for,
    output_entry,
    output_of,
    path_of,
    srtp_out_of,
    without,
)
from rtprelay.kernel.flowmap import FlowMap
from rtprelay.kernel.groups import Group, Groups
from rtprelay.kernel.keyring import KeyPrograms, Keyring
from rtprelay.kernel.libbpf import Map, stride
from rtprelay.kernel.nexthop import NextHop, NextHops, Path
from rtprelay.kernel.slots import Blocks, Quarantine
from rtprelay.plan.flow import DropFlow, DropOutput, Flow, FlowOp, Output, OutputReport, PutFlow, PutOutput
from rtprelay.security.srtp import SrtpContexts
from rtprelay.values import Endpoint

GRACE = 0.2
"""Seconds until nothing in the kernel can be looking at a place any more: a program runs for microseconds, the copies
of a broadcast leave before the device's poll ends."""

_MAX_MTU = 0xFFFF
_MAX_OUTPUTS = int(abi.Limits.MAX_OUTPUTS)
_SENT = struct.Struct("=QQQ")
_SENT_STRIDE = stride(ctypes.sizeof(abi.Sent))
_OUTPUT = ctypes.sizeof(abi.Output)
_OUTPUT_STRIDE = stride(_OUTPUT)
_STATE_STRIDE = stride(ctypes.sizeof(abi.State))
_ASIDE_STRIDE = stride(ctypes.sizeof(abi.Aside))
_NO_STATE, _NO_ASIDE = bytes(_STATE_STRIDE), bytes(_ASIDE_STRIDE)
_NO_SENT = _SENT.pack(0, 0, 0)

Sent = tuple[int, int, int]
"""Packets, bytes, errors."""
Carried = dict[Endpoint, tuple[int, Sent]]
"""By the output's source: its old place in the array, and what was carried from there to the new one."""


class Block:
    """Outputs at consecutive places, None where one has left; `entries` is what the kernel sees."""

    __slots__ = ("base", "entries", "group", "live", "outputs")

    def __init__(self, base: int, outputs: list[Output | None], entries: list[bytes]) -> None:
        self.base = base
        self.outputs = outputs
        self.entries = entries
        self.group: Group | None = None
        self.live = tuple(output for output in outputs if output is not None)

    def put(self, place: int, output: Output | None, entry: bytes) -> None:
        """At a place of the block, or at the next one behind it."""
        self.outputs[place : place + 1] = [output]
        self.entries[place : place + 1] = [entry]
        self.live = tuple(member for member in self.outputs if member is not None)

    @property
    def range(self) -> Range:
        return Range(self.base, len(self.outputs)) if self.outputs else NOWHERE

    def place_of(self, source: Endpoint) -> int | None:
        return next(
            (i for i, output in enumerate(self.outputs) if output is not None and output.source == source), None
        )


class Port:
    """An installed flow."""

    __slots__ = ("flow", "generation", "kernel_rtcp", "keyed", "outputs", "rtcp", "settled", "slot", "srtp_in")

    def __init__(self, flow: Flow, slot: int, generation: int) -> None:
        self.flow = flow
        """Its `outputs` are out of date once one has joined or left: `outputs.live` are the truth."""
        self.slot = slot
        self.generation = generation
        self.outputs = Block(0, [], [])
        self.rtcp = Block(0, [], [])
        self.kernel_rtcp = False
        self.srtp_in = abi.NONE
        self.keyed = False
        """The key of `flow` is in use by it: once it has been installed."""
        self.settled: dict[Endpoint, Sent] = {}
        """What outputs sent from places they have left meanwhile, beyond what was carried along."""


class Installer:
    """Owns the contents of the maps."""

    def __init__(
        self, maps: dict[str, Map], groups: Groups, hops: NextHops, contexts: SrtpContexts, programs: KeyPrograms
    ) -> None:
        self._outputs = maps["rtprelay_output"].mmap(writable=True)
        self._ssrcs = maps["rtprelay_ssrcs"]
        self.state = maps["rtprelay_state"].mmap(writable=True)
        self.aside = maps["rtprelay_aside"].mmap(writable=True)
        self.sent = maps["rtprelay_sent"].mmap(writable=True)
        self._groups = groups
        self._hops = hops
        self._slots = Blocks(maps["rtprelay_state"].max_entries, "flows")
        self._places = Blocks(maps["rtprelay_output"].max_entries, "outputs")
        self._users: defaultdict[Path, defaultdict[Endpoint, int]] = defaultdict(lambda: defaultdict(int))
        self._quarantine = Quarantine(GRACE)
        self._flows = FlowMap(maps, self._after_grace)
        self.keys = Keyring(maps, contexts, programs, self._after_grace)
        self._behind: set[Endpoint] = set()
        """Flows that should be written anew, but there was no room."""
        self.ports: dict[Endpoint, Port] = {}
        self.by_slot: dict[int, Port] = {}

    def close(self) -> None:
        self._flows.close()
        self._outputs.close()
        self.state.close()
        self.aside.close()
        self.sent.close()

    @property
    def occupied(self) -> int:
        return self._slots.used + self._places.used

    def apply(self, op: FlowOp) -> None:
        match op:
            case PutFlow(flow):
                self._put_flow(flow)
            case DropFlow(local):
                self._drop_flow(local)
            case PutOutput(local, output):
                self._put_output(local, output)
            case DropOutput(local, source):
                self._drop_output(local, source)

    def tick(self) -> None:
        """Give out again what has waited long enough, and do what there was no room for."""
        self._quarantine.release(time.monotonic())
        behind, self._behind = self._behind, set()
        for port in filter(None, map(self.ports.get, behind)):
            try:
                self._switch(port, port.flow, port.outputs.live, anew=True)
            except BackendFault:
                self._behind.add(port.flow.local)

    # Flows

    def _put_flow(self, flow: Flow) -> None:
        check_count(flow.local, max(len(flow.outputs), len(flow.rtcp_outputs)))
        port = self.ports.get(flow.local)
        if port is not None:
            self._switch(port, flow, flow.outputs)
            return
        slot = self._slots.take(0)
        self._clear_state(slot)
        port = Port(flow, slot, generation=1)
        try:
            self._switch(port, flow, flow.outputs)
        except BackendFault:
            self._slots.free(slot, 0)
            raise
        self.ports[flow.local] = self.by_slot[slot] = port
        self._reconsider_partners(port.rtcp.live)

    def _switch(self, port: Port, flow: Flow, outputs: tuple[Output, ...], anew: bool = False) -> None:
        """Give the port this flow with these outputs. `anew`: build the blocks though they hold the right outputs."""
        local = flow.local
        before = port.flow, port.generation, port.outputs, port.rtcp
        unlocked = False
        built: list[Block] = []
        carried: Carried = {}
        try:
            if anew or outputs != port.outputs.live:
                port.outputs = self._build(local, outputs)
                built.append(port.outputs)
                carried = self._carry(port.outputs, before[2])
            if anew or flow.rtcp_outputs != port.rtcp.live:
                port.rtcp = self._build(local, flow.rtcp_outputs)
                built.append(port.rtcp)
            if flow.expected != port.flow.expected:
                port.generation += 1
            srtp_in = self.keys.acquire("in", flow.srtp)
            unlocked = True
            port.flow = flow
            port.srtp_in, srtp_before = srtp_in, port.srtp_in
            self._write_flow(port)
        except BackendFault:
            if unlocked:
                self.keys.release("in", flow.srtp)
                port.srtp_in = srtp_before
            port.flow, port.generation, port.outputs, port.rtcp = before
            for block in built:
                self._retire(local, block)
            raise
        if port.keyed:
            self.keys.release("in", before[0].srtp)
        port.keyed = True
        if port.outputs is not before[2]:
            self._settle(port, carried)
            self._retire(local, before[2])
        if port.rtcp is not before[3]:
            self._retire(local, before[3])
            self._reconsider_partners((*before[3].live, *port.rtcp.live))

    def _drop_flow(self, local: Endpoint) -> None:
        port = self.ports.pop(local, None)
        if port is None:
            return
        del self.by_slot[port.slot]
        self._flows.delete(local)
        self.keys.release("in", port.flow.srtp)
        self._retire(local, port.outputs)
        self._retire(local, port.rtcp)
        self._after_grace(lambda: self._free_slot(port.slot))
        self._reconsider_partners(port.rtcp.live)

    def _free_slot(self, slot: int) -> None:
        for ssrc in self._further_ssrcs(slot):
            self._ssrcs.delete(bytes(abi.SsrcKey(slot, ssrc)))
        self._clear_state(slot)
        self._slots.free(slot, 0)

    def _write_flow(self, port: Port, known: tuple[bytes, bytes] | None = None) -> None:
        """The flow as its outputs and their next hops are now; `known`: what is there, where that has been read."""
        flow, block = port.flow, port.outputs
        mtu, xdp = _MAX_MTU, True
        for output in block.live:
            hop = self._hops.get(path_of(output))
            mtu = min(mtu, mtu_for(flow.local, output, hop))
            xdp = xdp and by_xdp(flow.local, output, hop) and self._groups.serve(hop.index)
        if xdp and len(block.outputs) > 1 and block.group is None:
            self._group(block)
        port.kernel_rtcp = self._rtcp_passes(port)
        place = Place(
            slot=port.slot,
            generation=port.generation,
            outputs=block.range,
            rtcp=port.rtcp.range,
            group=block.group.index if block.group is not None else abi.NONE,
            srtp_in=port.srtp_in,
        )
        xdp = xdp and (len(block.outputs) < 2 or block.group is not None)
        entry = flow_entry(flow, block.live, place, mtu, xdp, port.kernel_rtcp)
        if entry != known:
            self._flows.put(flow.local, *entry)

    # RTCP: the kernel forwards what userspace would not change

    def _rtcp_passes(self, port: Port) -> bool:
        """One receiver, both sides call all streams by the same names, and nobody has keys."""
        if len(port.rtcp.outputs) != 1 or port.flow.srtp is not None:
            return False
        (output,) = port.rtcp.live
        if output.srtp is not None:
            return False
        reverse = self.ports.get(output.source)
        back = reverse.rtcp.live if reverse is not None else ()
        renamed = any(other.source == port.flow.local and other.ssrc is not None for other in back)
        return output.ssrc is None and not output.timestamp_offset and not renamed

    def _reconsider_partners(self, outputs: Iterable[Output]) -> None:
        """The flows back from these receivers: whether their RTCP passes unchanged is also up to us."""
        for output in outputs:
            partner = self.ports.get(output.source)
            if partner is not None and partner.kernel_rtcp != self._rtcp_passes(partner):
                self._write_flow_or_later(partner)

    # Outputs

    def _put_output(self, local: Endpoint, output: Output) -> None:
        port = self.ports.get(local)
        if port is None:
            raise BackendFault(f"no flow at {local} to add an output to")
        block = port.outputs
        place = block.place_of(output.source)
        if place is not None:
            if block.outputs[place] != output:
                members = tuple(output if member.source == output.source else member for member in block.live)
                self._switch(port, port.flow, members)
            return
        members = (*block.live, output)
        check_count(local, len(members))
        hop = self._acquire(local, output)
        place = self._free_place(block, hop)
        if place is None:
            self._release(local, output)
            self._switch(port, port.flow, members)
            return
        self._join(port, place, output, hop)

    def _free_place(self, block: Block, hop: NextHop) -> int | None:
        """Where one more output fits without moving the others."""
        for place, member in enumerate(block.outputs):
            if member is None and _ifindex(block.entries[place]) == hop.index:
                return place
        full = not block.outputs or len(block.outputs) == 1 << block.range.order
        return None if full else len(block.outputs)

    def _join(self, port: Port, place: int, output: Output, hop: NextHop) -> None:
        block, entry = port.outputs, self._entry(output, hop)
        self._write_sent(block.base + place, _NO_SENT)
        # A hole may be being read: everything but PRESENT first.
        self._write_output(block.base + place, without(entry, abi.OutputFlag.PRESENT))
        self._write_output(block.base + place, entry)
        if place == len(block.outputs) and block.group is not None:
            self._groups.put(block.group, {place: hop.index})
        block.put(place, output, entry)
        try:
            self._write_flow(port)
        except BackendFault:
            self._leave(port, place)
            raise

    def _drop_output(self, local: Endpoint, source: Endpoint) -> None:
        port = self.ports.get(local)
        place = port.outputs.place_of(source) if port is not None else None
        if port is None or place is None:
            return
        block = port.outputs
        members = tuple(member for member in block.live if member.source != source)
        if 2 * len(members) <= len(block.outputs):
            # Without room for a smaller block the larger one stays, holes and all: a leave never fails.
            with contextlib.suppress(BackendFault):
                self._switch(port, port.flow, members)
                return
        self._leave(port, place)
        port.settled.pop(source, None)
        self._write_flow_or_later(port)

    def _leave(self, port: Port, place: int) -> None:
        """Make a hole."""
        block = port.outputs
        output, hole = block.outputs[place], without(block.entries[place], abi.OutputFlag.PRESENT)
        self._write_output(block.base + place, hole)
        block.put(place, None, hole)
        if output is not None:
            self._release(port.flow.local, output)

    # Blocks

    def _build(self, local: Endpoint, outputs: tuple[Output, ...]) -> Block:
        """Write outputs to new places; nobody looks there yet."""
        if not outputs:
            return Block(0, [], [])
        base = self._places.take(Range(0, len(outputs)).order)
        entries = []
        try:
            for output in outputs:
                entries.append(self._entry(output, self._acquire(local, output)))
        except BackendFault:
            for output in outputs[: len(entries)]:
                self._release(local, output)
            self._places.free(base, Range(0, len(outputs)).order)
            raise
        for place, entry in enumerate(entries, base):
            self._write_output(place, entry)
            self._write_sent(place, _NO_SENT)
        return Block(base, list(outputs), entries)

    def _group(self, block: Block) -> None:
        """Give the block a group of devices where there is one left."""
        group = self._groups.take(block.range.order)
        if group is None:
            return
        block.group = group
        self._groups.put(group, {place: _ifindex(entry) for place, entry in enumerate(block.entries)})

    def _retire(self, local: Endpoint, block: Block) -> None:
        """Nothing points to the block any more; its places are free when nobody can be looking."""
        for output in block.live:
            self._release(local, output)
        if block.outputs:
            self._after_grace(lambda: self._free_block(block))

    def _free_block(self, block: Block) -> None:
        self._places.free(block.base, block.range.order)
        if block.group is not None:
            self._groups.free(block.group)

    # Counters of outputs

    def _carry(self, block: Block, before: Block) -> Carried:
        """Outputs that move to `block` take along what they have counted."""
        old = {output.source: before.base + i for i, output in enumerate(before.outputs) if output is not None}
        carried: Carried = {}
        for place, output in enumerate(block.live):
            if output.source in old:
                counts = self._read_sent(old[output.source])
                carried[output.source] = old[output.source], counts
                self._write_sent(block.base + place, _SENT.pack(*counts))
        return carried

    def _settle(self, port: Port, carried: Carried) -> None:
        """Add what the old places count until nobody can be looking there; and forget receivers that have left."""
        port.settled = {source: counts for source, counts in port.settled.items() if source in carried}
        if carried:
            self._after_grace(lambda: self._add_rest(port, carried))

    def _add_rest(self, port: Port, carried: Carried) -> None:
        for source, (index, known) in carried.items():
            rest = tuple(now - then for now, then in zip(self._read_sent(index), known, strict=True))
            if any(rest):
                so_far = port.settled.get(source, (0, 0, 0))
                port.settled[source] = (so_far[0] + rest[0], so_far[1] + rest[1], so_far[2] + rest[2])

    def further_sources(self, slot: int) -> Iterable[abi.Ssrc]:
        """The SSRCs beside the first one of the state."""
        for ssrc in self._further_ssrcs(slot):
            value = self._ssrcs.lookup(bytes(abi.SsrcKey(slot, ssrc)))
            if value is not None:
                yield abi.Ssrc.from_buffer_copy(value)

    def output_reports(self, port: Port) -> Iterable[OutputReport]:
        for place, output in enumerate(port.outputs.outputs):
            if output is not None:
                sent = self._read_sent(port.outputs.base + place)
                rest = port.settled.get(output.source, (0, 0, 0))
                yield OutputReport(output.source, sent[0] + rest[0], sent[1] + rest[1], sent[2] + rest[2])

    # Next hops

    def _entry(self, output: Output, hop: NextHop) -> bytes:
        """The output as it is sent; its key is in use by it."""
        return output_entry(output, hop, self.keys.place("out", output.srtp))

    def _acquire(self, local: Endpoint, output: Output) -> NextHop:
        self.keys.acquire("out", output.srtp)
        path = path_of(output)
        self._users[path][local] += 1
        return self._hops.acquire(path)

    def _release(self, local: Endpoint, output: Output) -> None:
        self.keys.release("out", output.srtp)
        path = path_of(output)
        users = self._users[path]
        users[local] -= 1
        if not users[local]:
            del users[local]
            if not users:
                del self._users[path]
        self._hops.release(path)

    def follow(self, changed: dict[Path, NextHop]) -> None:
        """Next hops have changed: rewrite the outputs that use them, and the flows of those."""
        for local in {local: None for path in changed for local in self._users.get(path, ())}:
            port = self.ports.get(local)
            if port is not None:
                self._follow(port, changed)

    def _follow(self, port: Port, changed: dict[Path, NextHop]) -> None:
        moved = False
        for block in (port.outputs, port.rtcp):
            places = []
            for place, output in enumerate(block.outputs):
                hop = changed.get(path_of(output)) if output is not None else None
                if output is not None and hop is not None:
                    moved |= hop.index != _ifindex(block.entries[place])
                    block.entries[place] = self._entry(output, hop)
                    places.append(place)
            if not moved:
                for place in places:
                    self._write_output(block.base + place, block.entries[place])
        if not moved:
            self._write_flow_or_later(port)
            return
        try:
            self._switch(port, port.flow, port.outputs.live, anew=True)
        except BackendFault:
            self._behind.add(port.flow.local)

    def _write_flow_or_later(self, port: Port) -> None:
        """For changes nobody asked for, which there is nobody to refuse."""
        try:
            self._write_flow(port)
        except BackendFault:
            self._behind.add(port.flow.local)

    # Taking over

    def adopt(self) -> list[Flow]:
        """Take over the flows a predecessor left in the maps. Entries that make no sense are removed."""
        found = {local: (flow, rules) for local, flow, rules in self._flows.items()}
        inherited = {abi.Rules.from_buffer_copy(rules).group for _, rules in found.values()} - {abi.NONE}
        self._groups.reserve(inherited)
        for local, (flow, rules) in found.items():
            port = self._adopt(local, abi.Flow.from_buffer_copy(flow), abi.Rules.from_buffer_copy(rules))
            if port is None:
                self._flows.delete(local)
            else:
                self.ports[local] = self.by_slot[port.slot] = port
        for local, port in self.ports.items():
            self._write_flow(port, found[local])
        self.keys.sweep()
        self._after_grace(lambda: self._groups.hand_back(inherited))
        return [port.flow for port in self.ports.values()]

    def _adopt(self, local: Endpoint, entry: abi.Flow, rules: abi.Rules) -> Port | None:
        outputs = Range(entry.output_base, entry.output_count)
        rtcp = Range(rules.rtcp_base, rules.rtcp_count)
        if not self._claim(entry.slot, outputs, rtcp):
            return None
        port = Port(Flow(local, None), entry.slot, entry.generation)
        srtp = self.keys.adopt("in", rules.srtp_in)
        port.srtp_in, port.keyed = self.keys.acquire("in", srtp), True
        port.outputs = self._adopt_block(local, outputs)
        port.rtcp = self._adopt_block(local, rtcp)
        port.flow = flow_of(local, entry, rules, port.outputs.live, port.rtcp.live, srtp)
        return port

    def _claim(self, slot: int, *ranges: Range) -> bool:
        if not self._slots.claim(slot, 0):
            return False
        claimed: list[Range] = []
        for wanted in ranges:
            if wanted.count and not self._places.claim(wanted.base, wanted.order):
                self._slots.free(slot, 0)
                for done in claimed:
                    self._places.free(done.base, done.order)
                return False
            if wanted.count:
                claimed.append(wanted)
        return True

    def _adopt_block(self, local: Endpoint, places: Range) -> Block:
        """The outputs found there, their next hops as they are now."""
        entries = [self._read_output(places.base + i) for i in range(places.count)]
        outputs = [output_of(entry, self.keys.adopt("out", srtp_out_of(entry))) for entry in entries]
        block = Block(places.base, outputs, entries)
        for place, output in enumerate(block.outputs):
            if output is not None:
                entry = self._entry(output, self._acquire(local, output))
                if entry != entries[place]:
                    block.entries[place] = entry
                    self._write_output(block.base + place, entry)
        return block

    # The arrays in memory

    def read_state(self, slot: int) -> abi.State:
        return abi.State.from_buffer_copy(self.state, slot * _STATE_STRIDE)

    def _further_ssrcs(self, slot: int) -> list[int]:
        count = self.read_state(slot).ssrc_count
        if not count:
            return []
        aside = abi.Aside.from_buffer_copy(self.aside, slot * _ASIDE_STRIDE)
        return list(aside.further[:count])

    def _clear_state(self, slot: int) -> None:
        _write(self.state, slot * _STATE_STRIDE, _NO_STATE)
        _write(self.aside, slot * _ASIDE_STRIDE, _NO_ASIDE)

    def _read_output(self, index: int) -> bytes:
        return self._outputs[index * _OUTPUT_STRIDE : index * _OUTPUT_STRIDE + _OUTPUT]

    def _write_output(self, index: int, entry: bytes) -> None:
        _write(self._outputs, index * _OUTPUT_STRIDE, entry)

    def _read_sent(self, index: int) -> Sent:
        packets, octets, errors = _SENT.unpack_from(self.sent, index * _SENT_STRIDE)
        return packets, octets, errors

    def _write_sent(self, index: int, value: bytes) -> None:
        _write(self.sent, index * _SENT_STRIDE, value)

    def _after_grace(self, deed: Callable[[], None]) -> None:
        self._quarantine.after_grace(time.monotonic(), deed)


def check_count(local: Endpoint, count: int) -> None:
    if count > _MAX_OUTPUTS:
        raise BackendFault(f"{count} outputs at {local}, at most {_MAX_OUTPUTS} are possible")


def _write(array: mmap.mmap, offset: int, value: bytes) -> None:
    array[offset : offset + len(value)] = value


def _ifindex(entry: bytes) -> int:
    return int(abi.Output.from_buffer_copy(entry).ifindex)
