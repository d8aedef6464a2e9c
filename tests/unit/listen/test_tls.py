"""TLS on the control ports, with an authority of our own.

client (certificate of the authority, of another, or none) ---- TLS ----> NgTcp, NgHttp
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from rtprelay.errors import OurFault
from rtprelay.listen.tls import server_context
from rtprelay.listen.tokens import Tokens
from tests.unit.listen.authority import SERVER_NAME, Authority
from tests.unit.listen.rig import PING, PONG, TIMEOUT, V4, V6, Clock, Relay, Run, client, until

TOKEN = "a-token-of-sixteen-or-more"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_side(authority: Authority) -> tuple[Path, Path]:
    return authority.issue(SERVER_NAME)


def test_ng_and_http_are_spoken_over_tls(run: Run, authority: Authority, server_side: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with Relay(tls=server_context(*server_side)) as relay:
            trust = authority.client_context()
            for local in (V4, V6):
                async with client(relay.tcp.open(local), tls=trust) as proxy:
                    await proxy.ask(b"1 " + PING + b"2 " + PING, b"1 " + PONG + b"2 " + PONG)
                async with client(relay.http.open(local), tls=trust) as browser:
                    assert (await browser.http("GET", "/ping"))[2] == b"pong\n"
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_certificate_and_key_may_be_one_file(
    authority: Authority, server_side: tuple[Path, Path], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(server_side[0].read_text() + server_side[1].read_text())
    server_context(both)


async def _is_served(relay: Relay, context: ssl.SSLContext) -> bool:
    """With TLS 1.3 a client learns that its certificate is refused when it reads."""
    try:
        async with client(relay.tcp.open(V4), tls=context) as proxy:
            await proxy.send(b"1 " + PING + b"\n")
            by_tcp = await proxy.get(len(b"1 " + PONG))
        async with client(relay.http.open(V4), tls=context) as browser:
            by_http = await browser.http("GET", "/cli/list")
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        return False
    assert (by_tcp == b"1 " + PONG) == (by_http[0] == 200)
    return by_http[0] == 200


def test_with_an_authority_only_its_clients_are_let_in(
    run: Run, authority: Authority, server_side: tuple[Path, Path], tmp_path: Path
) -> None:
    async def main() -> None:
        stranger = Authority(tmp_path, "stranger").client_context("eve")
        stranger.load_verify_locations(authority.certificate)
        tls = server_context(*server_side, client_ca=authority.certificate)
        async with Relay(tls=tls) as relay:
            assert await _is_served(relay, authority.client_context("proxy"))
            assert not await _is_served(relay, authority.client_context())
            assert not await _is_served(relay, stranger)
            assert relay.handled.total() == 1
            await until(lambda: relay.doorman.turned_away["handshake"] == 2)
            await until(lambda: len(relay.doorman.places) == 0)

    run(main())


def test_a_clients_certificate_stands_for_a_token(
    run: Run, authority: Authority, server_side: tuple[Path, Path]
) -> None:
    async def main() -> None:
        tokens = Tokens((TOKEN,))
        async with Relay(tls=server_context(*server_side, client_ca=authority.certificate), tokens=tokens) as relay:
            assert await _is_served(relay, authority.client_context("proxy"))
        async with Relay(tls=server_context(*server_side), tokens=tokens) as relay:
            assert not await _is_served(relay, authority.client_context("proxy"))

    run(main())


def test_old_versions_of_tls_are_not_spoken(server_side: tuple[Path, Path]) -> None:
    context = server_context(*server_side)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_does_not_come_about_ends_and_gives_its_place_back(
    run: Run, server_side: tuple[Path, Path], sent: bytes
) -> None:
    async def main() -> None:
        async with Relay(tls=server_context(*server_side), timeout=0.1) as relay:
            server = relay.tcp.open(V4)
            async with client(server) as half_open:
                await until(lambda: len(relay.doorman.places) == 1)
                await half_open.send(sent)
                await until(lambda: len(relay.doorman.places) == 0)
                await until(lambda: relay.doorman.turned_away == {"handshake": 1})
        assert relay.failures == []

    run(main())


def test_handshakes_that_do_not_come_about_take_places_like_any_connection(
    run: Run, server_side: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with Relay(tls=server_context(*server_side), connections=1) as relay:
            server = relay.tcp.open(V4)
            async with client(server), client(server) as second:
                assert await second.rest() == b""

    run(main())


def test_handshakes_cost_more_of_the_rate_than_messages(
    run: Run, authority: Authority, server_side: tuple[Path, Path]
) -> None:
    async def main() -> None:
        clock = Clock()
        async with Relay(tls=server_context(*server_side), rate=200, clock=clock) as relay:
            server = relay.tcp.open(V4)
            trust = authority.client_context()
            for _ in range(2):
                async with client(server, tls=trust):
                    pass
            with pytest.raises((ConnectionError, ssl.SSLError)):
                async with client(server, tls=trust):
                    raise AssertionError("a third handshake in a second")
            assert relay.doorman.turned_away["rate"] == 1

    run(main())


def test_a_client_that_ends_in_order_has_its_replies_first(
    run: Run, authority: Authority, server_side: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with Relay(tls=server_context(*server_side)) as relay:
            async with client(relay.tcp.open(V4), tls=authority.client_context()) as proxy:
                await proxy.ask(b"1 " + PING, b"1 " + PONG)
                proxy.writer.close()
                await asyncio.wait_for(proxy.writer.wait_closed(), TIMEOUT)
            await until(lambda: len(relay.doorman.places) == 0)
        assert relay.failures == []

    run(main())


def test_what_is_wrong_with_the_files_is_named_and_not_shown(
    authority: Authority, server_side: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = server_side
    _, other_key = authority.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN NOTHING-----")
    for files, message in (
        ((tmp_path / "missing.pem",), r"missing\.pem or its key: No such file"),
        ((certificate, other_key), "or its key: .*(MISMATCH|mismatch)"),
        ((nonsense,), "nonsense"),
        ((certificate, key, tmp_path / "missing.pem"), r"client authority .*missing\.pem: No such file"),
        ((certificate, key, nonsense), "client authority .*nonsense"),
    ):
        with pytest.raises(OurFault, match=message) as caught:
            server_context(*files)
        assert "BEGIN" not in caught.value.reason


def test_an_encrypted_key_is_refused_instead_of_asked_about_on_the_terminal(
    server_side: tuple[Path, Path], tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(server_side[1].read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(OurFault, match="the key is encrypted"):
        server_context(server_side[0], encrypted)
