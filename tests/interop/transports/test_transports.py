"""One language: the same messages get the same replies over every transport of the whole relay.

UDP, TCP, TLS, HTTP, HTTPS, WebSocket, secure WebSocket ----> rtprelay (a process of its own)
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rtprelay.values import Endpoint
from tests.interop.transports.daemon import Daemon
from tests.unit.listen.authority import SERVER_NAME
from tests.unit.wire_examples import exchanges

Ask = Callable[[bytes], bytes]
TRANSPORTS = ("ng", "tcp-ng", "tls-ng", "http", "https", "ws", "wss")

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=t\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("relay"))
    yield daemon
    daemon.program.end()


@pytest.fixture(params=TRANSPORTS)
def ask(relay: Daemon, request: pytest.FixtureRequest) -> Iterator[Ask]:
    transport: str = request.param
    endpoint = relay.at({"ws": "http", "wss": "https"}.get(transport, transport))
    trust = relay.authority.client_context()
    if transport.startswith("ws"):
        yield from _by_web_socket(f"{transport}://{endpoint}/", trust if transport == "wss" else None)
    elif transport.startswith("http"):
        yield from _by_http(f"{transport}://{endpoint}/ng", trust)
    elif transport == "ng":
        yield from _by_datagram(endpoint)
    else:
        yield from _by_stream(endpoint, trust if transport == "tls-ng" else None)


def _by_datagram(endpoint: Endpoint) -> Iterator[Ask]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect((endpoint.address, endpoint.port))

        def ask(message: bytes) -> bytes:
            sock.send(message)
            return sock.recv(65536)

        yield ask


def _by_stream(endpoint: Endpoint, trust: ssl.SSLContext | None) -> Iterator[Ask]:
    """Each on a connection of its own, closed by us first: so the reply is all that comes."""

    def ask(message: bytes) -> bytes:
        with socket.create_connection((endpoint.address, endpoint.port), 10) as plain:
            sock = trust.wrap_socket(plain, server_hostname=SERVER_NAME) if trust else plain
            # A ping behind it shows where the reply ends: nothing else does.
            sock.sendall(message + b"end d7:command4:pinge")
            received = b""
            while not received.endswith(b"end d6:result4:ponge"):
                part = sock.recv(65536)
                assert part, received
                received += part
            if trust:
                sock.close()
            return received.removesuffix(b"end d6:result4:ponge")

    yield ask


def _by_http(url: str, trust: ssl.SSLContext) -> Iterator[Ask]:
    def ask(message: bytes) -> bytes:
        asked = urllib.request.Request(url, message, {"Content-Type": "application/x-rtpengine-ng"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(asked, timeout=10) as response:
            body: bytes = response.read()
        return body

    yield ask


def _by_web_socket(url: str, trust: ssl.SSLContext | None) -> Iterator[Ask]:
    name = SERVER_NAME if trust else None
    subprotocols = [Subprotocol("ng.rtpengine.com")]
    with asyncio.Runner() as runner:

        async def opened() -> ClientConnection:
            return await connect(url, subprotocols=subprotocols, ssl=trust, server_hostname=name, proxy=None)

        web_socket = runner.run(opened())

        async def asked(message: bytes) -> bytes:
            await web_socket.send(message)
            answer = await asyncio.wait_for(web_socket.recv(), 10)
            assert isinstance(answer, bytes)
            return answer

        yield lambda message: runner.run(asked(message))
        runner.run(web_socket.close())


def test_the_bytes_are_those_of_rtpengine(ask: Ask) -> None:
    """Those exchanges of the record whose replies name nothing of the other relay's."""
    same = [
        (asked, answered)
        for asked, answered in exchanges()
        if re.search(rb'"?(command|7:command)"?:?("ping"|4:ping|"foo"|"query","call-id":"unknown)', asked)
    ]
    assert len(same) >= 3
    for asked, answered in same:
        assert ask(asked) == answered


def test_a_call_is_offered_answered_and_deleted(ask: Ask, request: pytest.FixtureRequest) -> None:
    call_id = request.node.name

    def command(cookie: str, name: str, **more: str) -> bytes:
        pairs = {"command": name, "call-id": call_id, "from-tag": "f", **more}
        body = "".join(f"{len(text)}:{text}" for pair in pairs.items() for text in pair)
        return ask(f"{cookie} d{body}e".encode())

    offered = command("1", "offer", sdp=SDP)
    assert re.fullmatch(rb"1 d3:sdp\d+:v=0\r\n.*m=audio 2\d{4} RTP/AVP 0 8\r\n.*6:result2:oke", offered, re.DOTALL)
    answered = command("2", "answer", sdp=SDP, **{"to-tag": "t"})
    assert re.fullmatch(rb"2 d3:sdp\d+:.*6:result2:oke", answered, re.DOTALL)
    assert b"7:createdi" in command("3", "query")
    assert command("4", "delete", **{"delete-delay": "0"}).endswith(b"6:result2:oke")
    assert command("5", "query") == b"5 d6:result5:error12:error-reason15:Unknown call-ide"


def test_whoever_sends_nonsense_does_not_fill_the_log(tmp_path: Path) -> None:
    relay = Daemon(tmp_path)
    try:
        for ask in _by_datagram(relay.at("ng")):
            for number in range(500):
                assert ask(b"%d xx" % number) == b"%d " % number
        told = relay.program.text.count("request refused")
        # Ten at once and ten a second; the relay is not that slow.
        assert 10 <= told < 100
        with urllib.request.urlopen(f"http://{relay.at('http')}/metrics", timeout=10) as response:
            assert b'rtpengine_errors_total{proxy="127.0.0.1"} 500.0' in response.read()
    finally:
        relay.program.end()
