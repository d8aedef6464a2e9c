"""Whatever bytes reach a control port: nothing fails, nothing stays, and the next client is served.

hypothesis ---- bytes, cut anywhere ----> NgTcp, NgHttp ----> handler
"""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.listen.rig import PING, PONG, V4, Relay, client, until

Kind = Literal["tcp", "http"]

STREAM = (b"1 d7:command4:pinge", b'2 {"command":"ping"}', b"3 d3:sdp5:", b"4 {", b"x" * 300, b"\n", b"5 xx", b"d1:a")
HTTP = (
    *(b"GET /ping HTTP/1.1\r\n", b"POST /ng HTTP/1.1\r\n", b"POST /ng-plain HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n"),
    *(b"GET /cli/list+totals HTTP/1.1\r\n", b"GET http://[::1/ HTTP/1.1\r\n", b"GET /cli/%ff%zz HTTP/1.1\r\n"),
    *(b"Host: x\r\n", b"Content-Length: 19\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Content-Type: application/x-rtpengine-ng\r\n", b"Content-Type: \xff;;=\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", b"Upgrade: h2c\r\n"),
    *(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"Sec-WebSocket-Protocol: ng.rtpengine.com\r\n"),
    b"Sec-WebSocket-Key: \xe2\x80\xa8AAAAAAAAAAAAAAAAAAAAA==\r\n",
    *(b"Sec-WebSocket-Protocol: echo.rtpengine.com\r\n", b"Authorization: Bearer \xff\r\n", b"\r\n"),
    *(b"5\r\nhello\r\n0\r\n", b"1 d7:command4:pinge", b'{"command":"ping"}'),
    # WebSocket frames: empty, endless, ping, close, a fragment, a reserved bit.
    *(b"\x82\x80\0\0\0\0", b"\x82\xff" + b"\xff" * 8, b"\x89\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8"),
    *(b"\x01\x81\0\0\0\0x", b"\xc1\x80\0\0\0\0"),
)


def streams(pieces: tuple[bytes, ...]) -> st.SearchStrategy[list[list[bytes]]]:
    """What some clients send, one after the other, each in writes of its own."""
    return st.lists(st.lists(st.sampled_from(pieces) | st.binary(max_size=40), max_size=12), min_size=1, max_size=6)


def survives(sent: list[list[bytes]], kind: Kind) -> None:
    async def main() -> None:
        async with Relay(rate=0, message=5000) as relay:
            server = (relay.tcp if kind == "tcp" else relay.http).open(V4)
            for pieces in sent:
                async with client(server) as fuzzer:
                    await until(lambda: len(relay.doorman.places) == 1)
                    for piece in pieces:
                        fuzzer.writer.write(piece)
                        await asyncio.sleep(0)
                    # What was sent is read before the end is seen.
                    fuzzer.writer.close()
                    await until(lambda: len(relay.doorman.places) == 0)
            async with client(server) as proxy:
                if kind == "tcp":
                    await proxy.ask(b"1 " + PING, b"1 " + PONG)
                else:
                    assert (await proxy.http("GET", "/ping"))[2] == b"pong\n"
            assert relay.failures == []

    asyncio.run(asyncio.wait_for(main(), 60))


@given(streams(STREAM))
@settings(max_examples=60, deadline=None)
def test_ng_over_tcp_survives_any_stream(sent: list[list[bytes]]) -> None:
    survives(sent, "tcp")


@given(streams(HTTP))
@settings(max_examples=100, deadline=None)
def test_http_and_web_sockets_survive_any_stream(sent: list[list[bytes]]) -> None:
    survives(sent, "http")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_they_survive_many_more(kind: Kind) -> None:
    @given(streams(STREAM if kind == "tcp" else HTTP))
    @settings(max_examples=20_000, deadline=None)
    def many(sent: list[list[bytes]]) -> None:
        survives(sent, kind)

    many()
