"""Flows into maps: what is written where, and in which order, so that no packet meets a half-written flow.

Theory of operation. A flow has a slot for its state, kept while the port is in use, and a *block* of outputs: a range
of the output array just large enough (a power of two), and for XDP a group of devices.

* Outputs are written first, then the group, the flow last; what the flow pointed to before waits out a grace period.
* An output is not replaced in place: a torn read would send media to nobody knows whom. The block is built anew and the
  flow switched over, one atomic write. MAC addresses alone are rewritten in place; torn, they cost one packet.
* A join touches its own place: a free one of the block, or a hole of the same device. A leave makes a hole.
  A block without room is built anew, twice as large; one that is mostly holes, smaller.
* Counters of an output that moves to another block go along; what the old place counted meanwhile is added afterwards.
* Each lane of a bundle (RFC 9143) has a block, and a flow of its own in the maps.

Everything can fail for want of room, and then leaves the flow as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.encode import (
    Entry,
    Place,
    Range,
    bundle_entry,
    flow_entry,
    flow_of,
    ifindex_of,
    is_bundle,
    is_wrapped,
    lanes_of,
    output_entry,
    output_of,
    path_of,
    payload_rules,
    srtp_out_of,
    way_of,
    without,
)
from rtprelay.kernel.flowmap import FlowMap
from rtprelay.kernel.groups import Group, Groups
from rtprelay.kernel.keyring import KeyPrograms, Keyring
from rtprelay.kernel.libbpf import Map, stride
from rtprelay.kernel.nexthop import NextHop, NextHops, Path
from rtprelay.kernel.port import NO_BLOCK, ZERO, Block, Carried, Claim, Port, Sent, generation_after, without_holes
from rtprelay.kernel.slots import Blocks, Quarantine, order_of
from rtprelay.plan.flow import Flow, LaneSource, Output, OutputKey, OutputReport
from rtprelay.security.srtp import SrtpContexts
from rtprelay.values import Endpoint

GRACE = 0.2
"""Seconds until nothing in the kernel can be looking at a place any more: a program runs for microseconds, the copies
of a broadcast leave before the device's poll ends."""

TIDIED = 2
"""Commands whose leavings are given out again each time. A tick's worth at 800 calls a second is a pause of 2 ms."""

_MAX_MTU = 0xFFFF
_MAX_OUTPUTS = int(abi.Limits.MAX_OUTPUTS)
_SENT = struct.Struct("=QQ")
_UNSENT = struct.Struct("=Q")
_OUTPUT = ctypes.sizeof(abi.Output)
_OUTPUT_STRIDE = stride(_OUTPUT)
_WRAP = ctypes.sizeof(abi.Wrap)
_STATE_STRIDE = stride(ctypes.sizeof(abi.State))
_ASIDE_STRIDE = stride(ctypes.sizeof(abi.Aside))
_SSRC_COUNT_AT = abi.offset_of(abi.Aside, "ssrc_count")
_CONFIRMED_AT = abi.offset_of(abi.State, "ssrc") + abi.offset_of(abi.Ssrc, "confirmed")
_CONFIRMED = struct.Struct("=H")
_NO_STATE, _NO_ASIDE = bytes(_STATE_STRIDE), bytes(_ASIDE_STRIDE)
_NO_LANES: Mapping[int, Entry] = MappingProxyType({})


class Installer:
    """Owns the contents of the maps."""

    def __init__(
        self, maps: dict[str, Map], groups: Groups, hops: NextHops, contexts: SrtpContexts, programs: KeyPrograms
    ) -> None:
        self._outputs = maps["rtprelay_output"].mmap(writable=True)
        self._wraps = maps["rtprelay_wrap"].mmap(writable=True)
        self._ssrcs = maps["rtprelay_ssrcs"]
        self._lanes = maps["rtprelay_lanes"]
        self.state = maps["rtprelay_state"].mmap(writable=True)
        self.aside = maps["rtprelay_aside"].mmap(writable=True)
        self._sent = maps["rtprelay_sent"].mmap(writable=True)
        self._unsent = maps["rtprelay_unsent"].mmap(writable=True)
        self._groups = groups
        self._hops = hops
        self._slots = Blocks(maps["rtprelay_state"].max_entries, "flows")
        self._places = Blocks(maps["rtprelay_output"].max_entries, "outputs")
        self._quarantine = Quarantine(GRACE)
        self._after_grace = self._quarantine.after_grace
        self._flows = FlowMap(maps, self._after_grace)
        self.keys = Keyring(maps, contexts, programs, self._after_grace)
        self._behind: set[Endpoint] = set()
        """Flows that should be written anew, but there was no room."""
        self.ports: dict[Endpoint, Port] = {}
        self.by_slot: dict[int, Port] = {}

    def close(self) -> None:
        self._flows.close()
        for memory in (self._outputs, self._wraps, self.state, self.aside, self._sent, self._unsent):
            memory.close()

    @property
    def occupied(self) -> int:
        return self._slots.used + self._places.used

    @property
    def reach(self) -> int:
        """All slots in use are below."""
        return self._slots.reach

    def tidy(self) -> None:
        """Give out again some of what has waited long enough."""
        self._quarantine.release(time.monotonic(), TIDIED)

    def tick(self) -> None:
        """Give out again all that has waited long enough, and do what there was no room for."""
        self._quarantine.release(time.monotonic())
        behind, self._behind = self._behind, set()
        for port in filter(None, map(self.ports.get, behind)):
            try:
                self._switch(port, port.flow, port.live, anew=True)
            except BackendFault:
                self._behind.add(port.flow.local)

    # Flows

    def put_flow(self, flow: Flow) -> None:
        port = self.ports.get(flow.local)
        if port is None:
            self._enter(flow)
        else:
            self._switch(port, flow, flow.outputs)

    def _enter(self, flow: Flow) -> None:
        """The first flow of a port: nothing goes on from before."""
        local, slot = flow.local, self._slots.take(0)
        self._clear_state(slot)
        port = Port(flow, slot, generation=1)
        lanes = port.lanes = {}
        keyed = False
        try:
            for lane in lanes_of(flow.payloads, flow.outputs):
                lanes[lane] = self._build(local, _of_lane(flow.outputs, lane))
            port.rtcp = self._build(local, flow.rtcp_outputs)
            port.srtp_in = self.keys.acquire("in", flow.srtp)
            keyed = True
            self._write_flow(port)
        except BackendFault:
            if keyed:
                self.keys.release("in", flow.srtp)
            for block in (*lanes.values(), port.rtcp):
                self._retire(local, block)
            self._slots.free(slot, 0)
            raise
        self.ports[local] = self.by_slot[slot] = port
        self._reconsider_partners(port.rtcp.live)

    def _switch(self, port: Port, flow: Flow, outputs: tuple[Output, ...], anew: bool = False) -> None:
        """Give the port this flow with these outputs. `anew`: build the blocks though they hold the right outputs."""
        local = flow.local
        before = port.flow, port.generation, port.lanes, port.rtcp
        unlocked = False
        built: list[Block] = []
        try:
            lanes: dict[int | None, Block] = {}
            for lane in lanes_of(flow.payloads, outputs):
                members = _of_lane(outputs, lane)
                block = port.lanes.get(lane, NO_BLOCK)
                if anew or members != block.live:
                    block = self._build(local, members)
                    built.append(block)
                lanes[lane] = block
            port.lanes = lanes
            left = [block for lane, block in before[2].items() if block.outputs and lanes.get(lane) is not block]
            carried = self._carry(port, built, left)
            if anew or flow.rtcp_outputs != port.rtcp.live:
                port.rtcp = self._build(local, flow.rtcp_outputs)
                built.append(port.rtcp)
            if flow.expected != port.flow.expected:
                port.generation = generation_after(port.generation)
            srtp_in = self.keys.acquire("in", flow.srtp)
            unlocked = True
            port.flow = flow
            port.srtp_in, srtp_before = srtp_in, port.srtp_in
            self._write_flow(port)
        except BackendFault:
            if unlocked:
                self.keys.release("in", flow.srtp)
                port.srtp_in = srtp_before
            port.flow, port.generation, port.lanes, port.rtcp = before
            for block in built:
                self._retire(local, block)
            raise
        self.keys.release("in", before[0].srtp)
        if left:
            self._settle(port, carried)
        for block in left:
            self._retire(local, block)
        if port.rtcp is not before[3]:
            self._retire(local, before[3])
            self._reconsider_partners((*before[3].live, *port.rtcp.live))

    def lock(self, local: Endpoint) -> None:
        """As if the expected source had spoken to the programs."""
        port = self.ports[local]
        _CONFIRMED.pack_into(self.state, port.slot * _STATE_STRIDE + _CONFIRMED_AT, port.generation)

    def drop_flow(self, local: Endpoint) -> None:
        port = self.ports.pop(local, None)
        if port is None:
            return
        del self.by_slot[port.slot]
        places = self._flows.unlink(local)
        if port.sources:
            self._forget_sources(port, {})
        self.keys.release("in", port.flow.srtp)
        blocks: list[Claim] = []
        for block in (*port.lanes.values(), port.rtcp):
            if block.outputs:
                self._leave_paths(local, block)
                blocks.append(block.claim)
        self._after_grace(self._free_port, port.slot, places, blocks)
        self._reconsider_partners(port.rtcp.live)

    def _free_port(self, slot: int, places: tuple[int, ...], blocks: list[Claim]) -> None:
        for ssrc in self._further_ssrcs(slot):
            self._ssrcs.delete(bytes(abi.SsrcKey(slot, ssrc)))
        self._slots.free(slot, 0)
        self._flows.free(places)
        for block in blocks:
            self._free_block(*block)

    def _write_flow(self, port: Port, known: Entry | None = None, known_lanes: Mapping[int, Entry] = _NO_LANES) -> None:
        """The flow as its outputs and their next hops are now; `known`: what is there, where that has been read."""
        port.kernel_rtcp = self._rtcp_passes(port)
        if None in port.lanes:
            entry, _ = self._lane_entry(port, None)
            if entry != known:
                self._put_entry(port, entry)
            if port.sources:
                self._forget_sources(port, {})
            return
        written = {lane: self._lane_entry(port, lane) for lane in port.lanes if lane is not None}
        lanes = {lane: entry for lane, (entry, _) in written.items()}
        entry = bundle_entry(
            port.flow, self._place(port, NO_BLOCK), any(xdp for _, xdp in written.values()), port.kernel_rtcp
        )
        sources = {source.ssrc: source.lane for source in port.flow.lane_sources}
        self._forget_sources(port, sources)
        if entry != known or lanes != known_lanes:
            self._put_entry(port, entry, lanes)
        self._name_sources(port, sources)

    def _put_entry(self, port: Port, entry: Entry, lanes: Mapping[int, Entry] = _NO_LANES) -> None:
        """Publish it; the groups it no longer names have lost their user."""
        self._flows.put(port.flow.local, *entry, lanes)
        for block in port.lanes.values():
            if len(block.groups) > 1:
                self._after_grace(self._groups.release, *block.leave_groups())

    def _forget_sources(self, port: Port, wanted: Mapping[int, int]) -> None:
        """Those that change their lane as well, before the flow does: rather asked for than sent to somebody else."""
        for ssrc in [ssrc for ssrc, lane in port.sources.items() if wanted.get(ssrc) != lane]:
            self._lanes.delete(bytes(abi.SsrcKey(port.slot, ssrc)))
            del port.sources[ssrc]

    def _name_sources(self, port: Port, wanted: Mapping[int, int]) -> None:
        for ssrc, lane in wanted.items():
            if ssrc not in port.sources:
                # Without room userspace will be asked, and knows.
                with contextlib.suppress(BackendFault):
                    self._lanes.update(bytes(abi.SsrcKey(port.slot, ssrc)), (lane + 1).to_bytes(4, "little"))
                    port.sources[ssrc] = lane

    def _lane_entry(self, port: Port, lane: int | None) -> tuple[Entry, bool]:
        """The flow of a lane, and whether XDP can serve it."""
        flow, block = port.flow, port.lanes[lane]
        mtu, xdp = _MAX_MTU, True
        if block.outputs:
            here = flow.local.family
            for output, hop in zip(block.outputs, block.hops, strict=True):
                if output is not None:
                    narrow, direct = way_of(here, output, hop)
                    if narrow < mtu:
                        mtu = narrow
                    xdp = xdp and direct and self._groups.serve(hop.index)
            xdp = xdp and (len(block.outputs) < 2 or self._grouped(block))
        rtcp = port.kernel_rtcp and lane is None
        return flow_entry(flow, block.live, self._place(port, block), mtu, xdp, rtcp, lane), xdp

    def _place(self, port: Port, block: Block) -> Place:
        group = abi.NO_GROUP if block.group is None else block.group.index
        return Place(port.slot, port.generation, block.range, port.rtcp.range, group, port.srtp_in)

    # RTCP: the kernel forwards what userspace would not change

    def _rtcp_passes(self, port: Port) -> bool:
        """One receiver, both sides call all streams by the same names, and nobody has keys."""
        if len(port.rtcp.outputs) != 1 or port.flow.srtp is not None:
            return False
        (output,) = port.rtcp.live
        if output.srtp is not None or output.ssrc is not None or output.timestamp_offset:
            return False
        reverse = self.ports.get(output.source)
        for back in reverse.rtcp.live if reverse is not None else ():
            if back.ssrc is not None and back.source == port.flow.local:
                return False
        return True

    def _reconsider_partners(self, outputs: Iterable[Output]) -> None:
        """The flows back from these receivers: whether their RTCP passes unchanged is also up to us."""
        for output in outputs:
            # What renames nothing leaves it as it is.
            partner = self.ports.get(output.source) if output.ssrc is not None else None
            if partner is not None and partner.kernel_rtcp != self._rtcp_passes(partner):
                self._write_flow_or_later(partner)

    # Outputs

    def put_output(self, local: Endpoint, output: Output) -> None:
        port = self.ports.get(local)
        if port is None:
            raise BackendFault(f"no flow at {local} to add an output to")
        if (output.lane is None) != (None in port.lanes):
            raise BackendFault(f"an output of lane {output.lane} does not fit to the others at {local}")
        block = port.block(output.lane)
        place = block.place_of(output.source)
        if place is not None:
            if block.outputs[place] != output:
                members = tuple(output if member.key == output.key else member for member in port.live)
                self._switch(port, port.flow, members)
            return
        members = (*port.live, output)
        check_count(local, len(block.live) + 1)
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
            if member is None and block.hops[place].index == hop.index:
                return place
        full = not block.outputs or len(block.outputs) == 1 << block.range.order
        return None if full else len(block.outputs)

    def _join(self, port: Port, place: int, output: Output, hop: NextHop) -> None:
        block, entry = port.lanes[output.lane], self._entry(output, hop)
        self._write_sent(block.base + place, ZERO)
        # A hole may be being read: everything but PRESENT first.
        self._write_output(block.base + place, without(entry, abi.OutputFlag.PRESENT))
        self._write_output(block.base + place, entry)
        block.put(place, output, hop)
        try:
            self._write_flow(port)
        except BackendFault:
            self._leave(port, block, place)
            raise

    def drop_output(self, local: Endpoint, source: Endpoint, lane: int | None) -> None:
        port = self.ports.get(local)
        block = port.block(lane) if port is not None else NO_BLOCK
        place = block.place_of(source)
        if port is None or place is None:
            return
        if 2 * (len(block.live) - 1) <= len(block.outputs):
            # Without room for a smaller block the larger one stays, holes and all: a leave never fails.
            with contextlib.suppress(BackendFault):
                self._switch(port, port.flow, tuple(member for member in port.live if member.key != (source, lane)))
                return
        self._leave(port, block, place)
        port.settled.pop(source, None)
        self._write_flow_or_later(port)

    def _leave(self, port: Port, block: Block, place: int) -> None:
        """Make a hole."""
        output, at = block.outputs[place], block.base + place
        self._write_output(at, without(self._read_output(at), abi.OutputFlag.PRESENT))
        block.put(place, None, block.hops[place])
        if output is not None:
            self._release(port.flow.local, output)

    # Blocks

    def _build(self, local: Endpoint, outputs: tuple[Output, ...]) -> Block:
        """Write outputs to new places; nobody looks there yet."""
        if not outputs:
            return NO_BLOCK
        check_count(local, len(outputs))
        order = order_of(len(outputs))
        base = self._places.take(order)
        hops: list[NextHop] = []
        try:
            for place, output in enumerate(outputs, base):
                hop = self._acquire(local, output)
                hops.append(hop)
                self._write_output(place, self._entry(output, hop))
                self._write_sent(place, ZERO)
        except BackendFault:
            for output in outputs[: len(hops)]:
                self._release(local, output)
            self._places.free(base, order)
            raise
        return Block(base, outputs, outputs, tuple(hops))

    def _grouped(self, block: Block) -> bool:
        """See to it that the block has the group of its devices; False where there is none to be had. A hole keeps its
        entry, for whoever comes there, unless its device is gone.
        """
        devices = tuple(sorted(hop.index for hop in block.hops if self._groups.serve(hop.index)))
        if block.group is None or block.group.devices != devices:
            group = self._groups.take(devices)
            if group is None:
                return False
            block.groups = *block.groups, group
        return True

    def _retire(self, local: Endpoint, block: Block) -> None:
        """Nothing points to the block any more; its places are free when nobody can be looking."""
        if block.outputs:
            self._leave_paths(local, block)
            self._after_grace(self._free_block, *block.claim)

    def _leave_paths(self, local: Endpoint, block: Block) -> None:
        for output in block.live:
            self._release(local, output)

    def _free_block(self, base: int, order: int, groups: tuple[Group, ...]) -> None:
        self._places.free(base, order)
        self._groups.release(*groups)

    # Counters of outputs

    def _carry(self, port: Port, built: list[Block], left: list[Block]) -> list[Carried]:
        """Outputs that move to another block, be it of another lane, take along what they have counted."""
        if not left:
            return []
        new, there = _places(built), {output.source for output in port.live}
        by_source = {key[0]: key for key in reversed(new)}
        totals: defaultdict[OutputKey, Sent] = defaultdict(lambda: ZERO)
        carried = []
        for key, index in _places(left).items():
            target = key if key in new else by_source.get(key[0])
            counts = self._read_sent(index)
            if target is not None:
                totals[target] = _sum(totals[target], counts)
            if key[0] in there:
                carried.append(Carried(key[0], index, counts, target is not None))
        for key, counts in totals.items():
            self._write_sent(new[key], counts)
        return carried

    def _settle(self, port: Port, carried: list[Carried]) -> None:
        """Add what the old places count until nobody can be looking there; and forget receivers that have left."""
        there = {output.source for output in port.live}
        port.settled = {source: counts for source, counts in port.settled.items() if source in there}
        for source, _, counts, along in carried:
            if not along:
                port.settled[source] = _sum(port.settled.get(source, ZERO), counts)
        if carried:
            self._after_grace(self._add_rest, port, carried)

    def _add_rest(self, port: Port, carried: list[Carried]) -> None:
        for source, index, known, _ in carried:
            now = self._read_sent(index)
            if now != known:
                rest = now[0] - known[0], now[1] - known[1], now[2] - known[2]
                port.settled[source] = _sum(port.settled.get(source, ZERO), rest)

    def sources(self, slot: int) -> Iterable[abi.Source]:
        first = abi.first_source(self.read_state(slot), self._read_aside(slot))
        if first is None:
            return
        yield first
        for ssrc in self._further_ssrcs(slot):
            value = self._ssrcs.lookup(bytes(abi.SsrcKey(slot, ssrc)))
            if value is not None:
                yield abi.Source.from_buffer_copy(value)

    def output_reports(self, port: Port) -> tuple[OutputReport, ...]:
        found: dict[Endpoint, Sent] = {}
        for block in port.lanes.values():
            for index, output in enumerate(block.outputs, block.base):
                if output is not None:
                    source, counts = output.source, self._read_sent(index)
                    before = found.get(source) or port.settled.get(source)
                    found[source] = counts if before is None else _sum(before, counts)
        return tuple([OutputReport(source, *counts) for source, counts in found.items()])

    # Next hops

    def _entry(self, output: Output, hop: NextHop) -> bytes:
        """The output as it is sent; its key is in use by it."""
        return output_entry(output, hop, self.keys.place("out", output.srtp))

    def _acquire(self, local: Endpoint, output: Output) -> NextHop:
        if output.srtp is not None:
            self.keys.acquire("out", output.srtp)
        return self._hops.acquire(path_of(output), local)

    def _release(self, local: Endpoint, output: Output) -> None:
        if output.srtp is not None:
            self.keys.release("out", output.srtp)
        self._hops.release(path_of(output), local)

    def follow(self, changed: dict[Path, NextHop]) -> None:
        """Next hops have changed: rewrite the outputs that use them, and the flows of those."""
        for local in {local: None for path in changed for local in self._hops.users(path)}:
            port = self.ports.get(local)
            if port is not None:
                self._follow(port, changed)

    def _follow(self, port: Port, changed: dict[Path, NextHop]) -> None:
        moved = False
        for block in (*port.lanes.values(), port.rtcp):
            hops = list(block.hops)
            for place, output in enumerate(block.outputs):
                hop = changed.get(path_of(output)) if output is not None else None
                if output is not None and hop is not None:
                    moved |= hop.index != hops[place].index
                    if not moved:
                        self._write_output(block.base + place, self._entry(output, hop))
                        hops[place] = hop
            block.hops = tuple(hops)
        if not moved:
            self._write_flow_or_later(port)
            return
        try:
            self._switch(port, port.flow, port.live, anew=True)
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
        lanes = {local: self._flows.lanes(local) for local in found}
        sources = self._named_sources()
        entries = [*found.values(), *(entry for each in lanes.values() for entry in each.values())]
        inherited = {abi.Flow.from_buffer_copy(flow).group for flow, _ in entries} - {abi.NO_GROUP}
        self._groups.reserve(inherited)
        for local, entry in found.items():
            port = self._adopt(local, entry, lanes[local], sources)
            if port is None:
                self._flows.delete(local)
            else:
                self.ports[local] = self.by_slot[port.slot] = port
        for local, port in self.ports.items():
            self._write_flow(port, found[local], lanes[local])
        self.keys.sweep()
        self._after_grace(self._groups.hand_back, inherited)
        return [port.flow for port in self.ports.values()]

    def _named_sources(self) -> dict[int, dict[int, int]]:
        """By slot, as a predecessor has left them."""
        found: defaultdict[int, dict[int, int]] = defaultdict(dict)
        for raw, value in self._lanes.items():
            key = abi.SsrcKey.from_buffer_copy(raw)
            found[key.slot][key.ssrc] = int.from_bytes(value, "little") - 1
        return found

    def _adopt(
        self, local: Endpoint, raw: Entry, raw_lanes: Mapping[int, Entry], sources: Mapping[int, dict[int, int]]
    ) -> Port | None:
        entry, rules = _unpacked(raw)
        lanes: dict[int | None, tuple[abi.Flow, abi.Rules]] = {None: (entry, rules)}
        if is_bundle(entry):
            lanes = {lane: _unpacked(each) for lane, each in raw_lanes.items()}
        ranges = {lane: Range(each.output_base, each.output_count) for lane, (each, _) in lanes.items()}
        rtcp = Range(rules.rtcp_base, rules.rtcp_count)
        if not self._claim(entry.slot, *ranges.values(), rtcp):
            return None
        port = Port(Flow(local, None), entry.slot, entry.generation)
        srtp = self.keys.adopt("in", rules.srtp_in)
        port.srtp_in = self.keys.acquire("in", srtp)
        port.lanes = {lane: self._adopt_block(local, places, lane) for lane, places in ranges.items()}
        port.rtcp = self._adopt_block(local, rtcp)
        payloads = [rule for lane, (_, of_lane) in lanes.items() for rule in payload_rules(of_lane, lane)]
        payloads.sort(key=lambda rule: (rule.payload_type, rule.lane or 0))
        port.sources = sources.get(port.slot, {})
        lane_sources = tuple(LaneSource(ssrc, lane) for ssrc, lane in sorted(port.sources.items()))
        port.flow = flow_of(local, entry, rules, tuple(payloads), port.live, port.rtcp.live, srtp, lane_sources)
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

    def _adopt_block(self, local: Endpoint, places: Range, lane: int | None = None) -> Block:
        """The outputs found there, their next hops as they are now."""
        entries = [self._read_output(places.base + i) for i in range(places.count)]
        outputs = tuple([output_of(entry, lane, self.keys.adopt("out", srtp_out_of(entry))) for entry in entries])
        hops = tuple(
            [
                self._acquire(local, output) if output is not None else NextHop(ifindex_of(entry), _MAX_MTU)
                for output, entry in zip(outputs, entries, strict=True)
            ]
        )
        for place, (output, hop, before) in enumerate(zip(outputs, hops, entries, strict=True), places.base):
            if output is not None and (entry := self._entry(output, hop)) != before:
                self._write_output(place, entry)
        return Block(places.base, outputs, without_holes(outputs), hops)

    # The arrays in memory

    def read_state(self, slot: int) -> abi.State:
        return abi.State.from_buffer_copy(self.state, slot * _STATE_STRIDE)

    def _read_aside(self, slot: int) -> abi.Aside:
        return abi.Aside.from_buffer_copy(self.aside, slot * _ASIDE_STRIDE)

    def _further_ssrcs(self, slot: int) -> list[int]:
        at = slot * _ASIDE_STRIDE + _SSRC_COUNT_AT
        count = int.from_bytes(self.aside[at : at + 4], sys.byteorder)
        return list(self._read_aside(slot).further[:count]) if count else []

    def _clear_state(self, slot: int) -> None:
        at = slot * _STATE_STRIDE
        self.state[at : at + _STATE_STRIDE] = _NO_STATE
        at = slot * _ASIDE_STRIDE
        self.aside[at : at + _ASIDE_STRIDE] = _NO_ASIDE

    def _read_output(self, index: int) -> bytes:
        entry = self._outputs[index * _OUTPUT_STRIDE : index * _OUTPUT_STRIDE + _OUTPUT]
        return entry + self._wraps[index * _WRAP : (index + 1) * _WRAP] if is_wrapped(entry) else entry

    def _write_output(self, index: int, entry: bytes) -> None:
        if len(entry) > _OUTPUT:
            self._wraps[index * _WRAP : (index + 1) * _WRAP] = entry[_OUTPUT:]
            entry = entry[:_OUTPUT]
        at = index * _OUTPUT_STRIDE
        self._outputs[at : at + _OUTPUT] = entry

    def _read_sent(self, index: int) -> Sent:
        packets, octets = _SENT.unpack_from(self._sent, index * _SENT.size)
        (errors,) = _UNSENT.unpack_from(self._unsent, index * _UNSENT.size)
        return packets, octets, errors

    def _write_sent(self, index: int, counts: Sent) -> None:
        packets, octets, errors = counts
        _SENT.pack_into(self._sent, index * _SENT.size, packets, octets)
        _UNSENT.pack_into(self._unsent, index * _UNSENT.size, errors)


def _unpacked(entry: Entry) -> tuple[abi.Flow, abi.Rules]:
    flow, rules = entry
    return abi.Flow.from_buffer_copy(flow), abi.Rules.from_buffer_copy(rules)


def _of_lane(outputs: tuple[Output, ...], lane: int | None) -> tuple[Output, ...]:
    return outputs if lane is None else tuple([output for output in outputs if output.lane == lane])


def _places(blocks: Iterable[Block]) -> dict[OutputKey, int]:
    return {
        output.key: block.base + place
        for block in blocks
        for place, output in enumerate(block.outputs)
        if output is not None
    }


def _sum(one: Sent, other: Sent) -> Sent:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def check_count(local: Endpoint, count: int) -> None:
    if count > _MAX_OUTPUTS:
        raise BackendFault(f"{count} outputs at {local}, at most {_MAX_OUTPUTS} are possible")
