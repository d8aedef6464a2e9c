"""The data plane of `--backend userspace`: no privilege, no kernel, every packet through the relay's own sockets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rtprelay.kernel.backend import InterfaceMode
from rtprelay.kernel.forwarder import Datagram, Dropped, Forwarded, Punt, UserspaceForwarder, Verdict
from rtprelay.plan.flow import Capabilities, FlowOp, FlowReport, FlowTable
from rtprelay.values import Endpoint

__all__ = ["Datagram", "Dropped", "Forwarded", "Punt", "UserspaceBackend", "UserspaceForwarder", "Verdict"]


class UserspaceBackend:
    """A `Backend` whose data plane is its `forwarder`; the runtime moves the packets."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(name="userspace")
        self.forwarder = UserspaceForwarder()

    async def start(self) -> None:
        """Nothing to load."""

    def interfaces(self) -> Sequence[InterfaceMode]:
        return (InterfaceMode(interface="*", mode="userspace", reason="the relay's own sockets"),)

    def apply(self, ops: Sequence[FlowOp]) -> None:
        for op in ops:
            self.forwarder.apply(op)

    def adopt(self) -> FlowTable:
        return self.forwarder.table()

    def read(self, locals_: Sequence[Endpoint]) -> list[FlowReport]:
        return [report for report in map(self.forwarder.report, locals_) if report is not None]

    def changed(self) -> Iterator[list[FlowReport]]:
        yield [report for report in map(self.forwarder.summary, self.forwarder.moved()) if report is not None]

    def counters(self) -> dict[str, int]:
        return self.forwarder.counters()

    async def stop(self) -> None:
        """Nothing outlives the process."""
