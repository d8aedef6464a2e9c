"""All calls with what belongs to them, and the queue of effects: here a changed call becomes effects."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core import snapshot
from rtprelay.core.effects import ApplyFlows, ClosePort, Effect, Notify, OpenPort, Persist
from rtprelay.core.learning import Learning
from rtprelay.core.loops import leads_back
from rtprelay.core.ports import Ports
from rtprelay.core.settings import Settings
from rtprelay.core.timers import Timers
from rtprelay.core.totals import EndReason, Totals
from rtprelay.negotiate.address import AddressPolicy, Interfaces
from rtprelay.plan.diff import diff
from rtprelay.plan.flow import Capabilities, Flow, FlowReport
from rtprelay.plan.planner import plan
from rtprelay.values import CallId, Endpoint

Later = Callable[[], Iterable[Effect]]
"""Effects that depend on what comes in while the ones before them are carried out."""


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """Whose local port this is."""

    call_id: CallId
    party: int
    index: int
    rtcp: bool


class Registry:
    def __init__(
        self, settings: Settings, capabilities: Capabilities, rng: random.Random, wall_offset: float, now: float
    ) -> None:
        self.settings = settings
        self.capabilities = capabilities
        self.random = rng
        self.wall_offset = wall_offset
        self.interfaces = Interfaces(settings.interfaces)
        self.policy = AddressPolicy(settings.interfaces, settings.control_addresses)
        self.ports = Ports(settings.interfaces, settings.port_quarantine, rng)
        self.totals = Totals(now)
        self.learning = Learning()
        self.timers = Timers()
        self.calls: dict[CallId, Call] = {}
        self.tables: dict[CallId, dict[Endpoint, Flow]] = {}
        self.fresh: dict[Endpoint, FlowReport] = {}
        """What ReadFlows brought in during the handling of the present input."""
        self._owners: dict[Endpoint, Owner] = {}
        self._activity: dict[CallId, float] = {}
        self._effects: deque[Effect | Later] = deque()
        self._advertised = {i.advertised: i.address for i in settings.interfaces if i.advertised is not None}

    # --- effects ---

    def emit(self, *effects: Effect) -> None:
        self._effects.extend(effects)

    def later(self, effects: Later) -> None:
        self._effects.append(effects)

    def discard_effects(self) -> None:
        self._effects.clear()

    def next_effect(self) -> Effect | None:
        while self._effects:
            head = self._effects.popleft()
            if isinstance(head, Effect):
                return head
            self._effects.extendleft(reversed(list(head())))
        return None

    def notify(self, event: str, call_id: CallId | None, level: str = "info", **fields: Any) -> None:
        self.emit(Notify(event, call_id, fields, level))

    # --- look-up ---

    def owner(self, local: Endpoint) -> Owner | None:
        return self._owners.get(local)

    def owned(self, local: Endpoint) -> tuple[Owner, Call, Media] | None:
        """Whose port this is, with the call and the media."""
        owner = self._owners.get(local)
        if owner is None:
            return None
        call = self.calls[owner.call_id]
        return owner, call, call.parties[owner.party].medias[owner.index]

    def last_packet(self, call_id: CallId) -> float:
        """CLOCK_MONOTONIC seconds, 0.0 when none came."""
        return self._activity.get(call_id, 0.0)

    def wall(self, now: float) -> float:
        return now + self.wall_offset

    # --- changes ---

    def observe(self, report: FlowReport) -> None:
        self.fresh[report.local] = report
        self.totals.observe(report)
        owner = self._owners.get(report.local)
        if owner is not None and report.last_packet > self._activity.get(owner.call_id, 0.0):
            self._activity[owner.call_id] = report.last_packet

    def adopt_ports(self, call: Call) -> None:
        """The call's ports have changed: note whose they are now."""
        self._disown(call.call_id)
        self._own(call)

    def _disown(self, call_id: CallId) -> None:
        for local in self.tables.get(call_id, ()):
            self._owners.pop(local, None)

    def _own(self, call: Call) -> None:
        for party, media in call.medias():
            if media.local is not None:
                self._owners[media.local] = Owner(call.call_id, party.number, media.index, rtcp=False)
            if media.local_rtcp is not None:
                self._owners[media.local_rtcp] = Owner(call.call_id, party.number, media.index, rtcp=True)

    def put_back(self, call: Call, table: dict[Endpoint, Flow]) -> None:
        """The call as it was before a command that failed, with the flows that are installed."""
        self._disown(call.call_id)
        self.calls[call.call_id] = call
        self.tables[call.call_id] = table
        self._own(call)

    def forget(self, call_id: CallId) -> None:
        """A call that never came to be."""
        self._disown(call_id)
        self.calls.pop(call_id, None)
        self.tables.pop(call_id, None)
        self.timers.forget(call_id)

    def replan(self, call: Call) -> tuple[Effect, ...]:
        """Bring the data plane in line with the call."""
        old = self.tables.get(call.call_id, {})
        new = plan(call, self.capabilities)
        self.tables[call.call_id] = new
        for local, flow in new.items():
            if old.get(local) != flow and self._hops(flow) and leads_back(flow, self._flow_at):
                self.notify("media loop", call.call_id, level="warning", port=str(local))
                new[local] = msgspec.structs.replace(flow, outputs=(), rtcp_outputs=())
        ops = diff(old, new)
        return (ApplyFlows(ops),) if ops else ()

    def persist(self, call: Call) -> Persist:
        return Persist(call.call_id, snapshot.encode(call))

    def open(self, pairs: Iterable[tuple[Endpoint, Endpoint]], tos: int) -> None:
        for pair in pairs:
            self.emit(*(OpenPort(endpoint, tos) for endpoint in pair))

    def close(self, rtp: Endpoint) -> tuple[Effect, ...]:
        """Close the sockets of a pair and forget what was known of its ports."""
        pair = (rtp, rtp.with_port(rtp.port + 1))
        for endpoint in pair:
            self._owners.pop(endpoint, None)
            self.learning.forget(endpoint)
            self.totals.forget(endpoint)
        return tuple(ClosePort(endpoint) for endpoint in pair)

    def end(self, call: Call, reason: EndReason, now: float) -> Iterable[Effect]:
        """Take the call down, with the counters in `fresh` as its last ones (a ReadFlows has been carried out)."""
        if self.calls.get(call.call_id) is not call:
            return ()
        table = self.tables.pop(call.call_id, {})
        del self.calls[call.call_id]
        self.timers.forget(call.call_id)
        self._activity.pop(call.call_id, None)
        effects: list[Effect] = [ApplyFlows(diff(table, {}))] if table else []
        for _, media in call.medias():
            if media.local is not None:
                self.ports.give_back(media.local, now)
                effects.extend(self.close(media.local))
        seconds = self.wall(now) - call.created
        self.totals.end(reason, seconds)
        packets = sum(self.fresh[local].packets for local in table if local in self.fresh)
        effects.append(Persist(call.call_id, None))
        effects.append(
            Notify(
                "call ended",
                call.call_id,
                {"reason": reason.name.lower(), "seconds": round(seconds, 3), "packets": packets},
            )
        )
        return effects

    # --- loops ---

    def _flow_at(self, endpoint: Endpoint) -> Flow | None:
        local = Endpoint(self._advertised.get(endpoint.address, endpoint.address), endpoint.port)
        owner = self._owners.get(local)
        return self.tables.get(owner.call_id, {}).get(local) if owner is not None else None

    def _hops(self, flow: Flow) -> bool:
        return any(self._flow_at(output.destination) is not None for output in (*flow.outputs, *flow.rtcp_outputs))
