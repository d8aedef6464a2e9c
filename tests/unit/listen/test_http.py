"""HTTP, byte by byte, over real connections on loopback.

dashboard, script, browser ---- HTTP/1.1 ----> NgHttp ----> ng handler, console, metrics
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from ipaddress import ip_network

import pytest

from rtprelay.listen.acl import Acl
from rtprelay.listen.exchange import Respond
from rtprelay.listen.tokens import Tokens
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from tests.unit.listen.rig import PING, PONG, V4, V6, Client, Clock, Relay, Run, Ticker, client, deaf, sip, until

NG = "application/x-rtpengine-ng"
TOKEN = "a-token-of-sixteen-or-more"


# --- what is answered ---


@pytest.mark.parametrize("local", [V4, V6], ids=str)
def test_ping_is_answered_as_rtpengine_does(run: Run, local: object) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V6 if local is V6 else V4)) as browser:
            status, header, body = await browser.http("GET", "/ping")
            assert (status, header["content-type"], body) == (200, "text/plain", b"pong\n")
            assert header["access-control-allow-origin"] == "*"
            assert header["access-control-allow-methods"] == "GET, POST"
            assert header["access-control-max-age"] == "86400"

    run(main())


def test_ng_takes_a_cookie_and_gives_it_back(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            status, header, body = await script.http("POST", "/ng", b"5_1 " + PING, Content_Type=NG)
            assert (status, header["content-type"], body) == (200, NG, b"5_1 " + PONG)
            _, _, body = await script.http("POST", "/ng", b'5_2 {"command":"foo"}', Content_Type=NG)
            assert body == b'5_2 {"result":"error","error-reason":"Unrecognized command"}'
            _, _, body = await script.http("POST", "/ng", b"5_3 xx", Content_Type=NG)
            assert body == b"5_3 "

    run(main())


def test_ng_plain_takes_a_message_without_a_cookie(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            for content_type in (NG, "application/json", "text/plain"):
                answer = await script.http("POST", "/ng-plain", b'{"command":"ping"}', Content_Type=content_type)
                expected_type = "application/json" if content_type == "application/json" else NG
                assert (answer[0], answer[1]["content-type"], answer[2]) == (200, expected_type, b'{"result":"pong"}')
            assert (await script.http("POST", "/ng-plain", PING, Content_Type=NG))[2] == PONG
            assert (await script.http("POST", "/ng-plain", b"de", Content_Type=NG))[2].startswith(b"d6:result5:error")

    run(main())


def test_a_cookie_that_is_always_the_same_does_not_repeat_the_first_reply(run: Run) -> None:
    async def main() -> None:
        def handle(request: Request, respond: Respond) -> None:
            respond(reply.ok(number=relay.handled.total()))

        relay = Relay(handle)
        async with relay, client(relay.http.open(V4)) as script:
            for number in (1, 2):
                assert (await script.http("POST", "/ng", b"1 " + PING, Content_Type=NG))[2] == (
                    b"1 d6:numberi%de6:result2:oke" % number
                )

    run(main())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/cli/list+totals", "list totals"),
        ("/cli/list%20sessions+a%2Fb%3Fc%2Bd", "list sessions a/b?c+d"),
        ("/cli/list+sessions+a/b", "list sessions a/b"),
        ("/cli/list+totals?now=1", "list totals"),
        ("/cli/", ""),
    ],
)
def test_a_console_line_is_the_rest_of_the_path(run: Run, path: str, line: str) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as browser:
            status, header, body = await browser.http("GET", path)
            assert (status, header["content-type"], body.decode()) == (200, "text/plain", f"<{line}>\n")

    run(main())


def test_a_console_line_may_be_posted(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            answer = await script.http("POST", "/cli", b"list sessions \xff\n", Content_Type="text/plain")
            assert (answer[0], answer[2]) == (200, b"<list sessions \xff>\n")
            _, _, body = await script.http("POST", "/cli", b"x" * 5000, Content_Type="text/plain")
            assert body == b"Line is longer than 4096 bytes\n"

    run(main())


def test_metrics_are_what_they_are_when_asked(run: Run) -> None:
    async def main() -> None:
        scrapes: list[int] = []

        def metrics() -> tuple[bytes, str]:
            scrapes.append(len(scrapes))
            return b"scrapes %d\n" % len(scrapes), "text/plain; version=0.0.4; charset=utf-8"

        async with Relay(metrics=metrics) as relay, client(relay.http.open(V4)) as prometheus:
            for number in (1, 2):
                status, header, body = await prometheus.http("GET", "/metrics")
                assert (status, body) == (200, b"scrapes %d\n" % number)
                assert header["content-type"] == "text/plain; version=0.0.4; charset=utf-8"

    run(main())


def test_a_browser_may_ask_beforehand_whether_it_may_ask(run: Run) -> None:
    async def main() -> None:
        async with Relay(tokens=Tokens((TOKEN,))) as relay, client(relay.http.open(V4)) as browser:
            for path in ("/ng", "/ng-plain", "/cli", "/cli/list+totals", "/ping", "/metrics"):
                status, header, body = await browser.http("OPTIONS", path, Origin="https://dashboard.example")
                assert (status, body, header["access-control-allow-origin"]) == (204, b"", "*")
                assert "authorization" in header["access-control-allow-headers"].lower()

    run(main())


def test_pipelined_requests_are_answered_in_order(run: Run) -> None:
    async def main() -> None:
        async with Relay(rate=0) as relay, client(relay.http.open(V4)) as script:
            request = "POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
            sent = [b"%d " % number + PING for number in range(200)]
            await script.send(b"".join(request.format(NG, len(body)).encode() + body for body in sent))
            for number in range(200):
                assert (await script.response())[2] == b"%d " % number + PONG

    run(main())


def test_curl_is_told_to_go_on_where_it_waits_for_it(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as curl:
            length = len(b"1 " + PING)
            header = f"Host: x\r\nExpect: 100-continue\r\nContent-Type: {NG}\r\nContent-Length: {length}"
            await curl.send(f"POST /ng HTTP/1.1\r\n{header}\r\n\r\n".encode())
            assert await curl.get(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await curl.send(b"1 " + PING)
            assert (await curl.response())[2] == b"1 " + PONG

    run(main())


# --- what is refused, and how ---


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status", "text"),
    [
        ("GET", "/", b"", "", 404, "Not found"),
        ("GET", "/nope", b"", "", 404, "Not found"),
        ("GET", "/ng", b"", "", 405, "/ng takes POST, OPTIONS"),
        ("POST", "/ping", b"x", "text/plain", 405, "/ping takes GET, OPTIONS"),
        ("GET", "/cli", b"", "", 405, "/cli takes POST, OPTIONS"),
        ("POST", "/ng", b"1 de", "text/plain", 415, f"/ng takes {NG}, not text/plain"),
        ("POST", "/cli", b"x", "application/json", 415, "/cli takes text/plain, not application/json"),
        ("POST", "/ng", b"nocookie", NG, 400, "The body is not `COOKIE MESSAGE`"),
        ("POST", "/ng-plain", b"xx", NG, 400, "The body is neither a bencode dictionary nor a JSON object"),
        ("POST", "/ng-plain", b"", NG, 400, "The body is neither a bencode dictionary nor a JSON object"),
        ("POST", "/janus", b"{}", "application/json", 501, "The Janus protocol is not spoken here"),
        ("POST", "/janus/1/2", b"{}", "application/json", 501, "The Janus protocol is not spoken here"),
        ("POST", "/admin", b"{}", "application/json", 501, "The Janus protocol is not spoken here"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    run: Run, method: str, path: str, body: bytes, content_type: str, status: int, text: str
) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            header = {"Content_Type": content_type} if content_type else {}
            got = await script.http(method, path, body, **header)
            assert (got[0], got[2].decode()) == (status, text + "\n")
            assert got[1]["access-control-allow-origin"] == "*"
            assert ("allow" in got[1]) == (status == 405)
            assert (await script.http("GET", "/ping"))[0] == 200

    run(main())


def test_a_compressed_body_is_refused(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            status, _, _ = await script.http("POST", "/ng", b"\x1f\x8b", Content_Type=NG, Content_Encoding="gzip")
            assert status == 415

    run(main())


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_before_it_has_all_come(run: Run, announced: bool) -> None:
    async def main() -> None:
        async with Relay(message=10_000) as relay, client(relay.http.open(V4)) as script:
            length = b"Content-Length: 100000000" if announced else b"Transfer-Encoding: chunked"
            await script.send(b"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\n%b\r\n\r\n" % (NG.encode(), length))
            if not announced:
                await script.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            status, header, body = await script.response()
            assert (status, header["connection"], body) == (413, "close", b"The body is longer than 10000 bytes\n")

    run(main())


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /ping HTTP/9.9\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_ends_the_connection(run: Run, sent: bytes) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.http.open(V4)) as script:
            await script.send(sent)
            assert (await script.rest()).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert relay.failures == []

    run(main())


def test_a_handler_that_fails_costs_its_own_request_only(run: Run) -> None:
    async def main() -> None:
        def execute(line: str) -> str:
            raise KeyError(line)

        def metrics() -> tuple[bytes, str]:
            raise KeyError("metrics")

        def handle(request: Request, respond: Respond) -> None:
            raise KeyError("ng")

        async with Relay(handle, execute=execute, metrics=metrics) as relay, client(relay.http.open(V4)) as script:
            assert (await script.http("GET", "/cli/list"))[2] == b"Internal error\n"
            assert (await script.http("GET", "/metrics"))[::2] == (500, b"Internal error\n")
            assert b"Internal error" in (await script.http("POST", "/ng", b"1 " + PING, Content_Type=NG))[2]
            assert (await script.http("GET", "/ping"))[0] == 200
        assert [type(failure) for failure in relay.failures] == [KeyError] * 3

    run(main())


def test_a_request_the_relay_does_not_answer_ends_in_words_too(run: Run) -> None:
    async def main() -> None:
        async with Relay(lambda request, respond: None, patience=0.02) as relay, client(relay.http.open(V4)) as script:
            got = await script.http("POST", "/ng", b"1 " + PING, Content_Type=NG)
            assert (got[0], got[2]) == (504, b"The relay did not reply in time\n")

    run(main())


# --- who may ask ---


def test_with_tokens_only_who_shows_one_is_served(run: Run) -> None:
    async def main() -> None:
        async with Relay(tokens=Tokens(("an-older-token-still-good", TOKEN))) as relay:
            server = relay.http.open(V4)
            async with client(server) as script:
                for token in (TOKEN, "an-older-token-still-good"):
                    got = await script.http("GET", "/cli/list", Authorization=f"Bearer {token}")
                    assert (got[0], got[2]) == (200, b"<list>\n")
                for credentials in ("", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}"):
                    for method, path in (("GET", "/metrics"), ("POST", "/ng"), ("GET", "/nope")):
                        status, header, _ = await script.http(method, path, Authorization=credentials)
                        assert (status, header["www-authenticate"]) == (401, 'Bearer realm="rtprelay"')
                assert (await script.http("GET", "/ping"))[0] == 200
            assert relay.doorman.turned_away["token"] == 9
            assert all(TOKEN[:-1] not in reason for _, reason in relay.complaints)

    run(main())


def test_a_client_of_no_listed_address_is_not_heard(run: Run) -> None:
    async def main() -> None:
        async with Relay(acl=Acl([ip_network("127.0.0.2/32")])) as relay:
            server = relay.http.open(V4)
            async with client(server, "127.0.0.1") as stranger, client(server, "127.0.0.2") as script:
                assert await stranger.rest() == b""
                assert (await script.http("GET", "/ping"))[0] == 200

    run(main())


def test_too_many_requests_of_an_address_are_refused_and_those_of_others_are_not(run: Run) -> None:
    async def main() -> None:
        clock = Clock()
        async with Relay(rate=5, clock=clock) as relay:
            server = relay.http.open(V4)
            async with client(server, "127.0.0.1") as hasty, client(server, "127.0.0.2") as other:
                # The connection itself counts as one.
                assert [(await hasty.http("GET", "/ping"))[0] for _ in range(5)] == [200] * 4 + [429]
                status, header, _ = await hasty.http("GET", "/ping")
                assert (status, header["retry-after"]) == (429, "1")
                assert (await other.http("GET", "/ping"))[0] == 200
                clock.now += 1
                assert (await hasty.http("GET", "/ping"))[0] == 200

    run(main())


# --- who is dropped, and who delays whom ---


def test_a_client_that_takes_its_response_too_slowly_is_dropped(run: Run) -> None:
    async def main() -> None:
        async with Relay(timeout=0.2, execute=lambda line: "x" * 3_000_000) as relay:
            with deaf(relay.http.open(V4)) as slow:
                slow.send(b"GET /cli/list HTTP/1.1\r\nHost: x\r\n\r\n")
                with pytest.raises(ConnectionResetError):
                    await sip(slow)
                await until(lambda: len(relay.doorman.places) == 0)

    run(main())


async def _endless(slow: Client, first: bytes, more: bytes) -> None:
    await slow.send(first)
    while True:
        await slow.send(more)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", [b"", b"GET /ping HTTP/1.1\r\n"])
def test_a_client_that_lets_its_header_trickle_in_is_dropped(run: Run, first: bytes) -> None:
    """Slowloris: each line is in time, the header is not."""

    async def main() -> None:
        async with Relay(idle=0.1) as relay, client(relay.http.open(V4)) as slow:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.gather(_endless(slow, first, b"a: b\r\n" if first else b""), slow.get(1))

    run(main())


def test_a_client_that_lets_its_body_trickle_in_is_told_and_dropped(run: Run) -> None:
    async def main() -> None:
        async with Relay(timeout=0.1) as relay, client(relay.http.open(V4)) as slow:
            head = b"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: 9000\r\n\r\n" % NG.encode()
            trickle = asyncio.ensure_future(_endless(slow, head, b"x"))
            status, header, body = await slow.response()
            assert (status, header["connection"]) == (408, "close")
            assert body == b"The request was not complete within 0.1 seconds\n"
            await slow.rest()
            trickle.cancel()
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_client_that_does_not_take_its_response_is_dropped_and_delays_nobody(run: Run) -> None:
    async def main() -> None:
        async with Relay(timeout=0.1, execute=lambda line: "x" * 3_000_000) as relay:
            server = relay.http.open(V4)
            with deaf(server) as greedy:
                await asyncio.get_running_loop().sock_sendall(
                    greedy, b"GET /cli/list HTTP/1.1\r\nHost: x\r\n\r\n" * 100
                )
                async with client(server) as other:
                    while len(relay.doorman.places) == 2:
                        assert (await other.http("GET", "/ping"))[0] == 200
                assert greedy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, 104)
        assert relay.failures == []

    run(main())


def test_a_flood_of_pipelined_requests_delays_another_client_by_its_turns_only(run: Run) -> None:
    async def main() -> None:
        async with Relay(turns=4, rate=0) as relay, AsyncExitStack() as stack:
            server = relay.http.open(V4)
            flood = [await stack.enter_async_context(client(server)) for _ in range(30)]
            body = b"1 " + PING
            head = f"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: {NG}\r\nContent-Length: {len(body)}\r\n\r\n"
            ticker = Ticker(relay.handled.total)
            for greedy in flood:
                greedy.writer.write((head.encode() + body) * 20)
            await until(lambda: relay.handled.total() == 600)
        assert ticker.most <= 4

    run(main())


def test_closing_drops_who_is_connected_even_if_the_relay_owes_a_reply(run: Run) -> None:
    async def main() -> None:
        relay = Relay(lambda request, respond: None)
        server = relay.http.open(V4)
        async with client(server) as idle, client(server) as waiting:
            assert (await idle.http("GET", "/ping"))[0] == 200
            sent = asyncio.ensure_future(waiting.http("POST", "/ng", b"1 " + PING, Content_Type=NG))
            await until(lambda: relay.handled.total() == 1)
            await relay.http.close()
            assert await idle.rest() == b""
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await sent
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())
