"""Listeners on loopback, and clients that say exactly what a test wants said."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from rtprelay.errors import RelayError
from rtprelay.listen.acl import Acl
from rtprelay.listen.door import Doorman
from rtprelay.listen.exchange import Respond, Service
from rtprelay.listen.http import NgHttp
from rtprelay.listen.limits import Limits, Rota
from rtprelay.listen.tcp import NgTcp
from rtprelay.listen.tokens import Tokens
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.signalling.session import Peer
from rtprelay.values import Endpoint

V4 = Endpoint("127.0.0.1", 0)
V6 = Endpoint("::1", 0)
TIMEOUT = 5.0

PING, PONG = b"d7:command4:pinge", b"d6:result4:ponge"

Main = Coroutine[Any, Any, None]
Run = Callable[[Main], None]


def pong(request: Request, respond: Respond) -> None:
    respond(reply.pong())


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Relay:
    """What the listeners of a test lead to, and what has been seen there."""

    def __init__(
        self,
        handle: Callable[[Request, Respond], None] = pong,
        *,
        acl: Acl | None = None,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
        execute: Callable[[str], str] = lambda line: f"<{line}>\n",
        metrics: Callable[[], tuple[bytes, str]] = lambda: (b"up 1\n", "text/plain"),
        clock: Callable[[], float] | None = None,
        turns: int = 16,
        **limits: Any,
    ) -> None:
        self.handled: Counter[str] = Counter()
        """Requests by source address."""
        self.complaints: list[tuple[str, str]] = []
        self.failures: list[BaseException] = []
        self._handle = handle
        self.doorman = Doorman(Limits(**limits), **({"clock": clock} if clock else {}))
        self.service = Service(handle=self._count, complain=self._complain)
        self.rota = Rota(turns)
        rules: dict[str, Any] = {"acl": acl, "tokens": tokens, "tls": tls}
        self.tcp = NgTcp(self.service, self.doorman, self.rota, **rules)
        self.http = NgHttp(self.service, self.doorman, self.rota, execute=execute, metrics=metrics, **rules)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context.get("exception", RuntimeError())))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tcp.close()
        await self.http.close()

    def _count(self, request: Request, respond: Respond) -> None:
        self.handled[request.proxy] += 1
        self._handle(request, respond)

    def _complain(self, peer: Peer, fault: RelayError) -> None:
        self.complaints.append((peer.host, fault.reason))


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, length: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(length), TIMEOUT)

    async def rest(self) -> bytes:
        """What comes until the server closes; nothing where it resets."""
        try:
            return await asyncio.wait_for(self.reader.read(), TIMEOUT)
        except ConnectionError:
            return b""

    async def ask(self, data: bytes, expected: bytes) -> None:
        await self.send(data)
        assert await self.get(len(expected)) == expected

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """An HTTP response: status, header with lower-case names, body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT)).decode()
        status, *lines = head.rstrip().split("\r\n")
        header = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), header, await self.get(int(header.get("content-length", "0")))

    async def http(self, method: str, path: str, body: bytes = b"", **header: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: relay"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in header.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return await self.response()


@asynccontextmanager
async def client(
    server: Endpoint, source: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    local = (source, 0) if source else None
    name = "relay.test" if tls else None
    reader, writer = await asyncio.open_connection(
        server.address, server.port, local_addr=local, ssl=tls, server_hostname=name, limit=1 << 20
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@contextmanager
def deaf(server: Endpoint) -> Iterator[socket.socket]:
    """A connected client with little room for what it does not read."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((server.address, server.port))
        sock.setblocking(False)
        yield sock


async def sip(sock: socket.socket) -> None:
    """Take what comes in such small sips that the kernel never sees a stalled connection."""
    while await asyncio.get_running_loop().sock_recv(sock, 512):
        await asyncio.sleep(0.005)


class Ticker:
    """How much was done in one turn of the event loop, at most."""

    def __init__(self, done: Callable[[], int]) -> None:
        self.most = 0
        self._done = done
        self._before = 0
        self._tick()

    def _tick(self) -> None:
        done = self._done()
        self.most = max(self.most, done - self._before)
        self._before = done
        asyncio.get_running_loop().call_soon(self._tick)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until it is so; the test's own timeout ends what never comes."""
    while not condition():
        await asyncio.sleep(0.001)
