"""RTP ends that account exactly: every packet is unique, and what arrived is compared with what was sent, byte by byte.

A `Party` is a socket with a large receive buffer: the kernel keeps what arrives until the test looks, so no reader has
to keep up.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.e2e.harness.polling import until
from tools.netns import Namespace

Address = tuple[str, int]

_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("!BBHII")


def packet(sequence: int, timestamp: int, ssrc: int, payload: bytes, payload_type: int = 0) -> bytes:
    """RFC 3550 section 5.1."""
    return _HEADER.pack(0x80, payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


@dataclass(frozen=True)
class Seen:
    """One received datagram."""

    data: bytes
    source: Address

    @property
    def sequence(self) -> int:
        return int(_HEADER.unpack_from(self.data)[2])

    @property
    def timestamp(self) -> int:
        return int(_HEADER.unpack_from(self.data)[3])

    @property
    def ssrc(self) -> int:
        return int(_HEADER.unpack_from(self.data)[4])

    @property
    def payload(self) -> bytes:
        return self.data[12:]


@dataclass
class Party:
    """One media socket of one user agent."""

    namespace: Namespace
    address: str
    port: int = 0
    ssrc: int = field(default_factory=lambda: struct.unpack("!I", os.urandom(4))[0])
    size: int = 160
    payload_type: int = 0
    sent: list[bytes] = field(default_factory=list)
    received: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.socket = self.namespace.socket(family, socket.SOCK_DGRAM)
        # 8 MiB hold some 2,000 packets even where each takes the 4 KiB page an XDP frame came in.
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self.socket.bind((self.address, self.port))
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])
        self._sequence = int.from_bytes(os.urandom(2), "big")
        self._timestamp = int.from_bytes(os.urandom(4), "big")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next_packet(self) -> bytes:
        """The next 20 ms of this party's stream; the payload is like no other's."""
        self._sequence += 1
        self._timestamp += self.size
        mark = struct.pack("!IQ", self.ssrc, len(self.sent))
        body = mark + bytes((len(self.sent) + index) & 0xFF for index in range(self.size - len(mark)))
        return packet(self._sequence, self._timestamp, self.ssrc, body, self.payload_type)

    def send(self, destination: Address, count: int = 1, spacing: float = 0.001) -> None:
        for _ in range(count):
            data = self.next_packet()
            self.sent.append(data)
            self.socket.sendto(self.sealed(data), destination)
            time.sleep(spacing)

    def sealed(self, data: bytes) -> bytes:
        """The packet as it goes on the wire."""
        return data

    def opened(self, data: bytes) -> bytes:
        """The way back."""
        return data

    def collect(self) -> list[Seen]:
        """Everything received so far."""
        while True:
            try:
                data, source = self.socket.recvfrom(65536)
            except BlockingIOError:
                return self.received
            self.received.append(Seen(self.opened(data), (source[0], source[1])))

    def forget(self) -> None:
        """Start a new account."""
        self.collect()
        self.sent.clear()
        self.received.clear()

    def hears(self, count: int, seconds: float = 5.0) -> None:
        """Wait until `count` packets of this account have arrived."""
        until(lambda: len(self.collect()) >= count, f"{count} packets at {self.address} port {self.port}", seconds)


def exchange(
    a: Party, a_target: Address, b: Party, b_target: Address, count: int = 50, *, symmetric: bool = True
) -> None:
    """Both talk at once, `count` packets each; each hears exactly what the other said.

    `symmetric`: and hears it from the very port it sends to, as endpoints behind NAT need it (RFC 4961).
    """
    for party in (a, b):
        party.forget()
    for _ in range(count):
        a.send(a_target, 1, spacing=0)
        b.send(b_target, 1)
    for listener, speaker, target in ((b, a, b_target), (a, b, a_target)):
        assert_heard(listener, speaker)
        assert not symmetric or {seen.source for seen in listener.received} == {target}


def talk_until_heard(a: Party, a_target: Address, b: Party, b_target: Address, seconds: float = 10.0) -> None:
    """Both talk, 50 packets a second, until each has heard the other's latest: what came before is in or lost."""

    def heard() -> bool:
        a.send(a_target, spacing=0)
        b.send(b_target, spacing=0.02)
        return all(
            any(seen.data == speaker.sent[-1] for seen in listener.collect()[-3:])
            for listener, speaker in ((a, b), (b, a))
        )

    try:
        until(heard, "media both ways", seconds)
    except AssertionError as error:
        counts = [(party.address, len(party.sent), len(party.received)) for party in (a, b)]
        raise AssertionError(f"{error}; (address, sent, heard): {counts}") from None


def assert_heard(listener: Party, speaker: Party, seconds: float = 5.0) -> None:
    """The listener has got exactly the packets the speaker sent: none missing, none twice, none altered, no others."""
    heard: Counter[bytes] = Counter()

    def complete() -> bool:
        heard.clear()
        heard.update(seen.data for seen in listener.collect())
        return sum(heard.values()) >= len(speaker.sent)

    expected = Counter(speaker.sent)
    try:
        until(complete, "all packets", seconds)
    except AssertionError:
        lost = sum((expected - heard).values())
        raise AssertionError(
            f"{listener.address} heard {sum(heard.values())} packets; of {len(speaker.sent)} from {speaker.address} "
            f"{lost} are missing"
        ) from None
    strange = heard - expected
    assert not strange, f"{sum(strange.values())} packets heard that were not sent or came twice: {list(strange)[:2]!r}"
    assert heard == expected, f"{sum((expected - heard).values())} packets lost"


def assert_silence(listener: Party, barrier: Callable[[], object]) -> None:
    """Nothing was heard, and nothing is under way: `barrier` sends something through the same path and waits for it."""
    barrier()
    heard = listener.collect()
    assert not heard, f"{len(heard)} packets heard at {listener.address} port {listener.port}"


class Talk:
    """Keeps many parties talking in the background, every one `rate` times a second, until it is stopped.

    One thread serves all: each round sends one packet of each pair, spread over the round so that no ring has to hold
    them all at once.
    """

    def __init__(self, pairs: Sequence[tuple[Party, Address]], rate: float) -> None:
        self._pairs = list(pairs)
        self._period = 1.0 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="talk", daemon=True)
        self.rounds = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def after(self, rounds: int, seconds: float = 30.0) -> None:
        """Wait until everybody has spoken `rounds` more times."""
        goal = self.rounds + rounds
        until(lambda: self.rounds >= goal or not self._thread.is_alive(), f"{rounds} rounds of talk", seconds)
        assert self._thread.is_alive(), "the talk ended"

    def _run(self) -> None:
        step = self._period / len(self._pairs)
        start = time.monotonic()
        due = 0
        while not self._stop.is_set():
            for party, destination in self._pairs:
                party.send(destination, 1, spacing=0)
                due += 1
                ahead = start + due * step - time.monotonic()
                if ahead > 0.001:
                    time.sleep(ahead)
                elif ahead < -0.05:
                    # Late: go on from now. Catching up would be a burst no telephone sends.
                    start, due = time.monotonic(), 0
            self.rounds += 1
