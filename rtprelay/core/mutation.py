"""A command that changes a call, as one transaction: it happens as a whole or not at all, ports, flows, journal and
reply included.

A port that cannot be bound shows only when the runtime tries. Nothing has been promised by then, because the reply is
the last effect: the call is put back as it was and the command starts over with other ports.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rtprelay.call.call import Call
from rtprelay.core import snapshot
from rtprelay.core.effects import ClosePort, Reply
from rtprelay.core.expiry import schedule
from rtprelay.core.ports import PortTransaction
from rtprelay.core.registry import Registry
from rtprelay.errors import OurFault, RelayError
from rtprelay.negotiate.context import Context
from rtprelay.plan.flow import Flow
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Command, Request
from rtprelay.values import CallId, Endpoint

MAX_ATTEMPTS = 16
"""Binds that may fail, one after the other, before a command is refused."""

Change = Callable[[Call, Command, Context], Body]
"""Changes the call in place and returns the reply's body; may raise RelayError at any point."""


class Attempt(msgspec.Struct):
    """A command whose effects are being carried out, with what it takes to undo it."""

    request: Request
    call_id: CallId
    change: Change
    ports: PortTransaction
    record: bytes | None
    """The call as it was; None: there was none."""
    table: dict[Endpoint, Flow]
    """Its flows as they are installed."""
    number: int = 1


def mutate(
    registry: Registry, request: Request, call_id: CallId, change: Change, now: float, number: int = 1
) -> Attempt | None:
    """Apply `change` to the call, which is created if there is none. None: refused, everything is as before."""
    call = registry.calls.get(call_id)
    record = snapshot.encode(call) if call is not None else None
    wall = registry.wall(now)
    if call is None:
        call = Call(call_id=call_id, created=wall, last_signal=wall)
    ports = PortTransaction(registry.ports, now)
    attempt = Attempt(request, call_id, change, ports, record, registry.tables.get(call_id, {}), number)
    context = Context(
        ports=ports,
        interfaces=registry.interfaces,
        policy=registry.policy,
        now=wall,
        random=registry.random,
        learning=registry.settings.endpoint_learning,
        tos=registry.settings.tos,
        warn=lambda text: registry.notify(text, call_id, level="warning"),
    )
    try:
        body = change(call, request.command, context)
    except RelayError as error:
        undo(registry, attempt)
        registry.notify("refused", call_id, level="warning", command=request.command.name.value, reason=error.reason)
        registry.emit(Reply(request.request_id, reply.error(error)))
        return None
    call.last_signal = wall
    call.delete_at = None
    registry.calls[call_id] = call
    tos = request.command.flags.tos
    registry.open(ports.taken, registry.settings.tos if tos is None else tos)
    registry.adopt_ports(call)
    registry.emit(*registry.replan(call))
    for rtp in ports.given:
        registry.emit(*registry.close(rtp))
    ports.commit()
    schedule(registry, call)
    registry.emit(registry.persist(call), Reply(request.request_id, body))
    return attempt


def undo(registry: Registry, attempt: Attempt, unusable: Endpoint | None = None) -> None:
    """Put call and ports back as they were before the attempt."""
    attempt.ports.roll_back(unusable)
    if attempt.record is None:
        registry.forget(attempt.call_id)
    else:
        registry.put_back(snapshot.decode(attempt.record), attempt.table)


def retry(registry: Registry, attempt: Attempt, failed: Endpoint, error: OSError, now: float) -> Attempt | None:
    """The port `failed` of the attempt could not be opened: try once more with others."""
    registry.discard_effects()
    taken = [endpoint for pair in attempt.ports.taken for endpoint in pair]
    registry.emit(*(ClosePort(endpoint) for endpoint in taken[: taken.index(failed)]))
    undo(registry, attempt, unusable=failed)
    registry.notify("port busy", attempt.call_id, level="warning", port=str(failed), error=str(error))
    if attempt.number == MAX_ATTEMPTS:
        fault = OurFault(f"Failed to open port {failed}: {error}")
        registry.emit(Reply(attempt.request.request_id, reply.error(fault)))
        return None
    return mutate(registry, attempt.request, attempt.call_id, attempt.change, now, attempt.number + 1)
