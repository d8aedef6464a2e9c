"""The media ports over loopback, IPv4 and IPv6, on ports chosen by the kernel: each with a socket, and steered.

sender 127.0.0.1:s  --->  MediaSockets 127.0.0.1:m  (epoll set, read_ready called by the test)
                              |
                              +-- steering: in a namespace of its own, all of it real
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from rtprelay.kernel.backend import Steering
from rtprelay.kernel.steer import QUEUES, SocketSteering
from rtprelay.runtime.sockets import BATCH, ROUND, MediaSockets
from rtprelay.values import Endpoint, Family
from tests.backend.namespaces import inside
from tests.bpf.conftest import require_programs
from tools.netns import Namespace

Received = list[tuple[Endpoint, Endpoint, bytes]]


class Ports:
    """MediaSockets that note what they receive, and ports that are free."""

    def __init__(self, steering: Steering | None) -> None:
        self.received: Received = []
        self.sockets = MediaSockets(self._note, steering=steering)

    def _note(self, local: Endpoint, source: Endpoint, data: bytes, mark: int) -> None:
        self.received.append((local, source, data))

    def open(self, address: str = "127.0.0.1", tos: int = 0) -> Endpoint:
        for _ in range(50):
            local = Endpoint(address, free_port(address))
            try:
                self.sockets.open(local, tos)
            except OSError:
                continue
            return local
        raise AssertionError("no free port in 50 attempts")

    def open_apart(self, count: int) -> list[Endpoint]:
        """Ports that would not share a queue."""
        found: dict[int, Endpoint] = {}
        while len(found) < count:
            local = self.open()
            found.setdefault(local.port % QUEUES, local)
        return list(found.values())

    def read(self, count: int) -> Received:
        """Wait until `count` datagrams are there."""
        while len(self.received) < count:
            assert select.select([self.sockets], [], [], 5)[0], f"{len(self.received)} of {count} came"
            self.sockets.read_ready()
        return self.received


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["sockets", pytest.param("steering", marks=pytest.mark.netns)])
def steering(request: pytest.FixtureRequest) -> Iterator[Steering | None]:
    """None: a socket for each port. What is steered is steered in a whole namespace: in one of its own."""
    if request.param == "sockets":
        yield None
        return
    require_programs()
    with Namespace("ports") as namespace, inside(namespace), contextlib.closing(SocketSteering()) as made:
        yield made


@pytest.fixture
def ports(steering: Steering | None) -> Iterator[Ports]:
    made = Ports(steering)
    yield made
    made.sockets.close_all()


@pytest.fixture
def sender(steering: Steering | None) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def endpoint(sock: socket.socket) -> Endpoint:
    address = sock.getsockname()
    return Endpoint(address[0], address[1])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_datagram_comes_in_with_its_port_and_source(ports: Ports, address: str) -> None:
    local = ports.open(address)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        sender.sendto(b"media", (address, local.port))
        assert ports.read(1) == [(local, endpoint(sender), b"media")]


def test_a_datagram_of_the_largest_size_is_read_whole(ports: Ports, sender: socket.socket) -> None:
    local = ports.open()
    sender.sendto(b"x" * 65507, (local.address, local.port))
    assert len(ports.read(1)[0][2]) == 65507


def test_a_datagram_is_sent_from_the_port_it_is_said_to_leave_from(ports: Ports, sender: socket.socket) -> None:
    local, other = ports.open(), ports.open()
    assert ports.sockets.send(other, endpoint(sender), b"copy")
    data, source = sender.recvfrom(100)
    assert (data, source) == (b"copy", (other.address, other.port))
    assert local != other


def test_sending_from_an_unknown_port_is_counted_and_harmless(ports: Ports, sender: socket.socket) -> None:
    assert not ports.sockets.send(Endpoint("127.0.0.1", 1), endpoint(sender), b"x")
    assert ports.sockets.counters["send_no_socket"] == 1


def test_a_send_the_kernel_refuses_is_counted_by_its_name(ports: Ports) -> None:
    local = ports.open()
    assert not ports.sockets.send(local, Endpoint("127.0.0.1", 9), b"x" * 65508)
    assert ports.sockets.counters == {"send_EMSGSIZE": 1}


def test_an_icmp_error_breaks_nothing(ports: Ports, sender: socket.socket) -> None:
    local = ports.open()
    closed = Endpoint("127.0.0.1", free_port("127.0.0.1"))
    for _ in range(3):
        assert ports.sockets.send(local, closed, b"nobody is there")
    sender.sendto(b"still read", (local.address, local.port))
    assert [data for _, _, data in ports.read(1)] == [b"still read"]


def test_a_port_in_use_is_an_os_error_and_leaves_no_socket_behind(ports: Ports, sender: socket.socket) -> None:
    taken = endpoint(sender)
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        ports.sockets.open(taken)
    assert taken not in ports.sockets


def test_ipv4_and_ipv6_have_the_same_port_for_themselves(ports: Ports) -> None:
    local = ports.open("127.0.0.1")
    ports.sockets.open(Endpoint("::1", local.port))
    assert len(ports.sockets) == 2


def test_a_closed_port_is_free_again_and_silent(ports: Ports, sender: socket.socket) -> None:
    local = ports.open()
    sender.sendto(b"late", (local.address, local.port))
    ports.sockets.close(local)
    ports.sockets.close(local)
    ports.sockets.read_ready()
    assert ports.received == []
    ports.sockets.open(local)
    assert local in ports.sockets


def test_the_tos_of_an_open_port_can_be_changed(ports: Ports, sender: socket.socket) -> None:
    local = ports.open(tos=0)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    seen = []
    for tos in (0, 184, 96):
        ports.sockets.mark(local, tos)
        ports.sockets.send(local, endpoint(sender), b"x")
        seen.append(sender.recvmsg(10, 64)[1][0][2][0])
    assert seen == [0, 184, 96]


def test_a_flooded_port_does_not_keep_another_waiting(ports: Ports, sender: socket.socket) -> None:
    flooded, quiet = ports.open_apart(2)
    for _ in range(100):
        sender.sendto(b"flood", (flooded.address, flooded.port))
    sender.sendto(b"call", (quiet.address, quiet.port))
    ports.read(1)
    assert quiet in [local for local, _, _ in ports.received[: ROUND + 1]]


def test_the_event_loop_gets_its_turn_under_a_flood(ports: Ports, sender: socket.socket) -> None:
    opened = ports.open_apart(4)
    for number in range(2 * BATCH):
        local = opened[number % len(opened)]
        sender.sendto(b"", (local.address, local.port))
    ports.sockets.read_ready()
    assert BATCH <= len(ports.received) <= BATCH + len(opened)


def test_a_port_closed_by_what_was_just_received_is_not_read(steering: Steering | None, sender: socket.socket) -> None:
    received: list[Endpoint] = []

    def close_both(local: Endpoint, source: Endpoint, data: bytes, mark: int) -> None:
        received.append(local)
        for port in opened:
            sockets.close(port)

    sockets = MediaSockets(close_both, steering=steering)
    opened: list[Endpoint] = []
    while len(opened) < 2:
        port = Endpoint("127.0.0.1", free_port("127.0.0.1"))
        if port not in sockets:
            sockets.open(port)
            opened.append(port)
    for port in opened:
        for _ in range(2):
            sender.sendto(b"x", (port.address, port.port))
    sockets.read_ready()
    assert len(received) == 1
    assert len(sockets) == 0
    assert not sockets.counters
    sockets.close_all()


def test_made_up_sources_do_not_fill_memory(ports: Ports) -> None:
    local = ports.open()
    for _ in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"x", (local.address, local.port))
        ports.read(len(ports.received) + 1)
    assert len({source for _, source, _ in ports.received}) > 64
    assert max(len(port.sources) for port in ports.sockets._by_local.values()) <= 64


def test_thousands_of_ports_are_one_descriptor_for_the_event_loop(ports: Ports, sender: socket.socket) -> None:
    opened = [ports.open() for _ in range(300)]
    for local in opened:
        assert local.family is Family.IP4
        sender.sendto(b"x", (local.address, local.port))
    assert {local for local, _, _ in ports.read(300)} == set(opened)
