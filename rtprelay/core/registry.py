"""All calls with what belongs to them: here a changed call becomes effects."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core import snapshot
from rtprelay.core.admission import Admission
from rtprelay.core.effects import ApplyFlows, ClosePorts, Effect, Notify, Persist
from rtprelay.core.identity import DtlsIdentity
from rtprelay.core.learning import Learning
from rtprelay.core.loops import leads_back
from rtprelay.core.owners import Owner, Owners
from rtprelay.core.ports import Ports
from rtprelay.core.queue import EffectQueue
from rtprelay.core.requests import RequestCounts
from rtprelay.core.settings import Settings
from rtprelay.core.timers import Timers
from rtprelay.core.totals import EndReason, Totals
from rtprelay.core.transports import Transports
from rtprelay.core.unheard import Unheard
from rtprelay.negotiate.address import AddressPolicy, Interfaces
from rtprelay.plan.diff import diff
from rtprelay.plan.flow import Capabilities, Flow, FlowReport, FlowTable
from rtprelay.plan.planner import plan
from rtprelay.values import CallId, Endpoint


class Registry:
    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        rng: random.Random,
        wall_offset: float,
        now: float,
        route: Callable[[str], str | None],
    ) -> None:
        self.settings = settings
        self.route = route
        self.capabilities = capabilities
        self.random = rng
        self.instance = f"{rng.getrandbits(64):016x}"
        self.wall_offset = wall_offset
        self.interfaces = Interfaces(
            settings.interfaces, settings.interface_aliases, saving=settings.save_interface_ports
        )
        self.policy = AddressPolicy(settings.interfaces, settings.control_addresses)
        self.ports = Ports(settings.interfaces, settings.port_quarantine, rng)
        self.totals = Totals(now)
        self.requests = RequestCounts()
        self.admission = Admission()
        self.learning = Learning()
        self.unheard = Unheard()
        self.timers: Timers[CallId] = Timers()
        self.transports = Transports(DtlsIdentity(self.wall(now), ciphers=settings.dtls_ciphers, mtu=settings.dtls_mtu))
        self.queue = EffectQueue()
        self.owners = Owners()
        self.calls: dict[CallId, Call] = {}
        self.aliases: dict[CallId, CallId] = {}
        """By another name of a call its own."""
        self.tables: dict[CallId, dict[Endpoint, Flow]] = {}
        """What is installed, as far as we asked for it."""
        self.records: dict[CallId, bytes] = {}
        """What the journal has of each call."""
        self.fresh: dict[Endpoint, FlowReport] = {}
        """What ReadFlows brought in during the handling of the present input."""
        self._activity: dict[CallId, float] = {}
        self._reachable = {i.advertised or i.address: i.address for i in settings.interfaces}
        self._reachable |= {i.address: i.address for i in settings.interfaces}

    def emit(self, *effects: Effect) -> None:
        self.queue.emit(*effects)

    def notify(self, event: str, call_id: CallId | None, level: str = "info", **fields: Any) -> None:
        self.emit(Notify(event, call_id, fields, level))

    # --- look-up ---

    def owned(self, local: Endpoint) -> tuple[Owner, Call, Media] | None:
        """Whose port this is, with the call and the media."""
        owner = self.owners.of(local)
        if owner is None:
            return None
        call = self.calls[owner.call_id]
        return owner, call, call.parties[owner.party].medias[owner.index].at(local)

    def locals(self, call_id: CallId) -> tuple[Endpoint, ...]:
        """The call's ports that have a flow."""
        return tuple(self.tables.get(call_id, ()))

    def last_packet(self, call_id: CallId) -> float:
        """CLOCK_MONOTONIC seconds, 0.0 when none came."""
        return self._activity.get(call_id, 0.0)

    def wall(self, now: float) -> float:
        return now + self.wall_offset

    # --- changes ---

    def observe(self, report: FlowReport) -> None:
        self.fresh[report.local] = report
        owner = self.owners.of(report.local)
        if owner is not None:
            self.totals.observe(report)
            if report.last_packet:
                self.touch(owner.call_id, report.last_packet)

    def touch(self, call_id: CallId, when: float) -> None:
        """The call was alive at that time (CLOCK_MONOTONIC)."""
        if when > self._activity.get(call_id, 0.0):
            self._activity[call_id] = when

    def put(self, call: Call, table: dict[Endpoint, Flow] | None = None) -> None:
        """The call is as it is now; with `table`, these flows of it are installed."""
        self.calls[call.call_id] = call
        self.owners.note(call)
        for alias in call.aliases:
            self.aliases[alias] = call.call_id
        if table is not None:
            self.tables[call.call_id] = table

    def absorb(self, call: Call, other: Call) -> None:
        """The other call is a part of this one from now on."""
        self.owners.forget(other.call_id)
        shift = call.take_in(other)
        self.tables[call.call_id] = {**self.tables[call.call_id], **self.tables[other.call_id]}
        self.touch(call.call_id, self.last_packet(other.call_id))
        self.transports.rename(other.call_id, call.call_id, shift)
        self.forget(other.call_id)
        self.put(call)

    def forget(self, call_id: CallId) -> None:
        call = self.calls.get(call_id)
        for alias in call.aliases if call is not None else ():
            self.aliases.pop(alias, None)
        self.owners.forget(call_id)
        for known in (self.calls, self.tables, self.records, self._activity):
            known.pop(call_id, None)
        self.timers.forget(call_id)
        self.transports.forget(call_id)

    def replan(self, call: Call) -> tuple[Effect, ...]:
        """Bring the data plane in line with the call."""
        old = self.tables.get(call.call_id, {})
        new = plan(call, self.capabilities)
        self.tables[call.call_id] = new
        loops = self._cut_loops(call, old, new)
        ops = diff(old, new)
        return (*loops, ApplyFlows(ops)) if ops else loops

    def persist(self, call: Call) -> Persist:
        record = self.records[call.call_id] = snapshot.encode(call)
        return Persist(call.call_id, record)

    def close(self, pairs: Iterable[Endpoint]) -> tuple[Effect, ...]:
        """Close the ports of these pairs, each named by its RTP port, and forget what was known of them."""
        return self._close(tuple([local for rtp in pairs for local in rtp.pair]))

    def _close(self, locals_: tuple[Endpoint, ...]) -> tuple[Effect, ...]:
        if not locals_:
            return ()
        self.learning.forget(locals_)
        self.unheard.forget(locals_)
        self.totals.forget(locals_)
        return (ClosePorts(locals_),)

    def retire(self, call: Call, locals_: Iterable[Endpoint]) -> None:
        """These flows are no more; what they had counted stays the call's (a ReadFlows has been carried out)."""
        for report in [self.fresh[local] for local in locals_ if local in self.fresh]:
            self.totals.retire(report)
            rtp, rtcp = report.received()
            call.retired_rtp += rtp
            call.retired_rtcp += rtcp

    def end(self, call: Call, reason: EndReason, now: float) -> Iterable[Effect]:
        """Take the call down, with the counters in `fresh` as its last ones (a ReadFlows has been carried out)."""
        if self.calls.get(call.call_id) is not call:
            return ()
        table = self.tables.get(call.call_id, {})
        seconds = self.wall(now) - call.created
        reports = {local: self.fresh[local] for local in table if local in self.fresh}
        self.totals.end(call, reason, seconds, reports)
        ports = self.owners.ports(call.call_id)
        self.forget(call.call_id)
        for rtp in ports[::2]:
            self.ports.give_back(rtp, now)
        packets = sum([report.packets for report in reports.values()])
        packets += call.retired_rtp.packets + call.retired_rtcp.packets
        fields = {"reason": reason.name.lower(), "seconds": round(seconds, 3), "packets": packets}
        return (
            *((ApplyFlows(diff(table, {})),) if table else ()),
            *self._close(ports),
            Persist(call.call_id, None),
            Notify("call ended", call.call_id, fields),
        )

    # --- loops ---

    def _cut_loops(self, call: Call, old: FlowTable, new: dict[Endpoint, Flow]) -> tuple[Effect, ...]:
        """Flows that changed and lead back to themselves forward nothing."""
        copies = [output for flow in new.values() for output in (*flow.outputs, *flow.rtcp_outputs)]
        if self._reachable.keys().isdisjoint([output.destination.address for output in copies]):
            return ()
        told = []
        for local, flow in new.items():
            if old.get(local) != flow and leads_back(flow, self._flow_at):
                told.append(Notify("media loop", call.call_id, {"port": str(local)}, level="warning"))
                new[local] = msgspec.structs.replace(flow, outputs=(), rtcp_outputs=())
        return tuple(told)

    def _flow_at(self, endpoint: Endpoint) -> Flow | None:
        address = self._reachable.get(endpoint.address)
        if address is None:
            return None
        local = Endpoint(address, endpoint.port)
        owner = self.owners.of(local)
        return self.tables.get(owner.call_id, {}).get(local) if owner is not None else None
