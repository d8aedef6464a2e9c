"""Signalling load: full calls (offer, answer, delete) many at once, over one socket."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections import Counter

import msgspec

from bench.bencode import encode
from bench.ng import PORT, answer, delete, offer
from bench.topology import RECEIVER, SENDER

_COMMANDS = ("offer", "answer", "delete")
_PLACE = "call-000000000000@example"
"""Stands for the call-id while the requests are written down; every call-id has its length, as bencode needs."""


class LoadResult(msgspec.Struct, frozen=True):
    replies: int
    seconds: float
    refused: dict[str, int]
    """Replies other than `ok`, by text."""
    unanswered: int
    latencies: dict[str, list[float]]
    """Seconds, by command."""
    client_cpu: float
    """Share of one core the client itself used: near 1, it is the client that was measured."""

    @property
    def per_second(self) -> float:
        return self.replies / self.seconds


class Load:
    """Calls run side by side, each waiting for its reply before the next command, as a proxy's transaction does."""

    def __init__(self, sock: socket.socket, outstanding: int) -> None:
        sock.connect(("127.0.0.1", PORT))
        sock.setblocking(False)
        self._socket = sock
        self._outstanding = outstanding
        self._serial = itertools.count()
        commands = (offer(_PLACE, SENDER, 10000), answer(_PLACE, RECEIVER, 10000), delete(_PLACE))
        self._templates = [encode(command).split(_PLACE.encode()) for command in commands]

    def run(self, seconds: float) -> LoadResult:
        """Start calls for so long; those begun are finished."""
        waiting: dict[bytes, tuple[bytes, int, float]] = {}
        latencies: dict[str, list[float]] = {name: [] for name in _COMMANDS}
        refused: Counter[str] = Counter()
        started, cpu = time.monotonic(), time.process_time()
        end = started + seconds
        for _ in range(self._outstanding):
            self._next(waiting, b"", 2)
        last = started
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while waiting:
            if not poll.poll(2000):
                break
            for data in self._receive():
                last = time.monotonic()
                cookie, _, body = data.partition(b" ")
                found = waiting.pop(cookie, None)
                if found is None:
                    continue
                call_id, step, sent = found
                latencies[_COMMANDS[step]].append(last - sent)
                if b"6:result2:ok" not in body:
                    refused[body.decode(errors="replace")[:200]] += 1
                    step = 2  # the proxy gives this call up
                if step < 2 or last < end:
                    self._next(waiting, call_id, step)
        replies = sum(len(each) for each in latencies.values())
        return LoadResult(
            replies,
            last - started,
            dict(refused),
            len(waiting),
            latencies,
            (time.process_time() - cpu) / max(1e-9, time.monotonic() - started),
        )

    def _next(self, waiting: dict[bytes, tuple[bytes, int, float]], call_id: bytes, step: int) -> None:
        """Send the command after `step` of this call, or the first of a new one."""
        serial = next(self._serial)
        if step == 2:
            call_id = b"call-%012d@example" % serial
        step = (step + 1) % 3
        cookie = b"%d_%d" % (serial, step)
        waiting[cookie] = (call_id, step, time.monotonic())
        self._socket.send(cookie + b" " + call_id.join(self._templates[step]))

    def _receive(self) -> list[bytes]:
        found: list[bytes] = []
        try:
            while len(found) < self._outstanding:
                found.append(self._socket.recv(65536))
        except BlockingIOError:
            pass
        return found
