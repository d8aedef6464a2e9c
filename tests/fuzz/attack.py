"""A running relay under fire at every control port, while a call goes on.

mutated ng/UDP, ng/TCP, HTTP, CLI ----> relay (a program, in userspace, on loopback)
A 127.x.y.z <---- 50 packets/s each way ----> B 127.x.y.z
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from tests.fuzz import corpus
from tests.fuzz.memory import rss_mib
from tests.fuzz.mutation import Mutator
from tests.loopback import HOST

CALL = "the call that goes on"
PING: dict[str, object] = {"command": "ping"}
PONG = {"result": "pong"}
PERIOD = 0.02
WINDOW = 32
"""Datagrams between two answers waited for: what the relay's socket holds without loss."""
KINDS = ("ng", "tcp-ng", "http", "cli")
DESTRUCTIVE = (b"all", b"own", b"set", b"stan", b"term", b"param")
"""Console lines that are meant to end calls or change the relay are tried in-process only."""


class Outcome(NamedTuple):
    inputs: int
    seconds: float
    before: int
    """MiB of the relay, once it has seen a tenth of the inputs."""
    after: int
    sent: int
    lost: int


class Talk:
    """Numbered RTP between two sockets through the relay, until it is told to stop."""

    def __init__(self, sockets: tuple[socket.socket, socket.socket], ports: tuple[int, int]) -> None:
        self._sockets, self._ports = sockets, ports
        self._heard: tuple[set[int], set[int]] = (set(), set())
        self._said = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def end(self) -> tuple[int, int]:
        """How many packets were sent, and how many of them never came."""
        self.__exit__()
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and any(len(heard) < self._said for heard in self._heard):
            self._listen(0.1)
        return 2 * self._said, sum(self._said - len(heard) for heard in self._heard)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            packet = struct.pack("!BBHII", 0x80, 8, self._said & 0xFFFF, self._said * 160, 0x5EED) + self._payload()
            for own, port in zip(self._sockets, self._ports, strict=True):
                own.sendto(packet, (HOST, port))
            self._said += 1
            due = max(due + PERIOD, time.monotonic() - 1.0)
            self._listen(max(0.0, due - time.monotonic()))

    def _payload(self) -> bytes:
        return struct.pack("!I", self._said) + bytes(156)

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(self._sockets, (), (), left)
            for own, heard in zip(self._sockets, self._heard, strict=True):
                if own in ready:
                    heard.add(struct.unpack_from("!I", own.recv(2048), 12)[0])


class Victim:
    """The relay, and ways of sending to it."""

    def __init__(self, process: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
        self.process = process
        self._ports = ports
        self._cookies = count(1)
        self._ng = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ng.connect((HOST, ports["ng"]))

    def ask(self, request: dict[str, object], patience: float = 20.0) -> dict[str, object]:
        cookie = f"attack{next(self._cookies)}"
        self._ng.settimeout(patience)
        self._ng.send(f"{cookie} {json.dumps(request)}".encode())
        while True:
            answered, _, body = self._ng.recv(65536).partition(b" ")
            if answered == cookie.encode():
                reply: dict[str, object] = json.loads(body)
                return reply

    def datagrams(self, inputs: Iterator[bytes]) -> None:
        """All of them taken in: an answer comes after every few."""
        for number, data in enumerate(inputs, 1):
            self._ng.send(data)
            if number % WINDOW == 0:
                assert self.ask(PING) == PONG
            if number % 4096 == 0:
                self.forget_calls()

    def offers(self, inputs: Iterator[bytes]) -> None:
        """Well-formed requests about what is not."""
        self.datagrams(map(self._offer, inputs))

    def _offer(self, data: bytes) -> bytes:
        flags, _, sdp = data.decode("latin-1").partition("\n")
        call = {"call-id": f"fuzz{next(self._cookies) % 1000}", "from-tag": "a", "to-tag": "b"}
        name = "offer" if data[-1:] < b"a" else "answer"
        return (
            f"f{next(self._cookies)} {json.dumps({'command': name, **call, 'rtpp-flags': flags, 'sdp': sdp})}".encode()
        )

    def forget_calls(self) -> None:
        calls = self.ask({"command": "list", "limit": 10_000})["calls"]
        assert isinstance(calls, list)
        assert CALL in calls
        for call in calls:
            if call != CALL:
                self.ask({"command": "delete", "call-id": call, "delete-delay": 0, "flags": ["fast"]})

    def streams(self, kind: str, inputs: Iterator[bytes], each: int) -> None:
        """Connections with so many inputs each, whatever comes of them."""
        while batch := [data for _, data in zip(range(each), inputs, strict=False)]:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((HOST, self._ports[kind]), timeout=5.0) as stream,
            ):
                for data in batch:
                    stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(65536):
                    pass

    def rss(self) -> int:
        assert self.process.poll() is None, f"the relay has ended with {self.process.returncode}"
        return rss_mib(self.process.pid)


def attack(inputs: int, seed: int, scratch: Path) -> Outcome:
    """So many inputs, half of them as datagrams. The relay must go on, the call lose nothing."""
    plan: list[tuple[Callable[[Victim, Iterator[bytes]], None], Mutator, int]] = [
        (Victim.datagrams, Mutator(corpus.FRAMES, corpus.FRAME_WORDS, seed), inputs // 4),
        (Victim.offers, Mutator(corpus.CALLS, (*corpus.FLAG_WORDS, *corpus.SDP_WORDS), seed), inputs // 4),
        (_streams("tcp-ng", 8), Mutator(corpus.FRAMES, corpus.FRAME_WORDS, seed), inputs // 4),
        (_streams("http", 4), Mutator(corpus.HTTP, corpus.HTTP_WORDS, seed), inputs // 8),
        (_streams("cli", 1), Mutator(corpus.CLI, corpus.CLI_WORDS, seed), inputs // 8),
    ]
    with _running(scratch) as victim, _talking(victim) as talk:
        started = time.monotonic()
        for send, mutator, many in plan:
            send(victim, mutator.inputs(many // 10))
        victim.forget_calls()
        before = victim.rss()
        for send, mutator, many in plan:
            send(victim, mutator.inputs(many - many // 10))
        victim.forget_calls()
        seconds = time.monotonic() - started
        sent, lost = talk.end()
        return Outcome(sum(many for _, _, many in plan), seconds, before, victim.rss(), sent, lost)


def _streams(kind: str, each: int) -> Callable[[Victim, Iterator[bytes]], None]:
    return lambda victim, inputs: victim.streams(kind, inputs if kind == "tcp-ng" else _harmless(inputs), each)


def _harmless(inputs: Iterator[bytes]) -> Iterator[bytes]:
    for data in inputs:
        lower = data.lower()
        if not any(word in lower for word in DESTRUCTIVE):
            yield data


@contextlib.contextmanager
def _running(scratch: Path) -> Iterator[Victim]:
    ports = _free_ports()
    command = [sys.executable, "-m", "rtprelay", "--backend=userspace", "--config-file=none", "--foreground"]
    command += ["--log-stderr", "--log-level=3", f"--interface={HOST}", f"--state-dir={scratch / 'state'}"]
    command += ["--control-rate=0", "--control-timeout=2", "--max-sessions=5000", "--port-quarantine=0"]
    command += [
        "--port-min=20000",
        "--port-max=30000",
        *(f"--listen-{kind}={HOST}:{port}" for kind, port in ports.items()),
    ]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    victim = Victim(process, ports)
    try:
        deadline = time.monotonic() + 20.0
        while True:
            with contextlib.suppress(OSError):
                if victim.ask(PING, 0.2) == PONG:
                    break
            assert process.poll() is None, (scratch / "log").read_text()
            assert time.monotonic() < deadline, "it does not answer"
        yield victim
        assert victim.ask(PING) == PONG
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert b"Traceback" not in (scratch / "log").read_bytes(), (scratch / "log").read_text()


@contextlib.contextmanager
def _talking(victim: Victim) -> Iterator[Talk]:
    with contextlib.ExitStack() as stack:
        parties = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in "AB"]
        shown = []
        for party in parties:
            party.bind((HOST, 0))
            connection = f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
            shown.append(f"{connection}m=audio {party.getsockname()[1]} RTP/AVP 8\r\n")
        offer = victim.ask({"command": "offer", "call-id": CALL, "from-tag": "a", "sdp": shown[0]})
        answer = victim.ask({"command": "answer", "call-id": CALL, "from-tag": "a", "to-tag": "b", "sdp": shown[1]})
        facing = [int(str(reply["sdp"]).split("m=audio ")[1].split()[0]) for reply in (answer, offer)]
        yield stack.enter_context(Talk((parties[0], parties[1]), (facing[0], facing[1])))


def _free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        found = {}
        for kind in KINDS:
            kept = socket.SOCK_DGRAM if kind == "ng" else socket.SOCK_STREAM
            probe = stack.enter_context(socket.socket(socket.AF_INET, kept))
            probe.bind((HOST, 0))
            found[kind] = probe.getsockname()[1]
        return found
