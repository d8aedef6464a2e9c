"""WebSockets, with the `websockets` library as an independent client.

browser, proxy ---- RFC 6455, one message a request ----> NgHttp ----> ng handler, console
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from rtprelay.listen.exchange import Respond
from rtprelay.listen.tokens import Tokens
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.values import Endpoint
from tests.unit.listen.rig import PING, PONG, TIMEOUT, V4, V6, Clock, Relay, Run, Ticker, client, deaf, sip, until

TOKEN = "a-token-of-sixteen-or-more"


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n"
)


def binary(message: bytes) -> bytes:
    """A short message in one frame (RFC 6455 section 5.2), masked with zeros."""
    return bytes([0x82, 0x80 | len(message)]) + bytes(4) + message


@asynccontextmanager
async def browser(
    server: Endpoint, *subprotocols: str, path: str = "", **options: str
) -> AsyncIterator[ClientConnection]:
    names = [Subprotocol(f"{name}.rtpengine.com" if "-protocol" not in name else name) for name in subprotocols]
    headers = {name.replace("_", "-"): value for name, value in options.items()}
    async with connect(
        f"ws://{server}/{path}", subprotocols=names or None, additional_headers=headers, proxy=None, close_timeout=1
    ) as socket:
        yield socket


async def get(socket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(socket.recv(), TIMEOUT)


@pytest.mark.parametrize("local", [V4, V6], ids=str)
def test_each_message_is_a_request_and_its_reply_is_binary(run: Run, local: object) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V6 if local is V6 else V4), "ng") as socket:
            assert socket.subprotocol == "ng.rtpengine.com"
            for sent, expected in (
                ('5323_1 {"command":"ping"}', b'5323_1 {"result":"pong"}'),
                (b"5323_2 " + PING, b"5323_2 " + PONG),
                ("5323_3 " + PING.decode(), b"5323_3 " + PONG),
                ('5_9 {"command":"foo"}', b'5_9 {"result":"error","error-reason":"Unrecognized command"}'),
                ("5323_4 xx", b"5323_4 "),
            ):
                await socket.send(sent)
                assert await get(socket) == expected

    run(main())


def test_what_has_no_cookie_is_not_answered(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V4), "ng") as socket:
            await socket.send("nocookie")
            await socket.send(b"1 " + PING)
            assert await get(socket) == b"1 " + PONG

    run(main())


def test_a_repeated_cookie_gets_the_reply_it_had(run: Run) -> None:
    async def main() -> None:
        def handle(request: Request, respond: Respond) -> None:
            respond(reply.ok(number=relay.handled.total()))

        relay = Relay(handle)
        async with relay, browser(relay.http.open(V4), "ng") as socket:
            for cookie, number in (("1", 1), ("1", 1), ("2", 2)):
                await socket.send(f"{cookie} {PING.decode()}")
                assert await get(socket) == b"%b d6:numberi%de6:result2:oke" % (cookie.encode(), number)

    run(main())


def test_plain_messages_have_no_cookie(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V4), "ng-plain") as socket:
            for sent, expected in (
                ('{"command":"ping"}', b'{"result":"pong"}'),
                (PING, PONG),
                (PING, PONG),
                ("xx", b""),
            ):
                await socket.send(sent)
                assert await get(socket) == expected
        assert relay.handled.total() == 3

    run(main())


def test_the_console_answers_lines(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V4), "cli") as socket:
            for line, expected in (("list totals", b"<list totals>\n"), (b"\xff\n", b"<\xff>\n")):
                await socket.send(line)
                assert await get(socket) == expected
            await socket.send("x" * 5000)
            assert await get(socket) == b"Line is longer than 4096 bytes\n"

    run(main())


def test_an_echo_comes_back_as_it_went(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V4), "echo") as socket:
            for message in ("text", b"binary", "", b""):
                await socket.send(message)
                assert await get(socket) == message
            await asyncio.wait_for(await socket.ping(), TIMEOUT)

    run(main())


def test_the_first_of_the_subprotocols_offered_that_is_known_is_spoken(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, browser(relay.http.open(V4), "janus-protocol", "cli", "ng") as socket:
            assert socket.subprotocol == "cli.rtpengine.com"

    run(main())


@pytest.mark.parametrize(
    ("subprotocols", "status", "text"),
    [
        ((), 400, "Sec-WebSocket-Protocol has to name one of ng.rtpengine.com, ng-plain.rtpengine.com"),
        (("nosuch",), 400, "Sec-WebSocket-Protocol has to name one of"),
        (("janus-protocol",), 501, "The Janus protocol is not spoken here"),
    ],
)
def test_other_subprotocols_are_refused_in_words(
    run: Run, subprotocols: tuple[str, ...], status: int, text: str
) -> None:
    async def main() -> None:
        async with Relay() as relay:
            with pytest.raises(InvalidStatus) as caught:
                async with browser(relay.http.open(V4), *subprotocols):
                    raise AssertionError("not refused")
            assert caught.value.response.status_code == status
            assert caught.value.response.body.decode().startswith(text)
            assert caught.value.response.headers["Access-Control-Allow-Origin"] == "*"

    run(main())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"Sec_WebSocket_Version": "12"}, 426),
        ({"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "\u2028AAAAAAAAAAAAAAAAAAAAA=="}, 400),
        ({"Sec_WebSocket_Version": "13"}, 400),
    ],
)
def test_a_handshake_that_is_none_is_refused(run: Run, header: dict[str, str], status: int) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            more = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec_WebSocket_Protocol": "ng.rtpengine.com",
                **header,
            }
            lines = [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
            await script.send("\r\n".join(["GET / HTTP/1.1", "Host: x", *lines, "", ""]).encode())
            assert (await script.response())[0] == status
        assert relay.failures == []

    run(main())


def test_with_tokens_only_who_shows_one_is_served(run: Run) -> None:
    async def main() -> None:
        async with Relay(tokens=Tokens((TOKEN,))) as relay:
            server = relay.http.open(V4)
            async with browser(server, "ng", Authorization=f"Bearer {TOKEN}") as socket:
                await socket.send(b"1 " + PING)
                assert await get(socket) == b"1 " + PONG
            for path in ("", "ping"):
                with pytest.raises(InvalidStatus) as caught:
                    async with browser(server, "ng", path=path):
                        raise AssertionError("not refused")
                assert caught.value.response.status_code == 401

    run(main())


def test_the_rate_of_an_address_holds_back_its_messages(run: Run) -> None:
    async def main() -> None:
        clock = Clock()
        async with Relay(rate=20, clock=clock) as relay, browser(relay.http.open(V4), "ng") as socket:
            for number in range(30):
                await socket.send(b"%d " % number + PING)
            # The connection and its handshake count as well.
            for number in range(18):
                assert await get(socket) == b"%d " % number + PONG
            for _ in range(100):
                await asyncio.sleep(0)
            assert relay.handled.total() == 18
            clock.now += 10
            for number in range(18, 30):
                assert await get(socket) == b"%d " % number + PONG

    run(main())


def test_a_message_over_the_limit_ends_the_connection(run: Run) -> None:
    async def main() -> None:
        async with Relay(message=10_000) as relay, browser(relay.http.open(V4), "ng") as socket:
            await socket.send(b"1 d3:sdp20000:" + b"x" * 20_000)
            with pytest.raises(ConnectionClosed) as caught:
                await get(socket)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
            await until(lambda: len(relay.doorman.places) == 0)
        assert relay.failures == []

    run(main())


def test_a_client_that_takes_no_reply_is_dropped_and_delays_nobody(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 100_000)
        async with Relay(lambda request, respond: respond(body), timeout=0.1, rate=0) as relay:
            server = relay.http.open(V4)
            with deaf(server) as greedy:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(greedy, HANDSHAKE + binary(b"1 " + PING) + binary(b"2 " + PING))
                async with browser(server, "ng") as socket:
                    while len(relay.doorman.places) == 2:
                        await socket.send(b"1 " + PING)
                        assert len(await get(socket)) > 100_000
        assert relay.failures == []

    run(main())


def test_a_client_that_takes_its_reply_too_slowly_is_dropped(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 3_000_000)
        async with Relay(lambda request, respond: respond(body), timeout=0.2) as relay:
            with deaf(relay.http.open(V4)) as slow:
                slow.send(HANDSHAKE + binary(b"1 " + PING))
                with pytest.raises(ConnectionResetError):
                    await sip(slow)
                await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_flood_of_messages_delays_another_client_by_its_turns_only(run: Run) -> None:
    async def main() -> None:
        async with Relay(turns=4, rate=0) as relay:
            server = relay.http.open(V4)
            async with browser(server, "ng") as one, browser(server, "ng") as other:

                async def flood(greedy: ClientConnection) -> None:
                    for number in range(300):
                        await greedy.send(b"%d " % number + PING)

                ticker = Ticker(relay.handled.total)
                sending = asyncio.gather(flood(one), flood(other))
                for number in range(300):
                    for greedy in (one, other):
                        assert await get(greedy) == b"%d " % number + PONG
                await sending
        assert ticker.most <= 4

    run(main())


def test_closing_says_goodbye(run: Run) -> None:
    async def main() -> None:
        relay = Relay()
        async with browser(relay.http.open(V4), "ng") as socket:
            await socket.send(b"1 " + PING)
            assert await get(socket) == b"1 " + PONG
            closing = asyncio.ensure_future(relay.http.close())
            with pytest.raises(ConnectionClosed) as caught:
                await get(socket)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            await closing
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())
