"""A command that changes a call, as one transaction: it happens as a whole or not at all, ports, flows, journal and
reply included.

Three steps. First the call is changed and its new ports are opened: a port that cannot be bound only means to close the
others, put the call back as it was, and start over. Then, with all ports open, the flows: where the data plane has no
room for them, flows, ports and call go back to what they were. What follows cannot be refused: journal, closed ports
and, last of all, the reply that promises it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import msgspec

from rtprelay.call.call import Call
from rtprelay.core import snapshot
from rtprelay.core.effects import ApplyFlows, ClosePorts, Effect, MarkPort, OpenPorts, ReadFlows, Reply
from rtprelay.core.expiry import schedule
from rtprelay.core.pierce import pierce
from rtprelay.core.ports import PortTransaction
from rtprelay.core.registry import Registry
from rtprelay.errors import PortsExhausted, RelayError
from rtprelay.negotiate.context import Context
from rtprelay.plan.diff import diff
from rtprelay.plan.flow import DropFlow, Flow
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Command, CommandName, Request
from rtprelay.values import CallId, Endpoint

MAX_ATTEMPTS = 16
"""Binds that may fail, one after the other, before a command is refused."""

REVIVING = frozenset(
    {
        CommandName.OFFER,
        CommandName.ANSWER,
        CommandName.PUBLISH,
        CommandName.SUBSCRIBE_REQUEST,
        CommandName.CREATE,
    }
)
"""These bring a call back that is deleted and waits for its delay to pass."""

Change = Callable[[Call, Command, Context], Body]
"""Changes the call in place and returns the reply's body; may raise RelayError at any point."""


class Attempt(msgspec.Struct):
    """A command whose effects are being carried out, with what it takes to undo it."""

    request: Request
    call: Call
    change: Change
    ports: PortTransaction
    body: Body
    table: dict[Endpoint, Flow]
    """The call's flows as they are installed."""
    now: float
    number: int = 1
    marks: list[MarkPort] = []
    """Sockets that were open already and get another TOS."""
    left: tuple[Endpoint, ...] = ()
    """Of these flows there is no more."""
    settled: bool = False
    """Carried out or undone: it cannot fail any more."""


def mutate(
    registry: Registry, request: Request, call_id: CallId, change: Change, now: float, number: int = 1
) -> Attempt | None:
    """Apply `change` to the call, which is created if there is none. None: refused, everything is as before.

    Raises what `change` raises beyond RelayError, with everything as before.
    """
    wall = registry.wall(now)
    call = registry.calls.get(call_id) or Call(call_id=call_id, created=wall, last_signal=wall)
    ports = PortTransaction(registry.ports, now)
    warned: set[str] = set()

    def warn(text: str) -> None:
        if text not in warned:
            warned.add(text)
            registry.notify(text, call_id, level="warning")

    context = Context(
        ports=ports,
        interfaces=registry.interfaces,
        policy=registry.policy,
        now=wall,
        random=registry.random,
        learning=registry.settings.endpoint_learning,
        tos=registry.settings.tos,
        instance=registry.instance,
        identity=registry.transports.identity,
        route=registry.route,
        warn=warn,
    )
    attempt = Attempt(request, call, change, ports, {}, registry.tables.get(call_id, {}), now, number)
    before = _tos(call)
    try:
        attempt.body = change(call, request.command, context)
    except Exception as error:
        _undo(registry, attempt)
        if not isinstance(error, RelayError):
            raise
        registry.notify("refused", call_id, level="warning", command=request.command.name.value, reason=error.reason)
        registry.emit(Reply(request.request_id, reply.error(error)))
        return None
    after = _tos(call)
    registry.emit(*[OpenPorts(pair, after.get(pair[0], 0)) for pair in ports.taken])
    for rtp, tos in after.items():
        if before.get(rtp, tos) != tos:
            attempt.marks += tuple(MarkPort(local, tos) for local in rtp.pair)
    registry.queue.later(lambda: _commit(registry, attempt), call_id, request.request_id)
    return attempt


def _commit(registry: Registry, attempt: Attempt) -> Iterable[Effect]:
    """All ports are open: the flows."""
    call, command = attempt.call, attempt.request.command
    try:
        call.last_signal = registry.wall(attempt.now)
        if command.name in REVIVING and not command.flags.fragment:
            call.delete_at = None
        registry.put(call)
        effects = registry.replan(call)
    except Exception:
        registry.emit(*_roll_back(registry, attempt))
        raise
    table = registry.tables[call.call_id]
    attempt.left = tuple([local for local in attempt.table if local not in table])
    registry.queue.later(lambda: _conclude(registry, attempt), call.call_id, attempt.request.request_id)
    return (ReadFlows(attempt.left), *effects) if attempt.left else effects


def _conclude(registry: Registry, attempt: Attempt) -> Iterable[Effect]:
    """The flows are in: all the rest."""
    call = attempt.call
    try:
        effects = list(registry.transports.sync(registry, call, attempt.now))
        schedule(registry, call)
        registry.retire(call, attempt.left)
        record = registry.persist(call)
    except Exception:
        registry.emit(*_roll_back(registry, attempt))
        raise
    attempt.settled = True
    attempt.ports.commit()
    closed = registry.close(attempt.ports.given)
    pierced = pierce(registry, call) if attempt.request.command.flags.pierce_nat else ()
    return (record, *effects, *attempt.marks, *closed, *pierced, Reply(attempt.request.request_id, attempt.body))


def _tos(call: Call) -> dict[Endpoint, int]:
    """Of each RTP port."""
    return {rtp: media.tos for _, media in call.medias() for rtp in media.pairs}


def _roll_back(registry: Registry, attempt: Attempt) -> list[Effect]:
    """Put everything back, with whichever of the flows are in."""
    attempt.settled = True
    # Removals first: it may be for want of room that we are here.
    back = diff(registry.tables.get(attempt.call.call_id, {}), attempt.table)
    ops = tuple(sorted(back, key=lambda op: not isinstance(op, DropFlow)))
    closed = ClosePorts(tuple(itertools.chain.from_iterable(attempt.ports.taken)))
    _undo(registry, attempt)
    return [ApplyFlows(ops), closed] if ops else [closed]


def _undo(registry: Registry, attempt: Attempt, unusable: Endpoint | None = None) -> None:
    """Put call and ports back as they were before the attempt."""
    attempt.ports.roll_back(unusable)
    call_id = attempt.call.call_id
    record = registry.records.get(call_id)
    if record is None:
        registry.forget(call_id)
    else:
        registry.put(snapshot.decode(record), attempt.table)


def refuse(registry: Registry, attempt: Attempt, error: RelayError) -> None:
    """The data plane did not take the flows, or not all of them."""
    registry.queue.discard()
    registry.emit(*_roll_back(registry, attempt))
    request, call_id = attempt.request, attempt.call.call_id
    registry.notify("refused", call_id, level="error", command=request.command.name.value, reason=error.reason)
    registry.emit(Reply(request.request_id, reply.error(error)))


def retry(registry: Registry, attempt: Attempt, failed: Endpoint, error: OSError, now: float) -> Attempt | None:
    """The port `failed` of the attempt could not be opened: try once more with others."""
    registry.queue.discard()
    taken = tuple(itertools.chain.from_iterable(attempt.ports.taken))
    registry.emit(ClosePorts(taken[: taken.index(failed)]))
    _undo(registry, attempt, unusable=failed)
    request, call_id = attempt.request, attempt.call.call_id
    if attempt.number == 1:
        registry.notify("port not opened", call_id, level="warning", port=str(failed), error=str(error))
    if attempt.number == MAX_ATTEMPTS:
        fault = PortsExhausted()
        registry.notify("refused", call_id, level="error", command=request.command.name.value, reason=fault.reason)
        registry.emit(Reply(request.request_id, reply.error(fault)))
        return None
    return mutate(registry, request, call_id, attempt.change, now, attempt.number + 1)
