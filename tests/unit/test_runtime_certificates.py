"""The DTLS certificate: made once, kept on disk for the successor, renewed in time, never on the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import structlog

from rtprelay.listen.exchange import Service
from rtprelay.listen.udp import NgUdp
from rtprelay.runtime import certificates
from rtprelay.runtime.certificates import RENEW_BEFORE, CertificateKeeper
from rtprelay.security.certificate import VALIDITY, Certificate, KeyType, generate
from rtprelay.store.certificates import FILE
from tests.unit.listen.rig import PING, PONG, V4, pong

NOW = 1_800_000_000.0
LOG = structlog.get_logger()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def start(directory: Path, clock: Clock, key_type: KeyType = KeyType.ECDSA, rsa_bits: int = 2048) -> list[Certificate]:
    return asyncio.run(CertificateKeeper(directory, key_type, rsa_bits, LOG, clock).start())


def test_the_successor_has_the_same_certificate(tmp_path: Path) -> None:
    assert start(tmp_path, Clock()) == start(tmp_path, Clock())


def test_nobody_else_may_read_the_key(tmp_path: Path) -> None:
    start(tmp_path, Clock())
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_an_old_one_is_renewed_at_the_start_and_still_known(tmp_path: Path) -> None:
    clock = Clock()
    (old,) = start(tmp_path, clock)
    clock.now += VALIDITY.total_seconds() - RENEW_BEFORE + 1
    first, second = start(tmp_path, clock)
    assert (first, second != old) == (old, True)


def test_an_expired_one_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    (old,) = start(tmp_path, clock)
    clock.now = old.expires
    assert old not in start(tmp_path, clock)


def test_another_kind_of_key_is_made_at_once(tmp_path: Path) -> None:
    start(tmp_path, Clock())
    assert [c.key_type for c in start(tmp_path, Clock(), KeyType.RSA)] == [KeyType.ECDSA, KeyType.RSA]


def test_so_is_a_key_of_another_size(tmp_path: Path) -> None:
    start(tmp_path, Clock(), KeyType.RSA)
    assert [c.key_bits for c in start(tmp_path, Clock(), KeyType.RSA, 3072)] == [2048, 3072]


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x91\x93"])
def test_a_damaged_file_costs_the_identity_not_the_start(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    assert len(start(tmp_path, Clock())) == 1
    assert start(tmp_path, Clock()) == start(tmp_path, Clock())


def test_a_directory_that_cannot_be_written_costs_the_successor_only(tmp_path: Path) -> None:
    assert len(start(tmp_path / "missing", Clock())) == 1


def test_keys_are_made_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def make(now: float, key_type: KeyType, bits: int) -> Certificate:
        threads.append(threading.get_ident())
        return generate(now, key_type, bits)

    monkeypatch.setattr(certificates, "generate", make)
    start(tmp_path, Clock())
    assert threads
    assert threading.get_ident() not in threads


def test_commands_are_answered_while_a_key_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: it is held until a hundred have been answered."""
    monkeypatch.setattr(certificates, "LOOK_EVERY", 0.0)
    begun, go_on = threading.Event(), threading.Event()

    def make(now: float, key_type: KeyType, bits: int) -> Certificate:
        begun.set()
        assert go_on.wait(30)
        return generate(now, key_type, bits)

    async def live() -> None:
        loop, clock = asyncio.get_running_loop(), Clock()
        keeper = CertificateKeeper(tmp_path, KeyType.RSA, 2048, LOG, clock)
        await keeper.start()
        monkeypatch.setattr(certificates, "generate", make)
        clock.now += VALIDITY.total_seconds() - RENEW_BEFORE + 1
        renewed = asyncio.Event()
        task = asyncio.create_task(keeper.keep(lambda _: renewed.set()))
        udp = NgUdp(Service(handle=pong))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy:
            proxy.setblocking(False)
            server = udp.open(V4)
            proxy.connect((server.address, server.port))
            while not begun.is_set():
                await asyncio.sleep(0)
            for number in range(100):
                await loop.sock_sendall(proxy, b"%d %b" % (number, PING))
                assert await asyncio.wait_for(loop.sock_recv(proxy, 4096), 10) == b"%d %b" % (number, PONG)
        assert not renewed.is_set()
        go_on.set()
        await asyncio.wait_for(renewed.wait(), 10)
        task.cancel()
        udp.close()

    asyncio.run(live())


def test_the_thread_that_makes_a_key_does_not_keep_the_interpreter_to_itself() -> None:
    """OpenSSL takes most of a second for this one. If it did, the first turn would last as long."""
    thread = threading.Thread(target=generate, args=(NOW, KeyType.RSA, 4096))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.0005)
    assert turns > 5


def test_it_is_renewed_while_the_relay_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LOOK_EVERY", 0.0)
    clock = Clock()

    async def live() -> tuple[Certificate, Certificate]:
        keeper = CertificateKeeper(tmp_path, KeyType.ECDSA, 2048, LOG, clock)
        (first,) = await keeper.start()
        renewed: asyncio.Future[Certificate] = asyncio.get_running_loop().create_future()

        def told(new: Iterable[Certificate]) -> None:
            (certificate,) = new
            renewed.set_result(certificate)

        task = asyncio.create_task(keeper.keep(told))
        clock.now += VALIDITY.total_seconds() - RENEW_BEFORE + 1
        second = await asyncio.wait_for(renewed, 10)
        task.cancel()
        return first, second

    first, second = asyncio.run(live())
    assert second != first
    assert start(tmp_path, clock) == [first, second]


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    clock = Clock()
    start(tmp_path, clock)
    before = (tmp_path / FILE).stat().st_ino
    clock.now += VALIDITY.total_seconds() - RENEW_BEFORE + 1
    start(tmp_path, clock)
    assert (tmp_path / FILE).stat().st_ino != before
    assert os.listdir(tmp_path) == [FILE]
