"""A backend between parties, the same for every data plane: parties send to it and tell what reached them.

`VirtualRig` is for data planes without sockets: its network is a dictionary. `namespaces.py` has the one with sockets.
Both play the runtime: what the data plane hands up goes through the backend's forwarder, what that forwards is sent,
what it punts is kept for the test to see.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from rtprelay.kernel.backend import Backend
from rtprelay.kernel.forwarder import Forwarded, Punt
from rtprelay.plan.flow import DropFlow, Flow, FlowOp, FlowReport, PutFlow
from rtprelay.values import Endpoint, Family

T = TypeVar("T")


class Received(NamedTuple):
    data: bytes
    source: Endpoint


class Punted(NamedTuple):
    local: Endpoint
    source: Endpoint
    data: bytes
    reason: str


class Party(Protocol):
    """Somebody with a socket."""

    endpoint: Endpoint

    def send(self, local: Endpoint, *packets: bytes) -> None:
        """To one of the relay's ports."""

    def receive(self, count: int) -> list[Received]:
        """The next `count` packets; fails the test when they do not come."""


class Rig(Protocol):
    @property
    def backend(self) -> Backend: ...

    @property
    def in_kernel(self) -> bool:
        """Forwarded packets are seen by the kernel alone."""

    name: str
    punts: list[Punted]
    handled: int
    """Packets the runtime's part has had in hand."""

    def local(self, family: Family = Family.IP4) -> Endpoint:
        """A port of the relay on the caller's side, fresh."""

    def source(self, family: Family = Family.IP4) -> Endpoint:
        """A port of the relay on the callee's side, fresh."""

    def caller(self, family: Family = Family.IP4) -> Party:
        """A party on one side of the relay, fresh."""

    def callee(self, family: Family = Family.IP4) -> Party:
        """A party on the other side."""

    def apply(self, *ops: FlowOp) -> None:
        """To the backend; ports of new flows are opened first, as the runtime does."""

    def punted(self, count: int) -> list[Punted]:
        """All punts so far; fails the test when there are not `count` of them in the end."""

    def handle(self, count: int) -> None:
        """Wait until the runtime's part has had so many packets in hand, where it has any."""

    def rest(self) -> None:
        """A moment for the data plane to get on."""

    def replace(self) -> None:
        """The daemon dies without a word, a new one starts over what the kernel holds."""


def put(rig: Rig, flow: Flow) -> Flow:
    rig.apply(PutFlow(flow))
    return flow


def report(rig: Rig, local: Endpoint) -> FlowReport:
    """The counters of one flow."""
    (only,) = rig.backend.read([local])
    return only


def datas(received: Sequence[Received]) -> list[bytes]:
    return [packet.data for packet in received]


class VirtualParty:
    def __init__(self, rig: VirtualRig, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._rig = rig

    def send(self, local: Endpoint, *packets: bytes) -> None:
        for data in packets:
            self._rig.deliver(local, self.endpoint, data)

    def receive(self, count: int) -> list[Received]:
        waiting = self._rig.mailboxes[self.endpoint]
        assert len(waiting) >= count, f"{len(waiting)} packets for {self.endpoint}, not {count}"
        taken, waiting[:] = waiting[:count], waiting[count:]
        return taken


class VirtualRig:
    in_kernel = False

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self.punts: list[Punted] = []
        self.handled = 0
        self.mailboxes: defaultdict[Endpoint, list[Received]] = defaultdict(list)
        self.now = 1000.0
        self._ports = itertools.count(30000)
        self.run(backend.start())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)

    def local(self, family: Family = Family.IP4) -> Endpoint:
        return Endpoint("10.0.0.1" if family is Family.IP4 else "fd00::1", next(self._ports))

    def source(self, family: Family = Family.IP4) -> Endpoint:
        return Endpoint("10.0.0.2" if family is Family.IP4 else "fd00::2", next(self._ports))

    def caller(self, family: Family = Family.IP4) -> VirtualParty:
        address = "10.0.1.2" if family is Family.IP4 else "fd00:1::2"
        return VirtualParty(self, Endpoint(address, next(self._ports)))

    def callee(self, family: Family = Family.IP4) -> VirtualParty:
        address = "10.0.2.2" if family is Family.IP4 else "fd00:2::2"
        return VirtualParty(self, Endpoint(address, next(self._ports)))

    def apply(self, *ops: FlowOp) -> None:
        self.backend.apply(ops)

    def deliver(self, local: Endpoint, source: Endpoint, data: bytes) -> None:
        self.handled += 1
        self.now += 0.02
        verdict = self.backend.forwarder.forward(local, data, source, self.now)
        if isinstance(verdict, Forwarded):
            for leaves, payload, destination in verdict.datagrams:
                self.mailboxes[destination].append(Received(payload, leaves))
        elif isinstance(verdict, Punt):
            self.punts.append(Punted(local, source, data, verdict.reason))

    def punted(self, count: int) -> list[Punted]:
        assert len(self.punts) == count, f"{len(self.punts)} punts, not {count}: {self.punts}"
        return self.punts

    def handle(self, count: int) -> None:
        assert self.handled >= count

    def rest(self) -> None:
        """What was sent has been dealt with already."""

    def replace(self) -> None:
        raise NotImplementedError("nothing of this data plane outlives its process")

    def close(self) -> None:
        self.run(self.backend.stop())


def drop(rig: Rig, *locals_: Endpoint) -> None:
    rig.apply(*(DropFlow(local) for local in locals_))
