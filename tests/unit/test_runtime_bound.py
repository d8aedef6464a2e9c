"""Whether a port can be had, by a look at the host's sockets that is a second old at most.

other program: socket at HOST:p      BoundPorts: HOST:p? HOST:q?   (a clock of the test's)
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from rtprelay.runtime import bound, udp
from rtprelay.runtime.bound import FRESH, BoundPorts, bound_ports
from rtprelay.values import Endpoint
from tests.loopback import HOST


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """The ports that are bound to be sure."""
    found: list[Endpoint] = []
    probe = udp.probe

    def note(local: Endpoint) -> None:
        found.append(local)
        probe(local)

    monkeypatch.setattr(udp, "probe", note)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ports(clock: Clock) -> BoundPorts:
    return BoundPorts(clock)


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


@pytest.fixture
def unbound() -> list[Endpoint]:
    """Ports nobody has, below those that the system gives to anybody."""
    taken = bound_ports()
    return [Endpoint(HOST, port) for port in range(3000, 3400) if port not in taken]


def test_one_port_of_an_address_is_bound_and_the_others_are_believed(
    ports: BoundPorts, probed: list[Endpoint], unbound: list[Endpoint]
) -> None:
    for local in unbound:
        ports.check(local)
    assert probed == unbound[:1]


@pytest.mark.parametrize("address", [HOST, "0.0.0.0"])
def test_a_port_that_is_bound_cannot_be_had(
    ports: BoundPorts, unbound: list[Endpoint], foreign: socket.socket, address: str
) -> None:
    foreign.bind((address, 0))
    ports.check(unbound[0])
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        ports.check(Endpoint(HOST, foreign.getsockname()[1]))


def test_the_same_port_of_another_address_can_be_had(
    ports: BoundPorts, unbound: list[Endpoint], foreign: socket.socket
) -> None:
    foreign.bind(("127.0.0.1", unbound[0].port))
    ports.check(unbound[0])


def test_a_port_bound_meanwhile_is_noticed_within_a_second(
    ports: BoundPorts, clock: Clock, unbound: list[Endpoint], foreign: socket.socket
) -> None:
    ports.check(unbound[0])
    foreign.bind((HOST, 0))
    clock.now += FRESH
    ports.check(unbound[1])
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        ports.check(Endpoint(HOST, foreign.getsockname()[1]))


def test_an_address_this_host_does_not_have_is_refused_each_time(ports: BoundPorts) -> None:
    for port in (20000, 20001):
        with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
            ports.check(Endpoint("192.0.2.1", port))


def test_an_address_is_looked_at_again_every_second(
    ports: BoundPorts, clock: Clock, probed: list[Endpoint], unbound: list[Endpoint]
) -> None:
    first, second, third = unbound[:3]
    ports.check(first)
    ports.check(second)
    clock.now += FRESH
    ports.check(third)
    assert probed == [first, third]


def test_many_sockets_and_both_families_are_seen() -> None:
    made = [socket.socket(socket.AF_INET6 if n % 2 else socket.AF_INET, socket.SOCK_DGRAM) for n in range(600)]
    try:
        for n, sock in enumerate(made):
            sock.bind(("::1" if n % 2 else HOST, 0))
        assert {sock.getsockname()[1] for sock in made} <= bound_ports()
    finally:
        for sock in made:
            sock.close()


@pytest.mark.parametrize(("name", "unknown"), [("_NETLINK_SOCK_DIAG", 31), ("_SOCK_DIAG_BY_FAMILY", 99)])
def test_where_the_kernel_does_not_tell_every_port_is_bound(
    ports: BoundPorts,
    probed: list[Endpoint],
    unbound: list[Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    unknown: int,
) -> None:
    monkeypatch.setattr(bound, name, unknown)
    for local in unbound[:3]:
        ports.check(local)
    assert probed == unbound[:3]
