"""What the core asks the world to do: a closed union, drained in order after each input."""

from __future__ import annotations

from typing import Any

import msgspec

from rtprelay.plan.flow import FlowOp
from rtprelay.values import CallId, Endpoint


class OpenPorts(msgspec.Struct, frozen=True, gc=False):
    """Hold these ports. At the first that cannot be had the runtime calls Relay.port_failed at once, before draining
    on, and leaves alone those after it.
    """

    locals: tuple[Endpoint, ...]
    tos: int = 0


class MarkPort(msgspec.Struct, frozen=True, gc=False):
    """What leaves from `local` has this TOS from now on."""

    local: Endpoint
    tos: int


class ClosePorts(msgspec.Struct, frozen=True, gc=False):
    locals: tuple[Endpoint, ...]


class ApplyFlows(msgspec.Struct, frozen=True, gc=False):
    """On failure, however far it went, the runtime calls Relay.flows_failed at once, before draining on."""

    ops: tuple[FlowOp, ...]


class SendDatagram(msgspec.Struct, frozen=True, gc=False):
    """Send from the socket bound at `local`."""

    local: Endpoint
    remote: Endpoint
    data: bytes


class Reinject(msgspec.Struct, frozen=True, gc=False):
    """Run a punted packet through the userspace forwarder again: the flow has changed since it was punted (source
    learned).
    """

    local: Endpoint
    remote: Endpoint
    data: bytes


class PassOn(msgspec.Struct, frozen=True, gc=False):
    """Send a datagram that is no RTP to where the flow's packets go, as it is, and count it as one of them: it is the
    party's.
    """

    local: Endpoint
    remote: Endpoint
    data: bytes


class ReadFlows(msgspec.Struct, frozen=True, gc=False):
    """Read these flows' counters now; the runtime hands them to Relay.handle_report before draining on."""

    locals: tuple[Endpoint, ...]


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Journal the call; `record` None: the call is gone. Always before the reply that promises it."""

    call_id: CallId
    record: bytes | None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to the request with this id."""

    request_id: int
    body: dict[str, Any]


class Notify(msgspec.Struct, frozen=True, gc=False):
    """Something worth telling a person or a machine: logged, and later counted or pushed. `fields` are JSON-able."""

    event: str
    call_id: CallId | None = None
    fields: dict[str, Any] = {}
    level: str = "info"


Effect = (
    OpenPorts
    | MarkPort
    | ClosePorts
    | ApplyFlows
    | SendDatagram
    | Reinject
    | PassOn
    | ReadFlows
    | Persist
    | Reply
    | Notify
)
