"""What every data plane offers: memory, userspace, ebpf (XDP + tc), xtables. One contract test suite runs over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from rtprelay.kernel.forwarder import UserspaceForwarder
from rtprelay.plan.flow import Capabilities, FlowOp, FlowReport, FlowTable
from rtprelay.values import Endpoint


class InterfaceMode(msgspec.Struct, frozen=True):
    """How packets of one network interface are taken: `mode` native | tc | userspace | none, and why."""

    interface: str
    mode: str
    reason: str


class Backend(Protocol):
    """A data plane. Calls come from the event loop only; nothing here blocks for longer than a few map updates."""

    capabilities: Capabilities

    forwarder: UserspaceForwarder
    """Judges what arrives at the relay's own sockets: everything (userspace), or what the kernel hands up.

    It knows the same flows as the backend; the runtime asks it first and takes to the core what it punts.
    """

    async def start(self) -> None:
        """Load, attach, re-open what is pinned. Raises BackendFault where this machine cannot run it."""

    def interfaces(self) -> Sequence[InterfaceMode]:
        """How each interface is served now."""

    def apply(self, ops: Sequence[FlowOp]) -> None:
        """Carry out the ops in order; idempotent. Raises BackendFault naming the op that failed (maps full ...)."""

    def adopt(self) -> FlowTable:
        """Installed now; after a restart over pinned maps, what the predecessor left. Kept until apply changes it."""

    def read(self, locals_: Sequence[Endpoint]) -> list[FlowReport]:
        """Counters of these flows now; unknown ones are left out."""

    def changed(self) -> Iterator[list[FlowReport]]:
        """Counters of the flows whose packet count has moved since the last time, `ssrcs` and `outputs` left out: some
        of the flows with each step, for all of them at once are a long pause.
        """

    def counters(self) -> dict[str, int]:
        """Global counters by name, drop and punt reasons included (`reasons.h`)."""

    async def stop(self) -> None:
        """Let go; kernel forwarding goes on (`kernel.flush` ends it)."""


class Steering(Protocol):
    """What leads the datagrams of many ports to few sockets: `kernel.steer`."""

    def queue(self, local: Endpoint) -> int:
        """Where what comes for this port would go: a queue for ports of its family."""

    def serve(self, queue: int, descriptor: int) -> None:
        """This socket is the queue."""

    def hold(self, local: Endpoint) -> bool:
        """From now on it is led to its queue. False: there is no room for this address."""

    def release(self, local: Endpoint) -> None:
        """No more."""

    def close(self) -> None:
        """No port is held any more."""
