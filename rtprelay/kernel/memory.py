"""A data plane for tests: it holds the flow table, records what it was told, and counts what a test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rtprelay.errors import BackendFault
from rtprelay.kernel.userspace import UserspaceBackend
from rtprelay.plan.flow import Capabilities, FlowOp, FlowReport, PutFlow
from rtprelay.values import Endpoint


class MemoryBackend(UserspaceBackend):
    """`ops` in the order they came. A test may feed `reports` for a port, and make the next ops fail."""

    def __init__(self, max_flows: int = 1 << 20) -> None:
        super().__init__()
        self.capabilities = Capabilities(name="memory", in_kernel=True)
        self.ops: list[FlowOp] = []
        self.fed: dict[Endpoint, FlowReport] = {}
        self._unread: dict[Endpoint, FlowReport] = {}
        self._max_flows = max_flows
        self._failure: str | None = None

    def apply(self, ops: Sequence[FlowOp]) -> None:
        for op in ops:
            if self._failure is not None:
                reason, self._failure = self._failure, None
                raise BackendFault(reason)
            if isinstance(op, PutFlow) and self.forwarder.flow(op.flow.local) is None:
                self._reserve(op.flow.local)
            self.ops.append(op)
            self.forwarder.apply(op)

    def _reserve(self, local: Endpoint) -> None:
        if len(self.forwarder.table()) >= self._max_flows:
            raise BackendFault(f"no room for the flow at {local}: {self._max_flows} are installed")

    def fail_next(self, reason: str) -> None:
        """The next op raises BackendFault."""
        self._failure = reason

    def feed(self, report: FlowReport) -> None:
        """From now on these are the counters of the report's port."""
        self.fed[report.local] = self._unread[report.local] = report

    def read(self, locals_: Sequence[Endpoint]) -> list[FlowReport]:
        return [self.fed.get(report.local, report) for report in super().read(locals_)]

    def changed(self) -> Iterator[list[FlowReport]]:
        moved = dict.fromkeys(self.forwarder.moved()) | dict.fromkeys(self._unread)
        self._unread.clear()
        yield self.read(list(moved))
