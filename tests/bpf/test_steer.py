"""Ports held by steering alone: what comes for them, whose else's packets stay theirs, what a flood does.

sender 127.0.0.1:s, [::1]:s ---> lo of a namespace ---> [ steer.bpf.c ] --held-----> queue: MediaSockets
                                                              |
                                                              +------- not held ---> whoever has bound it
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.steer import QUEUES, SocketSteering, reserve
from rtprelay.runtime import sockets, udp
from rtprelay.runtime.sockets import MediaSockets
from rtprelay.values import Endpoint
from tests.backend.namespaces import inside
from tests.bpf.conftest import require_programs
from tests.bpf.frames import Frame
from tests.bpf.plane import Plane
from tools.netns import Namespace

pytestmark = pytest.mark.netns

PORT = 20000
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


class Relay:
    """MediaSockets that note what they receive."""

    def __init__(self) -> None:
        self.steering = SocketSteering()
        self.received: list[tuple[Endpoint, bytes, int]] = []
        self.ports = MediaSockets(self._note, marks=True, steering=self.steering)

    def _note(self, local: Endpoint, source: Endpoint, data: bytes, mark: int) -> None:
        self.received.append((local, data, mark))

    def open(self, address: str = "127.0.0.1", port: int = PORT) -> Endpoint:
        local = Endpoint(address, port)
        self.ports.open(local)
        return local

    def read(self) -> list[tuple[Endpoint, bytes, int]]:
        """All that has come: on `lo` it is there when the sender goes on."""
        while select.select([self.ports], [], [], 0)[0]:
            self.ports.read_ready()
        return self.received

    def close(self) -> None:
        self.ports.close_all()
        self.steering.close()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    require_programs()
    with Namespace("steer") as made, inside(made):
        yield made


@pytest.fixture
def relay(namespace: Namespace) -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


def udp_socket(local: Endpoint | None = None, ip6: bool = False) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ip6 else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    if local is not None:
        made.bind((local.address, local.port))
    return made


def send(to: Endpoint, data: bytes = b"media", mark: int = 0) -> None:
    with udp_socket(ip6=":" in to.address) as sender:
        sender.setsockopt(socket.SOL_SOCKET, udp.SO_MARK, mark)
        sender.sendto(data, (to.address, to.port))


def test_the_same_port_of_several_addresses_is_told_apart(relay: Relay) -> None:
    opened = [relay.open(address) for address in ("127.0.0.1", "127.0.0.2", "127.9.9.9", "::1")]
    for number, local in enumerate(opened):
        send(local, b"%d" % number)
    assert relay.read() == [(local, b"%d" % number, 0) for number, local in enumerate(opened)]


def test_a_datagram_comes_with_its_mark(relay: Relay) -> None:
    local = relay.open()
    send(local, mark=int(abi.Limits.MARK_FORWARDED))
    assert relay.read() == [(local, b"media", abi.Limits.MARK_FORWARDED)]


def test_it_takes_no_sockets_but_the_queues(relay: Relay) -> None:
    for port in range(PORT, PORT + 4 * QUEUES):
        relay.open(port=port)
    assert len(relay.ports) == 4 * QUEUES
    assert len(sockets_in_use()) == QUEUES


def sockets_in_use() -> list[str]:
    return Path("/proc/thread-self/net/udp").read_text(encoding="ascii").splitlines()[1:]


def test_what_is_sent_leaves_from_the_port_and_answers_still_come(relay: Relay) -> None:
    local = relay.open()
    with udp_socket(Endpoint("127.0.0.1", 0)) as peer:
        for _ in range(2):
            assert relay.ports.send(local, Endpoint("127.0.0.1", peer.getsockname()[1]), b"request")
            data, source = peer.recvfrom(100)
            assert (data, source) == (b"request", (local.address, local.port))
            peer.sendto(b"response", source)
    assert relay.read() == [(local, b"response", 0)] * 2


def test_ports_that_send_take_turns_with_the_sockets_there_are(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SENDERS", 2)
    opened = [relay.open(port=port) for port in range(PORT, PORT + 8)]
    queues = len(sockets_in_use())
    with udp_socket(Endpoint("127.0.0.1", 0)) as peer:
        for local in opened * 2:
            assert relay.ports.send(local, Endpoint("127.0.0.1", peer.getsockname()[1]), b"x")
            assert peer.recvfrom(10)[1] == (local.address, local.port)
        assert len(sockets_in_use()) == queues + 2 + 1
    for local in opened:
        relay.ports.close(local)
    assert len(sockets_in_use()) == queues


def test_a_new_tos_holds_for_the_next_socket_too(relay: Relay) -> None:
    local = relay.open()
    relay.ports.mark(local, 184)
    with udp_socket(Endpoint("127.0.0.1", 0)) as peer:
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        relay.ports.send(local, Endpoint("127.0.0.1", peer.getsockname()[1]), b"x")
        assert peer.recvmsg(10, 64)[1][0][2][0] == 184


def test_ports_that_are_not_held_are_nobodys_business(relay: Relay) -> None:
    relay.open("127.0.0.1", PORT)
    with (
        udp_socket(Endpoint("127.0.0.2", PORT)) as elsewhere,
        udp_socket(Endpoint("127.0.0.1", PORT + 1)) as neighbour,
    ):
        for other in (elsewhere, neighbour):
            send(Endpoint(*other.getsockname()))
            assert other.recv(100) == b"media"
    assert relay.read() == []


def test_a_port_closed_is_held_no_more(relay: Relay) -> None:
    local = relay.open()
    relay.ports.close(local)
    with udp_socket(local) as successor:
        send(local)
        assert successor.recv(100) == b"media"
    assert relay.read() == []


def test_without_the_relay_nobody_listens(namespace: Namespace) -> None:
    relay = Relay()
    local = relay.open()
    relay.close()
    with udp_socket() as sender:
        sender.connect((local.address, local.port))
        sender.send(b"media")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(100)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_of_another_program_is_refused(relay: Relay, address: str) -> None:
    with udp_socket(Endpoint(address, PORT)) as foreign:
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            relay.open()
        send(Endpoint("127.0.0.1", PORT))
        assert foreign.recv(100) == b"media"
    assert len(relay.ports) == 0
    relay.open()


def test_beyond_the_addresses_there_is_room_for_ports_have_sockets(relay: Relay) -> None:
    opened = [relay.open(f"127.1.0.{number}") for number in range(1, abi.Limits.MAX_CHAIN + 3)]
    for local in opened:
        send(local)
    assert sorted(local for local, _, _ in relay.read()) == sorted(opened)
    for local in opened:
        relay.ports.close(local)
    assert len(sockets_in_use()) == 1


def test_a_flood_that_fills_its_queue_loses_nothing_of_another(relay: Relay) -> None:
    flooded, quiet = relay.open(port=PORT), relay.open(port=PORT + 1)
    assert relay.steering.queue(flooded) != relay.steering.queue(quiet)
    with udp_socket() as sender:
        for _ in range(10_000):
            sender.sendto(b"flood", (flooded.address, flooded.port))
    send(quiet, b"call")
    received = relay.read()
    assert 100 < sum(1 for local, _, _ in received if local == flooded) < 10_000
    assert (quiet, b"call", 0) in received[: sockets.ROUND + 1]


def test_what_tc_hands_up_has_a_listener_where_the_port_is_held(plane: Plane, relay: Relay) -> None:
    """relay_tc looks for the daemon's socket before it lets a packet up: steering answers that, too."""
    for address in ("127.0.0.1", "::1"):
        local, source = relay.open(address), Endpoint("2001:db8::9" if ":" in address else "192.0.2.9", 4000)
        plane.reset()
        plane.put_flow(local, expected=source, outputs=range(0))
        stun = bytes.fromhex("000100002112a442") + bytes(12)
        assert plane.tc.run(bytes(Frame(source, local, stun))).verdict == plane.tc.passed
        relay.ports.close(local)
        assert plane.tc.run(bytes(Frame(source, local, stun))).verdict == plane.tc.dropped
        assert plane.counts() == {"punt_stun": 1, "drop_no_daemon": 1}


def test_media_ports_are_kept_from_programs_that_ask_for_any(namespace: Namespace) -> None:
    namespace.sysctl("net.ipv4.ip_local_port_range", "30000 39999")
    RESERVED.write_text("8080,30010-30020\n")
    reserve([(20000, 31999), (39000, 45000)])
    assert RESERVED.read_text() == "8080,30000-31999,39000-39999\n"
    reserve([(20000, 31999)])
    assert RESERVED.read_text() == "8080,30000-31999,39000-39999\n"
    with contextlib.ExitStack() as stack:
        given = [stack.enter_context(udp_socket(Endpoint("0.0.0.0", 0))).getsockname()[1] for _ in range(500)]
    assert all(32000 <= port < 39000 for port in given)


def test_other_programs_are_left_enough_ports(namespace: Namespace) -> None:
    namespace.sysctl("net.ipv4.ip_local_port_range", "30000 39999")
    with pytest.raises(BackendFault, match="media ports leave too few of 30000-39999"):
        reserve([(10000, 36000)])
    assert RESERVED.read_text() == "\n"
    reserve([(10000, 29999)])
    assert RESERVED.read_text() == "\n"
