"""The console over real TCP connections on loopback.

rtpengine-ctl ---- one line ----> CliServer ---- text, end of stream ----> rtpengine-ctl
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rtprelay.listen.cli import MAX_LINE, CliServer
from rtprelay.listen.door import Doorman
from rtprelay.listen.limits import Limits
from rtprelay.values import Endpoint
from tests.unit.listen.rig import TIMEOUT, Run


@asynccontextmanager
async def serving(execute: Callable[[str], str], address: str = "127.0.0.1", **limits: Any) -> AsyncIterator[Endpoint]:
    server = CliServer(execute, Doorman(Limits(**limits)))
    try:
        yield server.open(Endpoint(address, 0))
    finally:
        await server.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; nothing where it resets."""
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT)
    except ConnectionError:
        return b""


async def ask(server: Endpoint, data: bytes, *, half_close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        return await rest(reader)
    finally:
        writer.close()


def echo(line: str) -> str:
    return f"<{line}>\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_line_is_answered_and_the_connection_closed(run: Run, address: str) -> None:
    async def main() -> None:
        async with serving(echo, address) as server:
            assert await ask(server, b"list numsessions\n") == b"<list numsessions>\n"
            assert await ask(server, b"list totals\r\nmore\n") == b"<list totals>\n"

    run(main())


def test_a_client_may_half_close_instead_of_ending_its_line(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            assert await ask(server, b"list totals", half_close=True) == b"<list totals>\n"
            assert await ask(server, b"", half_close=True) == b"<>\n"

    run(main())


def test_bytes_that_are_no_utf8_pass_through(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            assert await ask(server, b"terminate \xff\xe9\n") == b"<terminate \xff\xe9>\n"

    run(main())


def test_a_long_answer_comes_whole(run: Run) -> None:
    async def main() -> None:
        async with serving(lambda line: "x" * 3_000_000) as server:
            assert len(await ask(server, b"list sessions all\n")) == 3_000_000

    run(main())


def test_a_line_without_end_is_cut_short(run: Run) -> None:
    async def main() -> None:
        lines: list[str] = []

        def execute(line: str) -> str:
            lines.append(line)
            return ""

        async with serving(execute) as server:
            assert await ask(server, b"x" * (MAX_LINE + 1)) in (b"Line is longer than 4096 bytes\n", b"")
        assert lines == []

    run(main())


def test_a_client_that_says_nothing_is_dropped(run: Run) -> None:
    async def main() -> None:
        async with serving(echo, timeout=0.05) as server:
            assert await ask(server, b"list tot") == b""

    run(main())


def test_a_client_that_takes_nothing_is_dropped(run: Run) -> None:
    async def main() -> None:
        more_than_sockets_hold = "x" * 30_000_000

        def execute(line: str) -> str:
            return more_than_sockets_hold if line == "all" else "little\n"

        async with serving(execute, timeout=0.05, connections=1) as server:
            reader, writer = await asyncio.open_connection(server.address, server.port, limit=1)
            writer.write(b"all\n")
            while await ask(server, b"list\n") != b"little\n":
                pass  # the first one's place is free once it is dropped
            assert len(await rest(reader)) < len(more_than_sockets_hold)
            writer.close()

    run(main())


def test_a_command_that_fails_is_answered_and_the_next_one_served(run: Run) -> None:
    async def main() -> None:
        failures: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))

        def execute(line: str) -> str:
            if line == "bad":
                raise KeyError("bug")
            return "good\n"

        async with serving(execute) as server:
            assert await ask(server, b"bad\n") == b"Internal error\n"
            assert await ask(server, b"other\n") == b"good\n"
        assert [type(failure) for failure in failures] == [KeyError]

    run(main())


def test_connections_beyond_the_limit_are_turned_away_until_there_is_room(run: Run) -> None:
    async def main() -> None:
        async with serving(echo, connections=2) as server:
            waiting = [await asyncio.open_connection(server.address, server.port) for _ in range(2)]
            assert await ask(server, b"list\n") == b""
            reader, writer = waiting[0]
            writer.write(b"first\n")
            assert await rest(reader) == b"<first>\n"
            got = b""
            while not got:
                got = await ask(server, b"list\n")
            assert got == b"<list>\n"
            for _, writer in waiting:
                writer.close()

    run(main())


def test_closing_drops_who_is_connected(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            reader, writer = await asyncio.open_connection(server.address, server.port)
            assert await ask(server, b"list\n") == b"<list>\n"
        assert await rest(reader) == b""
        writer.close()

    run(main())
