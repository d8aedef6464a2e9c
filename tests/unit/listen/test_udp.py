"""ng over real UDP sockets on loopback.

proxy (127.0.0.1 or ::1, any port) ---- ng/UDP ----> NgUdp ----> handler
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from rtprelay.errors import RelayError
from rtprelay.linux.sockopt import IP_MTU_DISCOVER
from rtprelay.listen.acl import Acl
from rtprelay.listen.exchange import Respond, Service
from rtprelay.listen.udp import BATCH, TOGETHER, NgUdp
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.signalling.session import Peer
from rtprelay.values import Endpoint
from tests.unit.listen.rig import TIMEOUT, V4, V6, Run, pong


@contextmanager
def proxy(server: Endpoint, source: str = "") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in server.address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        sock.connect((server.address, server.port))
        yield sock


async def ask(sock: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, data)
    return await asyncio.wait_for(loop.sock_recv(sock, 65_535), TIMEOUT)


def test_a_request_is_answered_where_it_came_from(run: Run) -> None:
    async def main() -> None:
        udp = NgUdp(Service(handle=pong))
        with proxy(udp.open(V4)) as one, proxy(udp.open(V4)) as other, proxy(udp.open(V6)) as sixth:
            for sock in (one, other, sixth):
                assert await ask(sock, b"5323_1 d7:command4:pinge") == b"5323_1 d6:result4:ponge"
        udp.close()

    run(main())


@pytest.mark.parametrize("local", [V4, V6], ids=["IPv4", "IPv6"])
def test_replies_are_marked_as_the_operator_says(run: Run, local: Endpoint) -> None:
    """Those of sockets that are open already, and of later ones."""

    async def main() -> None:
        udp = NgUdp(Service(handle=pong))
        before = udp.open(local)
        udp.mark(184)
        for server in (before, udp.open(local)):
            with proxy(server) as sock:
                sock.setsockopt(*TOLD[sock.family])
                await ask_only(sock, b"1 d7:command4:pinge")
                _, told, _, _ = sock.recvmsg(65_535, 64)
                assert [data[0] for _, _, data in told] == [184]
        udp.close()

    run(main())


@pytest.mark.parametrize("discover", [True, False, None])
def test_the_paths_mtu_is_discovered_or_not_as_the_operator_says(run: Run, discover: bool | None) -> None:
    async def main() -> None:
        usual = NgUdp(Service(handle=pong))
        udp = NgUdp(Service(handle=pong), discover_mtu=discover)
        known = {listener.open(V4).port: listener for listener in (udp, usual)}
        (asked, otherwise) = (_discovery(port) for port in known)
        assert asked == (otherwise if discover is None else int(discover))
        for listener in known.values():
            listener.close()

    run(main())


def _discovery(port: int) -> int:
    """What the socket of this process that is bound to the port has been told."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.family == socket.AF_INET and sock.getsockname()[1] == port:
                return sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER)
    raise AssertionError(f"nothing is bound to {port}")


TOLD = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_RECVTOS, 1),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1),
}
"""To be told the TOS of each datagram."""


async def ask_only(sock: socket.socket, data: bytes) -> None:
    """The reply is there, and not taken."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(sock.fileno(), there.set)
    await loop.sock_sendall(sock, data)
    await asyncio.wait_for(there.wait(), TIMEOUT)
    loop.remove_reader(sock.fileno())


def test_a_reply_may_come_later_and_others_are_served_meanwhile(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []

        def handle(request: Request, respond: Respond) -> None:
            late.append(respond)
            if len(late) == 2:
                respond(reply.ok())

        udp = NgUdp(Service(handle=handle))
        server = udp.open(V4)
        with proxy(server) as slow, proxy(server) as quick:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, b"1 d7:command4:pinge")
            assert await ask(quick, b"1 d7:command4:pinge") == b"1 d6:result2:oke"
            late[0](reply.pong())
            late[0](reply.pong())
            assert await asyncio.wait_for(loop.sock_recv(slow, 65_535), TIMEOUT) == b"1 d6:result4:ponge"
        udp.close()

    run(main())


def test_a_refused_message_is_answered_and_complained_of(run: Run) -> None:
    async def main() -> None:
        complaints: list[tuple[str, str]] = []

        def complain(peer: Peer, fault: RelayError) -> None:
            complaints.append((peer.host, fault.reason))

        udp = NgUdp(Service(handle=pong, complain=complain))
        with proxy(udp.open(V4)) as sock:
            assert await ask(sock, b"5323_4 xx") == b"5323_4 "
            assert b"Unrecognized command" in await ask(sock, b'5323_3 {"command":"foo"}')
        assert complaints == [("127.0.0.1", "Invalid NG data format"), ("127.0.0.1", "Unrecognized command")]
        udp.close()

    run(main())


def test_a_handler_that_fails_costs_its_own_request_only(run: Run) -> None:
    async def main() -> None:
        failures: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))

        def handle(request: Request, respond: Respond) -> None:
            if request.command.call_id:
                raise KeyError("bug")
            respond(reply.pong())

        udp = NgUdp(Service(handle=handle))
        with proxy(udp.open(V4)) as sock:
            assert b"Internal error" in await ask(sock, b'1 {"command":"query","call-id":"c"}')
            assert await ask(sock, b"2 d7:command4:pinge") == b"2 d6:result4:ponge"
        assert [type(failure) for failure in failures] == [KeyError]
        udp.close()

    run(main())


def test_a_burst_is_read_in_batches_that_leave_the_loop_room(run: Run) -> None:
    async def main() -> None:
        handled = 0
        at_first_turn: list[int] = []

        def handle(request: Request, respond: Respond) -> None:
            nonlocal handled
            if not handled:
                asyncio.get_running_loop().call_soon(lambda: at_first_turn.append(handled))
            handled += 1
            respond(reply.pong())

        udp = NgUdp(Service(handle=handle))
        with proxy(udp.open(V4)) as sock:
            for number in range(2 * BATCH + 1):
                sock.send(b"%d d7:command4:pinge" % number)
            loop = asyncio.get_running_loop()
            got = [await asyncio.wait_for(loop.sock_recv(sock, 65_535), TIMEOUT) for _ in range(2 * BATCH + 1)]
        assert got == [b"%d d6:result4:ponge" % number for number in range(2 * BATCH + 1)]
        assert at_first_turn == [BATCH]
        udp.close()

    run(main())


def test_requests_that_wait_together_are_answered_together(run: Run) -> None:
    """A few of them; the others do not keep them waiting."""

    async def main() -> None:
        answered_before: list[int] = []
        got: list[bytes] = []

        def handle(request: Request, respond: Respond) -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(sock.recv(65_535))
            answered_before.append(len(got))
            respond(reply.pong())

        udp = NgUdp(Service(handle=handle))
        with proxy(udp.open(V4)) as sock:
            for number in range(2 * TOGETHER + 1):
                sock.send(b"%d d7:command4:pinge" % number)
            while len(got) < 2 * TOGETHER + 1:
                got.append(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65_535), TIMEOUT))
        assert answered_before == [0] * TOGETHER + [TOGETHER] * TOGETHER + [2 * TOGETHER]
        assert got == [b"%d d6:result4:ponge" % number for number in range(2 * TOGETHER + 1)]
        udp.close()

    run(main())


def test_what_came_with_the_datagram_that_closes_a_socket_is_not_carried_out(run: Run) -> None:
    async def main() -> None:
        handled: list[Request] = []

        def handle(request: Request, respond: Respond) -> None:
            handled.append(request)
            udp.close()
            respond(reply.pong())

        udp = NgUdp(Service(handle=handle))
        with proxy(udp.open(V4)) as sock:
            for number in range(TOGETHER):
                sock.send(b"%d d7:command4:pinge" % number)
            await asyncio.sleep(0)
            while not handled:
                await asyncio.sleep(0)
        assert len(handled) == 1

    run(main())


def test_a_peer_that_does_not_read_delays_nobody(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 30_000)
        udp = NgUdp(Service(handle=lambda request, respond: respond(body)))
        server = udp.open(V4)
        with proxy(server) as deaf, proxy(server) as other:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for number in range(200):
                deaf.send(b"%d d7:command4:pinge" % number)
            assert len(await ask(other, b"1 d7:command4:pinge")) > 30_000
        udp.close()

    run(main())


def test_a_peer_that_is_gone_delays_nobody(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []
        udp = NgUdp(Service(handle=lambda request, respond: late.append(respond)))
        server = udp.open(V4)
        with proxy(server) as other:
            loop = asyncio.get_running_loop()
            with proxy(server) as gone:
                gone.send(b"1 d7:command4:pinge")
                gone.send(b"2 d7:command4:pinge")
            await loop.sock_sendall(other, b"3 d7:command4:pinge")
            while len(late) < 3:
                await asyncio.sleep(0)
            for respond in late:
                respond(reply.pong())
            assert await asyncio.wait_for(loop.sock_recv(other, 65_535), TIMEOUT) == b"3 d6:result4:ponge"
            udp.close()

    run(main())


def test_nothing_is_heard_after_close_and_a_late_reply_is_no_error(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []

        def handle(request: Request, respond: Respond) -> None:
            late.append(respond)
            udp.close()

        udp = NgUdp(Service(handle=handle))
        server = udp.open(V4)
        with proxy(server) as sock:
            sock.send(b"1 d7:command4:pinge")
            sock.send(b"2 d7:command4:pinge")
            while not late:
                await asyncio.sleep(0)
            late[0](reply.pong())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind((server.address, server.port))
        assert len(late) == 1

    run(main())


def test_an_address_that_is_taken_or_not_ours_is_an_error(run: Run) -> None:
    async def main() -> None:
        udp = NgUdp(Service(handle=pong))
        server = udp.open(V4)
        with pytest.raises(OSError, match="in use"):
            udp.open(server)
        with pytest.raises(OSError, match="assign"):
            udp.open(Endpoint("192.0.2.1", 0))
        with proxy(server) as sock:
            assert await ask(sock, b"1 d7:command4:pinge") == b"1 d6:result4:ponge"
        udp.close()

    run(main())


def test_datagrams_of_no_listed_address_are_not_looked_at(run: Run) -> None:
    async def main() -> None:
        handled: list[str] = []

        def handle(request: Request, respond: Respond) -> None:
            handled.append(request.proxy)
            respond(reply.pong())

        udp = NgUdp(Service(handle=handle), acl=Acl([ip_network("127.0.0.2/32")]))
        server = udp.open(V4)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, proxy(server, "127.0.0.2") as listed:
            stranger.sendto(b"1 d7:command4:pinge", (server.address, server.port))
            assert await ask(listed, b"1 d7:command4:pinge") == b"1 d6:result4:ponge"
        assert handled == ["127.0.0.2"]
        assert udp.turned_away == 1
        udp.close()

    run(main())
