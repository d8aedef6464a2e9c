"""The console port, as rtpengine-ctl uses it: one line of text in, text out, and the connection is closed.

A client has `timeout` seconds for its line, and as many to take the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from rtprelay.listen.acl import Acl
from rtprelay.listen.door import Door, Doorman
from rtprelay.values import Endpoint

MAX_LINE = 4096


def console_answer(execute: Callable[[str], str], line: bytes | None) -> bytes:
    """What the console says to a line, whichever way that came; None: it was longer than MAX_LINE."""
    if line is None or len(line) > MAX_LINE:
        return f"Line is longer than {MAX_LINE} bytes\n".encode()
    text = line.decode("utf-8", "surrogateescape").strip()
    try:
        return execute(text).encode("utf-8", "surrogateescape")
    except Exception as error:
        # One command's failure must not end the console.
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"console command {text!r} failed", "exception": error}
        )
        return b"Internal error\n"


class CliServer:
    """All console sockets of a relay. `execute` makes the answer of a line."""

    def __init__(self, execute: Callable[[str], str], doorman: Doorman, *, acl: Acl | None = None) -> None:
        self._execute = execute
        self._timeout = doorman.limits.timeout
        self._door = Door(self._protocol, doorman, acl=acl)
        self._clients: set[asyncio.Task[None]] = set()

    def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        return self._door.open(local)

    async def close(self) -> None:
        """Stop listening and drop whoever is connected."""
        await self._door.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=MAX_LINE), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that is too slow or gone: nobody is left to be told.
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(self._timeout):
                    line = await self._read_line(reader)
                writer.write(console_answer(self._execute, line))
                async with asyncio.timeout(self._timeout):
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes | None:
        """The line; a client that half-closes instead of ending it is fine. None: too long."""
        try:
            return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError:
            return None
