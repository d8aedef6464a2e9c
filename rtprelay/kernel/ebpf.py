"""The eBPF data plane: XDP and tc forward, maps hold the flows, and both outlive this process.

This is the table of contents: `pins` loads and keeps programs and maps, `install` writes flows, `nexthop` follows the
network, `attach` serves the devices, `forwarder` judges what the kernel hands up. What happens when:

    start   open or take over the maps, adopt the flows in them, attach
    apply   kernel first, then the forwarder: a refused op changes neither. A flow that forwards nothing, such as those
            of an offer, is entered into the kernel when its first packet has come up: most never see one
    events  netlink tells; next hops are looked up again and outputs rewritten, devices attached or let go
    tick    what was freed is given out again, neighbours that do not answer are asked again
    stop    descriptors only
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.attach import Attachments, allow_local_delivery
from rtprelay.kernel.backend import InterfaceMode
from rtprelay.kernel.encode import flow_fits, output_fits, raw_address
from rtprelay.kernel.forwarder import UserspaceForwarder
from rtprelay.kernel.groups import Groups
from rtprelay.kernel.install import Installer
from rtprelay.kernel.keyring import KeyPrograms
from rtprelay.kernel.libbpf import possible_cpus, stride
from rtprelay.kernel.netlink import AddressChanged, EventsLost, LinkChanged, Monitor, Netlink
from rtprelay.kernel.nexthop import NextHops
from rtprelay.kernel.pins import Pins
from rtprelay.kernel.port import Port
from rtprelay.kernel.reports import merge, ssrc_report
from rtprelay.kernel.srtp_keys import SUITES_IN_KERNEL
from rtprelay.plan.flow import (
    Capabilities,
    DropFlow,
    Flow,
    FlowOp,
    FlowReport,
    FlowTable,
    LockFlow,
    Output,
    OutputReport,
    PutFlow,
    PutOutput,
    SsrcReport,
)
from rtprelay.security.indices import Indices
from rtprelay.security.srtp import Direction, SrtpParameters
from rtprelay.values import Endpoint

_TICK = 0.25
"""Seconds."""
SLICE = 1024
"""Slots whose counters are compared at once: 0.1 ms, and 5 ms where all of them have moved."""
_NEIGHBOUR_TICKS = 4
"""Neighbours are asked again, and features of devices looked at, every so many ticks."""
_SWITCH_AFTER = 1.0
"""Seconds the programs of a predecessor go on with maps we cannot use, while ours are being filled."""

_STATE_STRIDE = stride(ctypes.sizeof(abi.State))
_STATE = struct.Struct("=2Q24xQ12xH")
"""Packets, bytes, last arrival and generation heard of struct rtprelay_state."""
_ASIDE_STRIDE = stride(ctypes.sizeof(abi.Aside))
_ASIDE = struct.Struct("=5Q")
"""The counters of struct rtprelay_aside."""
_WORD = 8


def _sum(*reports: FlowReport | None) -> FlowReport | None:
    """Of those there are; the first says what outputs there are and who forwards."""
    present = [report for report in reports if report is not None]
    return functools.reduce(merge, present) if present else None


class EbpfBackend:
    """A `Backend` over the programs in `ebpf/`. `addresses`: those media flows through."""

    def __init__(self, bpf_path: Path, addresses: Sequence[str], use_xdp: bool = True, max_flows: int = 16384) -> None:
        self.capabilities = Capabilities(name="ebpf" if use_xdp else "tc", in_kernel=True, srtp_suites=SUITES_IN_KERNEL)
        self.forwarder = UserspaceForwarder(self._spoken, self._shared, self._heard_type, self._arrived)
        self._addresses = frozenset(raw_address(address) for address in addresses)
        self._use_xdp = use_xdp
        # A flow has an RTP and an RTCP output as a rule; the rest is for fan-out, whose blocks are moved by copying.
        outputs = max(2 * max_flows, 4 * abi.Limits.MAX_OUTPUTS)
        sizes = {
            # A flow that changes is in two places for a while.
            "rtprelay_flows": 2 * max_flows,
            "rtprelay_rules": 2 * max_flows,
            "rtprelay_state": max_flows,
            "rtprelay_aside": max_flows,
            "rtprelay_ssrcs": max_flows,
            "rtprelay_lanes": max_flows,
            # Each flow may come in under a key, and go out under another.
            "rtprelay_srtp_keys": 2 * max_flows,
            "rtprelay_srtp_state": 2 * max_flows,
            "rtprelay_srtp_streams": max_flows,
            "rtprelay_output": outputs,
            "rtprelay_wrap": outputs,
            "rtprelay_sent": outputs,
            "rtprelay_unsent": outputs,
        }
        self._pins = Pins(bpf_path, sizes)
        self._withdrawn: dict[Endpoint, FlowReport] = {}
        """What the kernel counted of flows that userspace has taken over."""
        self._heard: dict[Endpoint, Endpoint | None] = {}
        """The expected source that the kernel had heard of such a flow."""
        self._ticks = 0
        self._handles: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        if os.geteuid() != 0:
            raise BackendFault("eBPF needs root: to load programs, and to keep its maps from others")
        try:
            self._monitor = Monitor()
            self._netlink = Netlink()
            self._pins.open()
        except OSError as error:
            raise BackendFault(f"{error.strerror}: {error.filename or 'netlink'}") from error
        try:
            self._take_over()
        except Exception:
            if not self._pins.inherited:
                self._pins.remove()
            self._pins.close()
            raise

    def _take_over(self) -> None:
        maps = self._pins.maps
        self._counts = maps["rtprelay_counts"]
        self._hops = NextHops(self._netlink)
        self._groups = Groups(maps["rtprelay_devices"], maps["rtprelay_groups"], self._pins.egress)
        keys = KeyPrograms(self._pins.claim, self._pins.forget)
        self._installer = Installer(maps, self._groups, self._hops, self.forwarder.srtp, keys)
        self._packets = memoryview(self._installer.state).cast("Q")
        self._reported = [0] * maps["rtprelay_state"].max_entries
        for flow in self._installer.adopt():
            self.forwarder.apply(PutFlow(flow))
        allow_local_delivery()
        self._attachments = Attachments(self._pins, self._netlink, self._addresses, self._use_xdp)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._monitor.fileno(), self._read_events)
        if self.replaces:
            self._later(_SWITCH_AFTER, self._switch)
        else:
            self._switch()
        self._later(_TICK, self._tick)

    def _switch(self) -> None:
        """Our programs take over."""
        self._attachments.reconcile()
        self._pins.forget_predecessor()
        self._hops.features_changed()
        self._work()

    @property
    def replaces(self) -> bool:
        """A predecessor's programs still forward, over maps that ours cannot use."""
        return self._pins.replaces

    def interfaces(self) -> Sequence[InterfaceMode]:
        return self._attachments.modes()

    def apply(self, ops: Sequence[FlowOp]) -> None:
        self._installer.tidy()
        for op in ops:
            # `match` takes them apart in 0.2 us each.
            if isinstance(op, PutFlow):
                self._put_flow(op.flow)
                self.forwarder.put_flow(op.flow)
            elif isinstance(op, DropFlow):
                self._drop_flow(op.local)
                self.forwarder.drop_flow(op.local)
            elif isinstance(op, PutOutput):
                self._put_output(op.local, op.output)
                self.forwarder.put_output(op.local, op.output)
            elif isinstance(op, LockFlow):
                if op.local in self._installer.ports:
                    self._installer.lock(op.local)
                else:
                    self.forwarder.lock(op.local)
            else:
                self._installer.drop_output(op.local, op.source, op.lane)
                self.forwarder.drop_output(op.local, op.source, op.lane)

    def _put_flow(self, flow: Flow) -> None:
        """The kernel's part; a flow that forwards nothing is kept out of it."""
        if flow.barren and flow.srtp is None and flow.local not in self._installer.ports:
            self.forwarder.awaited.add(flow.local)
        else:
            self._enter(flow)

    def _drop_flow(self, local: Endpoint) -> None:
        self._withdrawn.pop(local, None)
        self._heard.pop(local, None)
        self._installer.drop_flow(local)

    def _put_output(self, local: Endpoint, output: Output) -> None:
        if not output_fits(output):
            self._withdraw(local)
            return
        flow = self.forwarder.flow(local)
        if flow is not None and local in self.forwarder.awaited:
            self._enter(flow)
        if flow is None or local in self._installer.ports:
            self._installer.put_output(local, output)

    def _enter(self, flow: Flow) -> None:
        """The kernel has no entry for a flow it cannot serve: all packets go up."""
        if flow_fits(flow):
            self._installer.put_flow(flow)
            self.forwarder.awaited.discard(flow.local)
        else:
            self._withdraw(flow.local)

    def _arrived(self, flow: Flow) -> None:
        """The first packet at a flow that was kept out: from now on the kernel says which are handed up, how fast."""
        # Without room all of them go on coming up.
        with contextlib.suppress(BackendFault):
            self._enter(flow)

    def _withdraw(self, local: Endpoint) -> None:
        """From now on userspace alone forwards this flow; what the kernel has counted stays counted."""
        self.forwarder.awaited.discard(local)
        port = self._installer.ports.get(local)
        if port is None:
            return
        counted = _sum(self._kernel_report(port), self._withdrawn.get(local))
        if counted is not None:
            heard = port.flow.expected if counted.spoken else None
            self._withdrawn[local] = msgspec.structs.replace(counted, spoken=False, in_kernel=False)
            self._heard[local] = heard
        self._installer.drop_flow(local)

    @property
    def occupied(self) -> int:
        """Places of the maps that are in use or wait to be given out again."""
        return self._installer.occupied

    def adopt(self) -> FlowTable:
        return self.forwarder.table()

    # Reading

    def read(self, locals_: Sequence[Endpoint]) -> list[FlowReport]:
        return [report for report in map(self._report, locals_) if report is not None]

    def changed(self) -> Iterator[list[FlowReport]]:
        told = set(self.forwarder.moved())
        yield self._summaries(told)
        for first in range(0, self._installer.reach, SLICE):
            yield self._summaries(self._moved(first) - told)

    def _moved(self, first: int) -> set[Endpoint]:
        """The flows among those of a slice of slots that the kernel has counted packets of since the last time."""
        slice_, step = slice(first, first + SLICE), _STATE_STRIDE // _WORD
        # `packets` opens the state.
        before, now = self._reported[slice_], self._packets[first * step : (first + SLICE) * step : step].tolist()
        if now == before:
            return set()
        self._reported[slice_] = now
        by_slot = self._installer.by_slot
        counts = zip(range(first, first + SLICE), before, now, strict=False)
        return {by_slot[slot].flow.local for slot, old, new in counts if new != old and new and slot in by_slot}

    def _summaries(self, locals_: Iterable[Endpoint]) -> list[FlowReport]:
        return [report for report in map(self._summary, locals_) if report is not None]

    def _spoken(self, local: Endpoint) -> bool:
        """Whether the kernel has heard the flow's expected source."""
        port = self._installer.ports.get(local)
        if port is not None:
            return self._installer.read_state(port.slot).ssrc.confirmed == port.generation
        heard, flow = self._heard.get(local), self.forwarder.flow(local)
        return heard is not None and flow is not None and heard == flow.expected

    def _shared(self, direction: Direction, parameters: SrtpParameters) -> Indices | None:
        """The indices of a key that the programs use."""
        return self._installer.keys.shared(direction, parameters)

    def _heard_type(self, local: Endpoint, ssrc: int) -> int | None:
        """The payload type that the kernel last heard from a source."""
        port = self._installer.ports.get(local)
        return next((each.payload_type for each in self._sources(port) if each.ssrc == ssrc), None) if port else None

    def _sources(self, port: Port) -> list[SsrcReport]:
        if not self._packets[port.slot * _STATE_STRIDE // _WORD]:
            return []
        return [ssrc_report(source) for source in self._installer.sources(port.slot)]

    def _summary(self, local: Endpoint) -> FlowReport | None:
        """The counters without those of single sources and outputs."""
        port = self._installer.ports.get(local)
        kernel = self._kernel_summary(port) if port is not None else None
        return self._complete(local, kernel, self.forwarder.summary(local))

    def _report(self, local: Endpoint) -> FlowReport | None:
        port = self._installer.ports.get(local)
        if port is None:
            return self._complete(local, None, self.forwarder.report(local))
        # Nearly always nothing has come up here, and there is nothing to add.
        user = self.forwarder.report(local) if self.forwarder.summary(local) is not None else None
        return self._complete(local, self._kernel_report(port), user)

    def _complete(self, local: Endpoint, kernel: FlowReport | None, user: FlowReport | None) -> FlowReport | None:
        withdrawn = self._withdrawn.get(local)
        if user is None and withdrawn is None:
            return kernel
        report = _sum(kernel, user, withdrawn)
        if report is None or withdrawn is None:
            return report
        return msgspec.structs.replace(report, spoken=report.spoken or self._spoken(local))

    def _kernel_summary(
        self, port: Port, ssrcs: tuple[SsrcReport, ...] = (), outputs: tuple[OutputReport, ...] = ()
    ) -> FlowReport:
        state = _STATE.unpack_from(self._installer.state, port.slot * _STATE_STRIDE)
        packets, octets, last_arrival, confirmed = state
        aside = _ASIDE.unpack_from(self._installer.aside, port.slot * _ASIDE_STRIDE)
        dropped, punted, last_seen, rtcp_packets, rtcp_bytes = aside
        return FlowReport(
            local=port.flow.local,
            packets=packets,
            bytes=octets,
            dropped=dropped,
            punted=punted,
            rtcp_packets=rtcp_packets,
            rtcp_bytes=rtcp_bytes,
            last_packet=max(last_arrival, last_seen) / 1e9,
            spoken=confirmed == port.generation,
            kernel_packets=packets,
            kernel_bytes=octets,
            in_kernel=True,
            ssrcs=ssrcs,
            outputs=outputs,
        )

    def _kernel_report(self, port: Port) -> FlowReport:
        return self._kernel_summary(port, tuple(self._sources(port)), self._installer.output_reports(port))

    def counters(self) -> dict[str, int]:
        """Punted packets are judged in userspace as well, under the same name: they count once."""
        user = self.forwarder.counters()
        found: dict[str, int] = {}
        cpus = possible_cpus()
        for index, name in abi.count_names().items():
            values = self._counts.lookup(index.to_bytes(4, "little"), cpus) or b""
            kernel = sum(struct.unpack(f"={len(values) // _WORD}Q", values))
            other = user.pop(name, 0)
            found[name] = max(kernel, other) if name.startswith("punt_") else kernel + other
        return found | user

    # Events

    def _read_events(self) -> None:
        reconcile = False
        for event in self._monitor.events():
            self._hops.handle(event)
            if isinstance(event, LinkChanged) and event.gone:
                self._groups.forget(event.link.index)
            reconcile |= isinstance(event, LinkChanged | AddressChanged | EventsLost)
        if reconcile and not self.replaces:
            self._attachments.reconcile()
        self._work()

    def _work(self) -> None:
        """Draw the consequences of what happened to the network, a slice at a time."""
        self._installer.follow(self._hops.work())
        if self._hops.doubtful:
            self._loop.call_soon(self._work)

    def _tick(self) -> None:
        self._later(_TICK, self._tick)
        self._installer.tick()
        self._ticks += 1
        if self._ticks % _NEIGHBOUR_TICKS == 0:
            self._hops.tick()
            self._hops.features_changed()
            self._work()

    def _later(self, delay: float, deed: Callable[[], None]) -> None:
        self._handles = [handle for handle in self._handles if handle.when() > self._loop.time()]
        self._handles.append(self._loop.call_later(delay, deed))

    async def stop(self) -> None:
        for handle in self._handles:
            handle.cancel()
        self._loop.remove_reader(self._monitor.fileno())
        self._attachments.close()
        self._packets.release()
        self._installer.close()
        self._groups.close()
        self._pins.close()
        self._netlink.close()
        self._monitor.close()
