"""ng over real TCP connections on loopback.

proxy (127.0.0.1, ::1) ---- cookie SP message cookie SP message ... ----> NgTcp ----> handler
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from rtprelay.listen.acl import Acl
from rtprelay.listen.exchange import Respond
from rtprelay.listen.tcp import MAX_FIRST_LINE, MAX_PENDING
from rtprelay.listen.tokens import Tokens
from rtprelay.signalling import reply
from rtprelay.signalling.command import Request
from rtprelay.values import Endpoint
from tests.unit.listen.rig import PING, PONG, V4, V6, Client, Clock, Relay, Run, Ticker, client, deaf, sip, until
from tests.unit.wire_examples import exchanges

TWO_PINGS = b"abc_1 " + PING + b"abc_2 " + PING
TWO_PONGS = b"abc_1 " + PONG + b"abc_2 " + PONG
TOKEN = "a-token-of-sixteen-or-more"


def numbered(numbers: range, message: bytes = PING) -> bytes:
    return b"".join(b"%d %b" % (number, message) for number in numbers)


# --- what is said ---


@pytest.mark.parametrize("local", [V4, V6], ids=str)
def test_pipelined_requests_are_answered_without_a_delimiter(run: Run, local: object) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.tcp.open(V6 if local is V6 else V4)) as proxy:
            await proxy.ask(TWO_PINGS, TWO_PONGS)
            await proxy.ask(b'abc_3 {"command":"ping"}', b'abc_3 {"result":"pong"}')
            await proxy.ask(
                b"abc_4 " + PING + b'abc_5 {"command":"ping"}', b"abc_4 " + PONG + b'abc_5 {"result":"pong"}'
            )

    run(main())


def test_requests_are_answered_wherever_the_stream_is_cut(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay:
            server = relay.tcp.open(V4)
            for cut in range(1, len(TWO_PINGS)):
                async with client(server) as proxy:
                    await proxy.send(TWO_PINGS[:cut])
                    await asyncio.sleep(0)
                    await proxy.ask(TWO_PINGS[cut:], TWO_PONGS)

    run(main())


def test_what_was_seen_on_the_wire_of_rtpengine_is_understood(run: Run) -> None:
    """Only ping is answered here as it was there; the others show that their ends were found."""
    requests = [asked for asked, _ in exchanges() if asked.split(b" ", 1)[-1][:1] in (b"d", b"{")]

    async def main() -> None:
        def handle(request: Request, respond: Respond) -> None:
            respond(reply.ok(command=request.command.name.value))

        async with Relay(handle) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.send(b"".join(requests) + b"last " + PING)
            answers = await asyncio.wait_for(proxy.reader.readuntil(b"last d7:command4:ping6:result2:oke"), 5)
        for asked in requests:
            assert asked.split(b" ")[0] + b" " in answers

    assert len(requests) > 10
    run(main())


def test_errors_are_those_of_datagrams(run: Run) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.ask(
                b'5323_3 {"command":"foo"}', b'5323_3 {"result":"error","error-reason":"Unrecognized command"}'
            )
            await proxy.ask(b"1 de", b'1 d6:result5:error12:error-reason36:Dictionary contains no key "command"e')
            await proxy.ask(b"2 " + PING, b"2 " + PONG)
        reasons = [reason for _, reason in relay.complaints]
        assert reasons == ["Unrecognized command", 'Dictionary contains no key "command"']

    run(main())


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"abc_7 xx", b"abc_7 "),
        (b"abc_7 i1e", b"abc_7 "),
        (b"x" * 300, b""),
    ],
)
def test_what_is_no_message_is_answered_as_a_datagram_and_ends_the_connection(
    run: Run, sent: bytes, received: bytes
) -> None:
    async def main() -> None:
        async with Relay() as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.send(b"1 " + PING + sent)
            assert await proxy.rest() == b"1 " + PONG + received

    run(main())


def test_a_message_over_the_limit_ends_the_connection_before_it_has_all_come(run: Run) -> None:
    async def main() -> None:
        async with Relay(message=10_000) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.send(b"1 d3:sdp900000:" + b"x" * 20_000)
            assert (await proxy.rest()).startswith(b"1 d6:result5:error")
            assert relay.handled.total() == 0

    run(main())


# --- when it is answered ---


def test_replies_leave_in_the_order_in_which_they_are_ready(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []

        def handle(request: Request, respond: Respond) -> None:
            late.append(respond)
            if len(late) == 3:
                for ready in (late[2], late[0], late[1]):
                    ready(reply.pong())

        async with Relay(handle) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.ask(numbered(range(1, 4)), b"3 %b1 %b2 %b" % (PONG, PONG, PONG))

    run(main())


def test_a_repeated_cookie_gets_the_reply_it_had_on_its_own_connection_only(run: Run) -> None:
    async def main() -> None:
        def handle(request: Request, respond: Respond) -> None:
            respond(reply.ok(number=relay.handled.total()))

        relay = Relay(handle)
        async with relay:
            server = relay.tcp.open(V4)
            async with client(server) as one, client(server) as other:
                await one.ask(b"1 " + PING, b"1 d6:numberi1e6:result2:oke")
                await one.ask(b"1 " + PING, b"1 d6:numberi1e6:result2:oke")
                await other.ask(b"1 " + PING, b"1 d6:numberi2e6:result2:oke")

    run(main())


def test_a_client_may_half_close_and_still_gets_its_replies(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []
        relay = Relay(lambda request, respond: late.append(respond))
        async with relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.send(TWO_PINGS)
            proxy.writer.write_eof()
            await until(lambda: len(late) == 2)
            for respond in late:
                respond(reply.pong())
            assert await proxy.rest() == TWO_PONGS

    run(main())


def test_a_half_closed_connection_does_not_wait_forever_for_a_reply_that_is_owed(run: Run) -> None:
    async def main() -> None:
        async with Relay(lambda request, respond: None, patience=0.05) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.send(TWO_PINGS)
            proxy.writer.write_eof()
            assert await proxy.rest() == b""
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_handler_that_fails_costs_its_own_request_only(run: Run) -> None:
    async def main() -> None:
        def handle(request: Request, respond: Respond) -> None:
            if request.command.call_id:
                raise KeyError("bug")
            respond(reply.pong())

        async with Relay(handle) as relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.ask(
                b'1 {"command":"query","call-id":"c"}2 ' + PING,
                b'1 {"result":"error","error-reason":"Internal error"}2 ' + PONG,
            )
        assert [type(failure) for failure in relay.failures] == [KeyError]

    run(main())


def test_a_reply_longer_than_a_datagram_comes_whole(run: Run) -> None:
    async def main() -> None:
        relay = Relay(lambda request, respond: respond(reply.ok(sdp="x" * 300_000)))
        async with relay, client(relay.tcp.open(V4)) as proxy:
            await proxy.ask(b"1 " + PING, b"1 d3:sdp300000:" + b"x" * 300_000 + b"6:result2:oke")

    run(main())


# --- who delays whom ---


def test_a_flood_of_pipelined_requests_delays_another_client_by_its_turns_only(run: Run) -> None:
    """Between two turns of the event loop, no more than `turns` of the flood are carried out."""

    async def main() -> None:
        async with Relay(turns=8, rate=0) as relay:
            server = relay.tcp.open(V4)
            async with client(server) as greedy, client(server) as other:
                ticker = Ticker(relay.handled.total)
                for each in (greedy, other):
                    await each.send(numbered(range(2000)))
                await until(lambda: relay.handled.total() == 4000)
        # Beside the turns, each connection's read has carried out its first message.
        assert ticker.most <= 8 + 2

    run(main())


def test_a_client_that_does_not_read_is_not_read_either_and_delays_nobody(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 400_000)
        async with Relay(lambda request, respond: respond(body), rate=0) as relay:
            server = relay.tcp.open(V4)
            with deaf(server) as greedy:
                refused = served = 0
                async with client(server) as other:
                    while refused < 100:
                        try:
                            greedy.send(numbered(range(1000)))
                            refused = 0
                        except BlockingIOError:
                            refused += 1
                        expected = b"%d d3:sdp400000:%b6:result2:oke" % (served, b"x" * 400_000)
                        await other.ask(b"%d " % served + PING, expected)
                        served += 1
                # Of all that it asked for, as many replies as fit into what is kept for it.
                assert relay.handled.total() - served < 4

    run(main())


def test_a_client_that_does_not_read_is_dropped(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 50_000)
        async with Relay(lambda request, respond: respond(body), timeout=0.05) as relay:
            with deaf(relay.tcp.open(V4)) as greedy:
                loop = asyncio.get_running_loop()
                with pytest.raises(OSError, match=r"reset|Broken"):
                    await loop.sock_sendall(greedy, numbered(range(1_000_000)))
                await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_client_that_takes_its_replies_too_slowly_is_dropped(run: Run) -> None:
    async def main() -> None:
        body = reply.ok(sdp="x" * 3_000_000)
        async with Relay(lambda request, respond: respond(body), timeout=0.2) as relay:
            with deaf(relay.tcp.open(V4)) as slow:
                slow.send(b"1 " + PING)
                with pytest.raises(ConnectionResetError):
                    await sip(slow)
                await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_client_whose_requests_the_relay_owes_replies_to_is_not_read_further(run: Run) -> None:
    async def main() -> None:
        late: list[Respond] = []

        def handle(request: Request, respond: Respond) -> None:
            if request.command.call_id:
                respond(reply.pong())
            else:
                late.append(respond)

        async with Relay(handle) as relay:
            server = relay.tcp.open(V4)
            async with client(server) as proxy, client(server) as other:
                await proxy.send(numbered(range(MAX_PENDING + 10)))
                await until(lambda: len(late) == MAX_PENDING)
                for number in range(20):
                    await other.ask(b"%d d7:command5:query7:call-id1:ce" % number, b"%d " % number + PONG)
                assert len(late) == MAX_PENDING
                late[0](reply.pong())
                await until(lambda: len(late) == MAX_PENDING + 1)
                assert await proxy.get(len(b"0 " + PONG)) == b"0 " + PONG

    run(main())


def test_the_rate_of_an_address_holds_back_that_address_only(run: Run) -> None:
    async def main() -> None:
        clock = Clock()
        async with Relay(rate=50, clock=clock) as relay:
            server = relay.tcp.open(V4)
            async with client(server, "127.0.0.1") as greedy, client(server, "127.0.0.2") as other:
                await greedy.send(numbered(range(80)))
                # The connection itself counts as one message.
                assert await greedy.get(len(numbered(range(49), PONG))) == numbered(range(49), PONG)
                for number in range(30):
                    await other.ask(b"%d " % number + PING, b"%d " % number + PONG)
                assert relay.handled["127.0.0.1"] == 49
                clock.now += 10
                assert await greedy.get(len(numbered(range(49, 80), PONG))) == numbered(range(49, 80), PONG)

    run(main())


# --- who is dropped ---


@pytest.mark.parametrize("sent", [b"", b"abc", b"abc_1 d7:comm", b'abc_1 {"com'])
def test_a_client_whose_first_message_does_not_come_is_dropped(run: Run, sent: bytes) -> None:
    async def main() -> None:
        async with Relay(timeout=0.05) as relay, client(relay.tcp.open(V4)) as slow:
            await slow.send(sent)
            assert await slow.rest() == b""

    run(main())


@asynccontextmanager
async def served(server: Endpoint) -> AsyncIterator[Client]:
    """One that has had a reply. On a machine that is busy enough even a first message may not come in time."""
    while True:
        async with client(server) as connection:
            try:
                await connection.ask(b"1 " + PING, b"1 " + PONG)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
            yield connection
            return


def test_a_client_that_lets_a_message_trickle_in_is_dropped(run: Run) -> None:
    """Each byte is in time, the message is not."""

    async def main() -> None:
        async with Relay(timeout=0.5) as relay, served(relay.tcp.open(V4)) as slow:

            async def trickle() -> None:
                for byte in _endless():
                    await slow.send(byte)
                    await asyncio.sleep(0.01)

            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.gather(trickle(), slow.get(1))

    run(main())


def _endless() -> Iterator[bytes]:
    yield b"2 d3:sdp900000:"
    while True:
        yield b"x"


def test_a_client_may_be_silent_between_messages(run: Run) -> None:
    async def main() -> None:
        async with Relay(timeout=0.5) as relay:
            server = relay.tcp.open(V4)
            async with served(server) as quiet:
                # One that says nothing at all is dropped meanwhile: the time has passed.
                async with client(server) as silent:
                    assert await silent.rest() == b""
                await quiet.ask(b"\n2 " + PING, b"2 " + PONG)

    run(main())


def test_a_client_of_no_listed_address_is_not_heard(run: Run) -> None:
    async def main() -> None:
        async with Relay(acl=Acl([ip_network("127.0.0.2/32")])) as relay:
            server = relay.tcp.open(V4)
            async with client(server, "127.0.0.1") as stranger, client(server, "127.0.0.2") as proxy:
                assert await stranger.rest() == b""
                await proxy.ask(b"1 " + PING, b"1 " + PONG)
            assert relay.doorman.turned_away == {"acl": 1}

    run(main())


def test_with_tokens_the_first_line_has_to_show_one(run: Run) -> None:
    async def main() -> None:
        async with Relay(tokens=Tokens((TOKEN,))) as relay:
            server = relay.tcp.open(V4)
            async with client(server) as proxy:
                await proxy.ask(b"Bearer " + TOKEN.encode() + b"\n" + TWO_PINGS, TWO_PONGS)
            for first in (
                TWO_PINGS + b"\n",
                b"Bearer wrong-token-of-any-length\n" + TWO_PINGS,
                b"x" * (MAX_FIRST_LINE + 1),
            ):
                async with client(server) as stranger:
                    await stranger.send(first)
                    assert await stranger.rest() in (b"A line `Bearer TOKEN` is expected first\n", b"")
            assert relay.handled.total() == 2
            assert relay.doorman.turned_away["token"] == 3
            assert all(TOKEN not in reason for _, reason in relay.complaints)

    run(main())


def test_closing_drops_who_is_connected_and_frees_the_port(run: Run) -> None:
    async def main() -> None:
        relay = Relay()
        server = relay.tcp.open(V4)
        async with client(server) as proxy:
            await proxy.ask(b"1 " + PING, b"1 " + PONG)
            await relay.tcp.close()
            assert await proxy.rest() == b""
            with pytest.raises(OSError, match=r"refused|Connect"):
                async with client(server):
                    raise AssertionError("the port is still open")

    run(main())
