"""The relay: commands, packets nobody else could judge, counters and time in; effects out.

The only stateful object of the core. After any handle_* the caller drains next_effect() to None before the next
handle_*; two effects are answered at once, in the middle of draining: an OpenPort that failed by port_failed(), a
ReadFlows by handle_report().
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from rtprelay.core import snapshot
from rtprelay.core.effects import ApplyFlows, Effect, OpenPort, Reply
from rtprelay.core.expiry import expire, schedule
from rtprelay.core.handlers import HANDLERS
from rtprelay.core.judge import judge
from rtprelay.core.mutation import Attempt, retry
from rtprelay.core.registry import Registry
from rtprelay.core.settings import Settings
from rtprelay.errors import RelayError
from rtprelay.plan.diff import diff
from rtprelay.plan.flow import Capabilities, FlowReport, FlowTable
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.values import Endpoint


class Relay:
    """`rng` chooses ports, tags and SSRCs; `wall_offset` added to a `now` (CLOCK_MONOTONIC) gives seconds since the
    epoch.
    """

    def __init__(
        self, settings: Settings, capabilities: Capabilities, rng: random.Random, wall_offset: float, now: float = 0.0
    ) -> None:
        self.registry = Registry(settings, capabilities, rng, wall_offset, now)
        self._attempt: Attempt | None = None

    def handle_command(self, request: Request, now: float) -> None:
        """Carry out a request; exactly one Reply comes among its effects."""
        self._begin()
        command = request.command
        for flag in command.unknown_flags:
            self.registry.notify("unknown flag", command.call_id or None, level="warning", flag=flag)
        try:
            self._attempt = HANDLERS[command.name](self.registry, request, now)
        except RelayError as error:
            self.registry.emit(Reply(request.request_id, reply.error(error)))

    def handle_datagram(self, local: Endpoint, source: Endpoint, data: bytes, reason: str, now: float) -> None:
        """A packet the data plane would not judge (`reason`): an unexpected source, or no RTP at all."""
        self._begin()
        judge(self.registry, local, source, data, now)

    def handle_report(self, reports: Sequence[FlowReport], now: float) -> None:
        """Counters: liveness, totals, and what a ReadFlows asked for."""
        for report in reports:
            self.registry.observe(report)

    def handle_timeout(self, now: float) -> None:
        self._begin()
        expire(self.registry, now)

    def poll_timeout(self) -> float | None:
        """When handle_timeout is due (same clock as `now`)."""
        return self.registry.timers.next_deadline()

    def port_failed(self, local: Endpoint, error: OSError, now: float) -> None:
        """An OpenPort failed: the command that wanted the port starts over with another; nothing was promised yet."""
        attempt = self._attempt
        if attempt is not None and any(local in pair for pair in attempt.ports.taken):
            self._attempt = retry(self.registry, attempt, local, error, now)
            return
        owner = self.registry.owner(local)
        call_id = owner.call_id if owner is not None else None
        self.registry.notify("port lost", call_id, level="error", port=str(local), error=str(error))

    def next_effect(self) -> Effect | None:
        """The next thing to do, None when all is done."""
        return self.registry.next_effect()

    def restore(self, records: Iterable[bytes], installed: FlowTable, now: float) -> None:
        """Take over from a predecessor: its journal, and the flows it left in the data plane.

        Ports are opened again; flows that still stand as planned are not touched; those of no call are removed.
        """
        self._begin()
        registry = self.registry
        planned: dict[Endpoint, object] = {}
        for record in records:
            try:
                call = snapshot.decode(record)
            except RelayError as error:
                registry.notify("call lost", None, level="error", reason=error.reason)
                continue
            registry.put_back(call, {local: installed[local] for local in call.local_endpoints() if local in installed})
            for _, media in call.medias():
                if media.local is not None and media.local_rtcp is not None:
                    registry.emit(OpenPort(media.local, media.tos), OpenPort(media.local_rtcp, media.tos))
            registry.emit(*registry.replan(call))
            schedule(registry, call)
            planned.update(registry.tables[call.call_id])
        restored = registry.calls.values()
        registry.ports.claim(media.local for call in restored for _, media in call.medias() if media.local is not None)
        orphans = {local: flow for local, flow in installed.items() if local not in planned}
        # flows of a planned call that it no longer wants were removed by its own replan
        if orphans:
            registry.emit(ApplyFlows(diff(orphans, {})))
        if registry.calls or orphans:
            registry.notify("restored", None, calls=len(registry.calls), adopted=len(installed), orphans=len(orphans))

    def _begin(self) -> None:
        self._attempt = None
        self.registry.fresh = {}
