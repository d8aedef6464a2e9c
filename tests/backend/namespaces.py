"""The eBPF data plane between real sockets, in network namespaces of its own.

      veth:    caller (10.71.1.2) ---- (10.71.1.1) relay (10.71.2.1) ---- (10.71.2.2) callee

      lo:      one namespace; relay 10.72.0.1, caller 10.72.0.2, callee 10.72.0.3, all on its loopback device

The test's own thread works inside the relay's namespace, as the daemon would; its sockets there are the daemon's.
Neighbours are entered by hand, so that no test depends on when ARP is answered; `test_network.py` is about that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rtprelay.kernel import abi
from rtprelay.kernel.ebpf import EbpfBackend
from rtprelay.kernel.flush import flush as leave_nothing
from rtprelay.kernel.forwarder import Forwarded, Punt
from rtprelay.plan.flow import FlowOp, PutFlow
from rtprelay.values import Endpoint, Family
from tests.backend.rig import Punted, Received
from tools.netns import Namespace, veth

T = TypeVar("T")

SO_RCVBUFFORCE = 33
SO_RCVMARK = 75
PATIENCE = 10.0
"""Seconds until a test gives up waiting; what it waits for takes microseconds."""
_CLONE_NEWNET = 0x40000000
_serial = itertools.count()


class Side(NamedTuple):
    """One side of the relay: the party's namespace, its addresses, and the relay's towards it."""

    namespace: Namespace
    party: dict[Family, str]
    relay: dict[Family, str]


class Lab(NamedTuple):
    relay: Namespace
    caller: Side
    callee: Side


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """The calling thread in the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as home, open(namespace.path, "rb") as away:
        if libc.setns(away.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home.fileno(), _CLONE_NEWNET)


@contextlib.contextmanager
def veth_lab() -> Iterator[Lab]:
    with Namespace("relay") as relay, Namespace("caller") as caller, Namespace("callee") as callee:
        sides = [cable(relay, party, f"to-{label}", n) for n, label, party in ((1, "a", caller), (2, "b", callee))]
        yield Lab(relay, *sides)


def cable(relay: Namespace, party: Namespace, device: str, net: int, index: int | None = None) -> Side:
    veth(relay, device, party, "eth0", index)
    side = Side(
        party,
        {Family.IP4: f"10.71.{net}.2", Family.IP6: f"fd71:{net}::2"},
        {Family.IP4: f"10.71.{net}.1", Family.IP6: f"fd71:{net}::1"},
    )
    for family, length in ((Family.IP4, 24), (Family.IP6, 64)):
        relay.address(device, f"{side.relay[family]}/{length}")
        party.address("eth0", f"{side.party[family]}/{length}")
        neighbour(relay, device, side.party[family], mac(party, "eth0"))
        neighbour(party, "eth0", side.relay[family], mac(relay, device))
    party.route("0.0.0.0/0", side.relay[Family.IP4])
    party.route("::/0", side.relay[Family.IP6])
    return side


def mac(namespace: Namespace, device: str) -> str:
    words = namespace.ip("-o", "link", "show", "dev", device).split()
    return words[words.index("link/ether") + 1]


def neighbour(namespace: Namespace, device: str, address: str, lladdr: str) -> None:
    namespace.ip("neigh", "replace", address, "lladdr", lladdr, "dev", device, "nud", "permanent")


@contextlib.contextmanager
def loopback_lab() -> Iterator[Lab]:
    with Namespace("lo") as namespace:
        for n in (1, 2, 3):
            namespace.address("lo", f"10.72.0.{n}/32", f"fd72::{n}/128")
        relay = {Family.IP4: "10.72.0.1", Family.IP6: "fd72::1"}
        sides = [Side(namespace, {Family.IP4: f"10.72.0.{n}", Family.IP6: f"fd72::{n}"}, relay) for n in (2, 3)]
        yield Lab(namespace, *sides)


class SocketParty:
    def __init__(self, rig: KernelRig, side: Side, family: Family) -> None:
        self._rig = rig
        af = socket.AF_INET if family is Family.IP4 else socket.AF_INET6
        self._socket = side.namespace.socket(af, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # A copy made by XDP occupies a page: 58 of them fill the usual buffer.
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self._socket.bind((side.party[family], 0))
        self.endpoint = _endpoint(self._socket.getsockname())
        self._waiting: list[Received] = []

    def send(self, local: Endpoint, *packets: bytes) -> None:
        for data in packets:
            self._socket.sendto(data, (local.address, local.port))

    def receive(self, count: int) -> list[Received]:
        self._rig.wait(lambda: self._read() >= count, lambda: f"{len(self._waiting)} of {count} packets came")
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _read(self) -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = self._socket.recvfrom(65536)
                self._waiting.append(Received(data, _endpoint(source)))
        return len(self._waiting)

    def waiting(self) -> bool:
        """Something has come."""
        return self._read() > 0

    def forget(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self._socket.close()


class KernelRig:
    in_kernel = True

    def __init__(self, name: str, lab: Lab, use_xdp: bool, max_flows: int = 1024, ports: int = 20000) -> None:
        self.name = name
        self.lab = lab
        self.punts: list[Punted] = []
        self.handled = 0
        self.path = Path(f"/sys/fs/bpf/rrtest-{os.getpid()}-{next(_serial)}")
        self._use_xdp = use_xdp
        self._max_flows = max_flows
        self.ports = itertools.count(ports)
        self._sockets: dict[Endpoint, socket.socket] = {}
        self._parties: list[SocketParty] = []
        self.runner = asyncio.Runner()
        self._running = False
        self.backend = self._start()

    def _start(self) -> EbpfBackend:
        addresses = {*self.lab.caller.relay.values(), *self.lab.callee.relay.values()}
        backend = EbpfBackend(self.path, sorted(addresses), self._use_xdp, self._max_flows)
        self.run(backend.start())
        self._running = True
        return backend

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def wait(self, done: Callable[[], bool], failure: Callable[[], str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, f"{failure()}; {self.backend.counters()}"
            self.rest()

    def rest(self) -> None:
        self.run(asyncio.sleep(0.001))

    def local(self, family: Family = Family.IP4) -> Endpoint:
        return Endpoint(self.lab.caller.relay[family], next(self.ports))

    def source(self, family: Family = Family.IP4) -> Endpoint:
        return Endpoint(self.lab.callee.relay[family], next(self.ports))

    def caller(self, family: Family = Family.IP4) -> SocketParty:
        return self.party(self.lab.caller, family)

    def callee(self, family: Family = Family.IP4) -> SocketParty:
        return self.party(self.lab.callee, family)

    def party(self, side: Side, family: Family) -> SocketParty:
        self._parties.append(SocketParty(self, side, family))
        return self._parties[-1]

    def apply(self, *ops: FlowOp) -> None:
        for op in ops:
            if isinstance(op, PutFlow) and op.flow.local not in self._sockets:
                self._open(op.flow.local)
        self.backend.apply(ops)

    def _open(self, local: Endpoint) -> None:
        opened = socket.socket(socket.AF_INET if local.family is Family.IP4 else socket.AF_INET6, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        opened.bind((local.address, local.port))
        self._sockets[local] = opened
        self.runner.get_loop().add_reader(opened, self._read, local, opened)

    def _read(self, local: Endpoint, opened: socket.socket) -> None:
        data, ancillary, _, source = opened.recvmsg(65536, 64)
        marks = [int.from_bytes(value, "little") for level, kind, value in ancillary if level == socket.SOL_SOCKET]
        self.handled += 1
        sender = _endpoint(source)
        marked = abi.Limits.MARK_FORWARDED in marks
        verdict = self.backend.forwarder.forward(local, data, sender, time.monotonic(), marked)
        if isinstance(verdict, Forwarded):
            for leaves, payload, destination in verdict.datagrams:
                self._send(leaves, payload, destination)
        elif isinstance(verdict, Punt):
            self.punts.append(Punted(local, sender, data, verdict.reason))

    def _send(self, leaves: Endpoint, payload: bytes, destination: Endpoint) -> None:
        if leaves not in self._sockets:
            self._open(leaves)
        self._sockets[leaves].sendto(payload, (destination.address, destination.port))

    def punted(self, count: int) -> list[Punted]:
        self.wait(lambda: len(self.punts) >= count, lambda: f"{len(self.punts)} of {count} punts came")
        assert len(self.punts) == count, self.punts
        return self.punts

    def handle(self, count: int) -> None:
        self.wait(lambda: self.handled >= count, lambda: f"{self.handled} of {count} packets came up")

    def replace(self, max_flows: int | None = None) -> None:
        """A new daemon. `stop` closes the descriptors of the old one, as the kernel does for the dead, and no more; one
        that is killed in the middle of something is for the end-to-end tests."""
        self._max_flows = max_flows or self._max_flows
        self.stop()
        self.backend = self._start()

    def stop(self, flush: bool = False) -> None:
        if self._running:
            self._running = False
            self.run(self.backend.stop())
            if flush:
                leave_nothing(self.path)

    def close(self) -> None:
        for opened in self._sockets.values():
            self.runner.get_loop().remove_reader(opened)
            opened.close()
        for party in self._parties:
            party.close()
        self.stop(flush=True)
        self.runner.close()
        assert not self.path.exists()


def _endpoint(name: tuple[Any, ...]) -> Endpoint:
    return Endpoint.parse(name[0], name[1])
