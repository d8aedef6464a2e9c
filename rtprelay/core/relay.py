"""The relay: commands, packets nobody else could judge, counters and time in; effects out.

The only stateful object of the core. After any handle_* the caller drains next_effect() to None before the next
handle_*; three effects are answered at once, in the middle of draining: an OpenPorts that failed by port_failed(), an
ApplyFlows that failed by flows_failed(), a ReadFlows by handle_report().
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import msgspec

from rtprelay.core.effects import Effect, Reply
from rtprelay.core.expiry import expire, schedule
from rtprelay.core.handlers import handler
from rtprelay.core.judge import judge
from rtprelay.core.mutation import Attempt, refuse, retry
from rtprelay.core.queue import fault
from rtprelay.core.registry import Registry
from rtprelay.core.restore import restore
from rtprelay.core.settings import Settings
from rtprelay.core.spoken import note_spoken
from rtprelay.core.streams import LANE_UNKNOWN, learn_stream
from rtprelay.errors import RelayError
from rtprelay.plan.flow import Capabilities, FlowOp, FlowReport, FlowTable, PutFlow
from rtprelay.sdp.document import insist
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.signalling.flags import find
from rtprelay.values import Endpoint


class Relay:
    """`rng` chooses ports, tags and SSRCs; `wall_offset` added to a `now` (CLOCK_MONOTONIC) gives seconds since the
    epoch; `route` tells the local address from which this host reaches another one.
    """

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        rng: random.Random,
        wall_offset: float,
        now: float = 0.0,
        route: Callable[[str], str | None] = lambda peer: None,
    ) -> None:
        self.registry = Registry(settings, capabilities, rng, wall_offset, now, route)
        self._attempt: Attempt | None = None
        self._proxy = ""
        self._told: set[str] = set()
        """Names of flags: there are only so many in the table."""

    def handle_command(self, request: Request, now: float) -> None:
        """Carry out a request; exactly one Reply comes among its effects."""
        self._begin()
        registry, command = self.registry, request.command
        if command.call_id in registry.aliases:
            command = msgspec.structs.replace(command, call_id=registry.aliases[command.call_id])
            request = msgspec.structs.replace(request, command=command)
        self._proxy = request.proxy
        registry.requests.asked(request.proxy, command.name.value)
        for flag in command.unknown_flags:
            registry.notify("unknown flag", command.call_id or None, level="warning", flag=flag)
        for flag in command.missed_flags - self._told:
            self._told.add(flag)
            fields = {"flag": flag, "reason": row.lacking if (row := find(flag)) is not None else ""}
            registry.notify("flag without effect, told once", command.call_id or None, level="warning", **fields)
        try:
            if registry.settings.reject_invalid_sdp:
                insist(command.sdp)
            self._attempt = handler(command.name)(registry, request, now)
        except RelayError as error:
            registry.emit(Reply(request.request_id, reply.error(error)))
        except Exception as error:
            registry.emit(*fault(error, command.call_id or None, request.request_id))

    def handle_datagram(self, local: Endpoint, source: Endpoint, data: bytes, reason: str, now: float) -> None:
        """A packet the data plane would not judge (`reason`): an unexpected source, a stream of a bundle that nobody
        knows, or no RTP at all.
        """
        self._begin()
        if reason == LANE_UNKNOWN:
            learn_stream(self.registry, local, source, data)
        else:
            judge(self.registry, local, source, data, now)

    def handle_report(self, reports: Sequence[FlowReport], now: float) -> None:
        """Counters: liveness, totals, and what a ReadFlows asked for."""
        alone = self.registry.queue.idle
        for report in reports:
            self.registry.observe(report)
            if alone:
                self.registry.unheard.look(self.registry, report, now)
        if alone:
            note_spoken(self.registry, reports)
        self.registry.totals.look(now)

    def handle_load(self, average: float, cpu: float, now: float) -> None:
        """What the host bears: its load average, and the percent of its cores that is busy. Nothing follows at once."""
        self.registry.admission.load_average = average
        self.registry.admission.cpu = cpu
        self.registry.totals.look(now)

    def handle_settings(self, settings: Settings, now: float) -> None:
        """The operator has changed their mind: calls live on, by the new limits. Interfaces and addresses stay."""
        self.registry.settings = settings
        for call in self.registry.calls.values():
            schedule(self.registry, call)

    def drain(self) -> None:
        """Take no new calls from now on."""
        self.registry.admission.draining = True

    def handle_timeout(self, now: float) -> None:
        self._begin()
        expire(self.registry, now)
        self.registry.transports.tick(self.registry, now)

    def poll_timeout(self) -> float | None:
        """When handle_timeout is due (same clock as `now`)."""
        registry = self.registry
        calls, transports = registry.timers.next_deadline(), registry.transports.next_deadline()
        if calls is None or transports is None:
            return transports if calls is None else calls
        return min(calls, transports)

    def port_failed(self, local: Endpoint, error: OSError, now: float) -> None:
        """An OpenPorts failed: the command that wanted the port starts over with another; nothing was promised yet."""
        attempt = self._attempt
        if attempt is not None and any(local in pair for pair in attempt.ports.taken):
            self._attempt = retry(self.registry, attempt, local, error, now)
            return
        owner = self.registry.owners.of(local)
        call_id = owner.call_id if owner is not None else None
        self.registry.notify("port lost", call_id, level="error", port=str(local), error=str(error))

    def flows_failed(self, ops: Sequence[FlowOp], error: RelayError, now: float) -> None:
        """An ApplyFlows was not carried out, or not wholly: the command that wanted it is refused, without a trace."""
        attempt = self._attempt
        if attempt is not None and not attempt.settled:
            refuse(self.registry, attempt, error)
            return
        owners = (self.registry.owners.of(op.flow.local if isinstance(op, PutFlow) else op.local) for op in ops)
        call_id = next((owner.call_id for owner in owners if owner is not None), None)
        self.registry.notify("flows refused", call_id, level="error", reason=error.reason)

    def next_effect(self) -> Effect | None:
        """The next thing to do, None when all is done."""
        effect = self.registry.queue.next()
        if type(effect) is Reply and effect.body.get("result") == "error":
            self.registry.requests.failed(self._proxy)
        return effect

    def restore(self, records: Iterable[bytes], installed: FlowTable, now: float) -> None:
        """Take over from a predecessor: its journal, and the flows it left in the data plane."""
        self._begin()
        restore(self.registry, records, installed, now)

    def _begin(self) -> None:
        self._attempt = None
        self.registry.fresh = {}
