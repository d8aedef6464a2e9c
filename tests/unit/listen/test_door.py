"""Who is let in, and that every place is given back.

client ---- TCP ----> Door ----> protocol
"""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_network

import pytest

from rtprelay.listen.acl import Acl
from rtprelay.listen.door import Door, Doorman
from rtprelay.listen.limits import Limits
from rtprelay.values import Endpoint
from tests.unit.listen.rig import PING, PONG, V4, V6, Clock, Relay, Run, client, deaf, until


@pytest.mark.parametrize("host", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "fe80::1%eth0"])
def test_an_address_is_recognised_in_every_spelling(host: str) -> None:
    networks = ["192.0.2.0/24", "2001:db8::/32", "fe80::/10"]
    assert Acl([ip_network(text) for text in networks]).admits(host)
    assert not Acl([ip_network("198.51.100.0/24"), ip_network("::/128")]).admits(host)


def test_without_a_list_everyone_is_let_in() -> None:
    assert Acl().admits("192.0.2.1")


def test_connections_beyond_the_limit_are_turned_away_until_there_is_room(run: Run) -> None:
    async def main() -> None:
        async with Relay(connections=2) as relay:
            server = relay.tcp.open(V4)
            async with client(server) as one, client(server) as two:
                for proxy in (one, two):
                    await proxy.ask(b"1 " + PING, b"1 " + PONG)
                async with client(server) as three:
                    assert await three.rest() == b""
                assert relay.doorman.turned_away == {"connections": 1}
                one.writer.close()
                await until(lambda: len(relay.doorman.places) == 1)
                async with client(server) as four:
                    await four.ask(b"1 " + PING, b"1 " + PONG)

    run(main())


def test_one_address_cannot_take_all_places(run: Run) -> None:
    async def main() -> None:
        async with Relay(connections=10, connections_per_host=1) as relay:
            server = relay.tcp.open(V4)
            async with client(server, "127.0.0.1") as one, client(server, "127.0.0.1") as two:
                await one.ask(b"1 " + PING, b"1 " + PONG)
                assert await two.rest() == b""
                async with client(server, "127.0.0.2") as other:
                    await other.ask(b"1 " + PING, b"1 " + PONG)

    run(main())


def test_connections_that_come_too_fast_are_turned_away(run: Run) -> None:
    async def main() -> None:
        clock = Clock()
        async with Relay(rate=3, clock=clock) as relay:
            server = relay.tcp.open(V4)
            for _ in range(3):
                async with client(server, "127.0.0.1"):
                    pass
            async with client(server, "127.0.0.1") as hasty:
                assert await hasty.rest() == b""
            assert relay.doorman.turned_away == {"rate": 1}
            clock.now += 1
            async with client(server, "127.0.0.1") as proxy:
                await proxy.ask(b"1 " + PING, b"1 " + PONG)

    run(main())


def test_all_listeners_share_the_places(run: Run) -> None:
    async def main() -> None:
        async with Relay(connections=1) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.ask(b"1 " + PING, b"1 " + PONG)
            async with client(relay.http.open(V4)) as browser:
                assert await browser.rest() == b""

    run(main())


@pytest.mark.parametrize("end", ["close", "abort", "eof", "server"])
def test_however_a_connection_ends_its_place_is_given_back(run: Run, end: str) -> None:
    async def main() -> None:
        async with Relay() as relay:
            for listener in (relay.tcp, relay.http):
                async with client(listener.open(V4)) as proxy:
                    await until(lambda: len(relay.doorman.places) == 1)
                    if end == "close":
                        proxy.writer.close()
                    elif end == "abort":
                        proxy.writer.transport.abort()
                    elif end == "eof":
                        proxy.writer.write_eof()
                    else:
                        await listener.close()
                    await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_connection_that_is_reset_while_it_comes_in_is_nobodys_failure(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay:
            server = relay.tcp.open(V4)
            for _ in range(50):
                with socket.create_connection((server.address, server.port)) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            async with client(server) as proxy:
                await proxy.ask(b"1 " + PING, b"1 " + PONG)
                await until(lambda: len(relay.doorman.places) == 1)
        assert relay.failures == []

    run(main())


def test_the_kernel_ends_a_connection_whose_peer_takes_nothing(run: Run) -> None:
    """The protocol has written, closed, and waits for nobody: only TCP_USER_TIMEOUT is left to end it."""

    class Verbose(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert hasattr(transport, "write")
            transport.write(b"x" * 10_000_000)
            transport.close()

    async def main() -> None:
        doorman = Doorman(Limits(timeout=0.1))
        door = Door(Verbose, doorman)
        with deaf(door.open(V4)):
            await until(lambda: len(doorman.places) == 1)
            await until(lambda: len(doorman.places) == 0)
        await door.close()

    run(main())


def test_out_of_files_a_door_waits_and_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("rtprelay.listen.door._OUT_OF_FILES", 0.01)
        async with Relay() as relay:
            server = relay.tcp.open(V4)

            def accept(_: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
                raise OSError(errno.EMFILE, "Too many open files")

            with monkeypatch.context() as out_of_files:
                out_of_files.setattr(socket.socket, "accept", accept)
                async with client(server):
                    await until(lambda: relay.doorman.turned_away["files"] > 1)
            async with client(server) as proxy:
                await proxy.ask(b"1 " + PING, b"1 " + PONG)

    run(main())


def test_both_families_can_listen_at_one_port(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay:
            port = relay.tcp.open(V6).port
            for address in ("::1", relay.tcp.open(Endpoint("127.0.0.1", port)).address):
                async with client(Endpoint(address, port)) as proxy:
                    await proxy.ask(b"1 " + PING, b"1 " + PONG)

    run(main())


def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay:
            server = relay.tcp.open(V4)
            with pytest.raises(OSError, match="in use"):
                relay.http.open(server)
            async with client(server) as proxy:
                await proxy.ask(b"1 " + PING, b"1 " + PONG)

    run(main())
