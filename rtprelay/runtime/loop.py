"""The drain loop: turns what happens into inputs of the core, and the core's effects into deeds.

Theory of operation. Everything runs in the event loop's thread, one input at a time: a request, a datagram, a report, a
deadline. After each, `next_effect` is drained to None, in order. Three effects answer back before the next is taken:
a port that cannot be had (`port_failed`), a failed ApplyFlows (`flows_failed`) and ReadFlows (`handle_report`). Persist
is written before the Reply behind it leaves.

Media: a datagram goes to the userspace forwarder first, which names what leaves or hands it up (Punt). Only what is
handed up is seen by the core. Reinject runs a packet through the forwarder again; it is not handed up a second time.
PassOn has the forwarder send what it cannot judge itself.

A fault in one input never leaves it: it is logged with its call-id, the effects drained so far stand, a request gets an
error reply, and the loop goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from rtprelay.core.effects import (
    ApplyFlows,
    ClosePorts,
    Effect,
    MarkPort,
    Notify,
    OpenPorts,
    PassOn,
    Persist,
    ReadFlows,
    Reinject,
    Reply,
    SendDatagram,
)
from rtprelay.core.settings import Settings
from rtprelay.errors import RelayError
from rtprelay.kernel._abi import Limits
from rtprelay.kernel.backend import Steering
from rtprelay.kernel.forwarder import Forwarded, Punt
from rtprelay.kernel.select import DataPlane
from rtprelay.plan.flow import FlowOp, FlowReport, FlowTable
from rtprelay.runtime.sockets import MediaSockets
from rtprelay.signalling.command import Body, Command, Request
from rtprelay.store.journal import Journal
from rtprelay.values import CallId, Endpoint

POLL_EVERY = (0.2, 1.0)
"""Seconds between two reads of the data plane's counters: the shorter while a read is cheap."""
POLL_BREATH = 0.005
"""Seconds between two steps of a read, for whoever waits meanwhile."""
POLL_SHARE = 0.003
"""Of one core's time, what reading counters may take, and what follows from them: at 25,000 packets/s these are 120 ns
of a packet's price."""

MARK_FORWARDED = int(Limits.MARK_FORWARDED)
"""On RTCP that tc has already sent on and hands up to be read."""

Respond = Callable[[Body], None]
Hears = Callable[[str, str | None], bool]
"""Whether anybody hears a line of this level about this call."""


def _all(level: str, call_id: str | None) -> bool:
    return True


class Core(Protocol):
    """What the loop needs of `core.Relay`."""

    def handle_command(self, request: Request, now: float) -> None: ...
    def handle_datagram(self, local: Endpoint, source: Endpoint, data: bytes, reason: str, now: float) -> None: ...
    def handle_report(self, reports: Sequence[FlowReport], now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def port_failed(self, local: Endpoint, error: OSError, now: float) -> None: ...
    def flows_failed(self, ops: Sequence[FlowOp], error: RelayError, now: float) -> None: ...
    def handle_settings(self, settings: Settings, now: float) -> None: ...
    def poll_timeout(self) -> float | None: ...
    def next_effect(self) -> Effect | None: ...
    def restore(self, records: Iterable[bytes], installed: FlowTable, now: float) -> None: ...


class RelayLoop:
    """Owns the media ports; `start` before anything else, `stop` at the end."""

    def __init__(
        self,
        core: Core,
        data_plane: DataPlane,
        journal: Journal | None,
        log: FilteringBoundLogger,
        steering: Steering | None = None,
        hears: Hears = _all,
    ) -> None:
        self.core = core
        self.data_plane = data_plane
        self.counters: Counter[str] = Counter()
        self.sockets = MediaSockets(self._received, data_plane.capabilities.in_kernel, steering)
        self._journal = journal
        self._log = log
        self._hears = hears
        self._forward = data_plane.forwarder.forward
        self._waiting: dict[int, Respond] = {}
        self._own_requests = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0
        self._poller: asyncio.TimerHandle | None = None
        self._changed: Iterator[Sequence[FlowReport]] = iter(())
        self._poll_cost = 0.0
        self._deeds: dict[type[Effect], Callable[..., None]] = {
            OpenPorts: self._open_ports,
            MarkPort: self._mark_port,
            ClosePorts: self._close_ports,
            ApplyFlows: self._apply_flows,
            SendDatagram: self._send_datagram,
            Reinject: self._reinject,
            PassOn: self._pass_on,
            ReadFlows: self._read_flows,
            Persist: self._persist,
            Reply: self._reply,
            Notify: self._notify,
        }

    def start(self, installed: FlowTable) -> None:
        """Take over what the journal and the data plane remember, then begin to listen on the media ports."""
        records = self._journal.records() if self._journal is not None else ()
        self._input("restore", lambda now: self.core.restore(records, installed, now))
        loop = asyncio.get_running_loop()
        loop.add_reader(self.sockets.fileno(), self.sockets.read_ready)
        self._poller = loop.call_later(POLL_EVERY[0], self._poll)

    def stop(self) -> None:
        """Leave everything as it is in kernel and journal; only this process's sockets go."""
        for handle in (self._timer, self._poller):
            if handle is not None:
                handle.cancel()
        asyncio.get_running_loop().remove_reader(self.sockets.fileno())
        self.sockets.close_all()

    def handle(self, request: Request, respond: Respond) -> None:
        """Carry out a request; `respond` gets its reply, an error reply where the core failed."""
        self._waiting[request.request_id] = respond
        call_id = request.command.call_id
        if not self._input("command", lambda now: self.core.handle_command(request, now), call_id):
            unanswered = self._waiting.pop(request.request_id, None)
            if unanswered is not None:
                unanswered({"result": "error", "error-reason": "Internal error"})

    def execute(self, command: Command) -> Body:
        """Carry out a command of our own, the operator's say, and return its reply."""
        # Negative: a session's own ids are positive.
        self._own_requests -= 1
        replies: list[Body] = []
        self.handle(Request(self._own_requests, command), replies.append)
        return replies[0]

    def change(self, settings: Settings) -> None:
        """The operator's say about the relay, from now on."""
        self._input("settings", lambda now: self.core.handle_settings(settings, now))

    def _received(self, local: Endpoint, source: Endpoint, data: bytes, mark: int) -> None:
        now = time.monotonic()
        verdict = self._forward(local, data, source, now, mark == MARK_FORWARDED)
        if type(verdict) is Forwarded:
            self._send_copies(local, verdict)
        elif type(verdict) is Punt:
            reason = verdict.reason
            self._input("datagram", lambda now: self.core.handle_datagram(local, source, data, reason, now))

    def _send_copies(self, local: Endpoint, verdict: Forwarded) -> None:
        send = self.sockets.send
        for leaves, payload, destination in verdict.datagrams:
            if not send(leaves, destination, payload):
                self.data_plane.forwarder.send_failed(local, leaves, len(payload))

    def _poll(self) -> None:
        """Tell the core what moved, step by step. How soon again after the last one follows from what all have cost."""
        began = time.monotonic()
        try:
            reports = next(self._changed, None)
        except RelayError as error:
            reports = None
            self._log.error("counters_unreadable", reason=error.reason)
        if reports:
            self._input("report", lambda now: self.core.handle_report(reports, now))
        self._poll_cost += time.monotonic() - began
        pause = POLL_BREATH
        if reports is None:
            pause = min(max(self._poll_cost / POLL_SHARE, POLL_EVERY[0]), POLL_EVERY[1])
            self._changed, self._poll_cost = self.data_plane.changed(), 0.0
        self._poller = asyncio.get_running_loop().call_later(pause, self._poll)

    def _input(self, what: str, handle: Callable[[float], None], call_id: CallId | None = None) -> bool:
        """One input and everything that follows from it. False when any of it failed."""
        done = True
        try:
            handle(time.monotonic())
        except Exception as error:
            done = False
            self._failed(what, error, call_id)
        while True:
            effect = None
            try:
                # Taking an effect runs code of the core too: replies are made as late as possible.
                effect = self.core.next_effect()
                if effect is None:
                    break
                self._deeds[type(effect)](effect)
            except Exception as error:
                done = False
                self._failed(what if effect is None else type(effect).__name__, error, call_id, effect)
        self._arm()
        return done

    def _failed(self, what: str, error: Exception, call_id: CallId | None, effect: Effect | None = None) -> None:
        """Told once, with the call it was about: a refusal by its reason, a bug with its traceback."""
        self.counters[f"failed_{what}"] += 1
        if isinstance(effect, Persist | Notify):
            call_id = effect.call_id
        if isinstance(error, RelayError):
            self._log.error("failed", what=what, call_id=call_id, reason=error.reason)
        else:
            self._log.error("failed", what=what, call_id=call_id, reason=repr(error), exc_info=error)

    def _arm(self) -> None:
        """One timer for the core's next deadline; one that comes early finds the real deadline and is set again."""
        deadline = self.core.poll_timeout()
        if self._timer is not None:
            if deadline is None or self._armed <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            # A millisecond late rather than early: the loop's timers are no finer, and an early one comes in vain.
            delay = max(0.0, deadline - time.monotonic()) + 0.001
            self._armed = deadline
            self._timer = asyncio.get_running_loop().call_later(delay, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._input("timeout", self.core.handle_timeout)

    def _open_ports(self, effect: OpenPorts) -> None:
        for local in effect.locals:
            try:
                self.sockets.open(local, effect.tos)
            except OSError as error:
                self.core.port_failed(local, error, time.monotonic())
                return

    def _mark_port(self, effect: MarkPort) -> None:
        self.sockets.mark(effect.local, effect.tos)

    def _close_ports(self, effect: ClosePorts) -> None:
        for local in effect.locals:
            self.sockets.close(local)

    def _apply_flows(self, effect: ApplyFlows) -> None:
        try:
            self.data_plane.apply(effect.ops)
        except RelayError as error:
            self.counters["failed_ApplyFlows"] += 1
            self.core.flows_failed(effect.ops, error, time.monotonic())

    def _send_datagram(self, effect: SendDatagram) -> None:
        self.sockets.send(effect.local, effect.remote, effect.data)

    def _reinject(self, effect: Reinject) -> None:
        verdict = self._forward(effect.local, effect.data, effect.remote, time.monotonic())
        if isinstance(verdict, Forwarded):
            self._send_copies(effect.local, verdict)
        else:
            self.counters["reinject_refused"] += 1

    def _pass_on(self, effect: PassOn) -> None:
        forwarded = self.data_plane.forwarder.pass_on(effect.local, effect.data, effect.remote, time.monotonic())
        self._send_copies(effect.local, forwarded)

    def _read_flows(self, effect: ReadFlows) -> None:
        self.core.handle_report(self.data_plane.read(effect.locals), time.monotonic())

    def _persist(self, effect: Persist) -> None:
        if self._journal is not None:
            self._journal.put(effect.call_id, effect.record)

    def _reply(self, effect: Reply) -> None:
        respond = self._waiting.pop(effect.request_id, None)
        if respond is not None:
            respond(effect.body)

    def _notify(self, effect: Notify) -> None:
        # The log would find out itself, by way of an exception: 4 us a call.
        if not self._hears(effect.level, effect.call_id):
            return
        fields = effect.fields if effect.call_id is None else {"call_id": effect.call_id, **effect.fields}
        getattr(self._log, effect.level)(effect.event, **fields)
