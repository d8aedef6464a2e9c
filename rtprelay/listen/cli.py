"""The console port, as rtpengine-ctl uses it: one line of text in, text out, and the connection is closed.

A client has TIMEOUT seconds for its line, as many to take the answer, and is one of MAX_CONNECTIONS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from rtprelay.values import Endpoint

MAX_LINE = 4096
MAX_CONNECTIONS = 32
TIMEOUT = 10.0


class CliServer:
    """All console sockets of a relay. `execute` makes the answer of a line."""

    def __init__(
        self,
        execute: Callable[[str], str],
        *,
        max_line: int = MAX_LINE,
        max_connections: int = MAX_CONNECTIONS,
        timeout: float = TIMEOUT,
    ) -> None:
        self._execute = execute
        self._max_line = max_line
        self._max_connections = max_connections
        self._timeout = timeout
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        server = await asyncio.start_server(self._accept, local.address, local.port, limit=self._max_line)
        self._servers.append(server)
        return local.with_port(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop whoever is connected."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= self._max_connections:
            writer.transport.abort()
            return
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that is too slow or gone: nobody is left to be told.
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(self._timeout):
                    line = await self._read_line(reader)
                writer.write(self._answer(line).encode("utf-8", "surrogateescape"))
                async with asyncio.timeout(self._timeout):
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _read_line(self, reader: asyncio.StreamReader) -> str | None:
        """The line, without its end; a client that half-closes instead of ending it is fine. None: too long."""
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line = error.partial
        except asyncio.LimitOverrunError:
            return None
        return line.decode("utf-8", "surrogateescape").strip()

    def _answer(self, line: str | None) -> str:
        if line is None:
            return f"Line is longer than {self._max_line} bytes\n"
        try:
            return self._execute(line)
        except Exception as error:
            # One command's failure must not end the console.
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"console command {line!r} failed", "exception": error}
            )
            return "Internal error\n"
