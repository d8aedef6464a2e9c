"""Signalling load: full calls (offer, answer, delete) by many clients at once, as a SIP proxy's workers make it."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import msgspec

from bench.ng import PORT, answer, delete, offer
from bench.topology import RECEIVER, SENDER, Topology
from tools.bencode import encode

_COMMANDS = ("offer", "answer", "delete")
_PLACE = "call-000000000000@example"
"""Stands for the call-id while the requests are written down; every call-id has its length, as bencode needs."""
_PATIENCE = 2.0
"""Seconds without any reply after which the rest is given up."""


class LoadResult(msgspec.Struct, frozen=True):
    seconds: float
    latencies: tuple[float, ...]
    """Seconds, one for each reply."""
    refused: dict[str, int]
    """Replies other than `ok`, by text."""
    unanswered: int
    client_cpu: float
    """Share of one core the clients used: near 1, it is they who were measured."""

    @property
    def replies(self) -> int:
        return len(self.latencies)

    @property
    def per_second(self) -> float:
        return self.replies / self.seconds


class _Client:
    """One worker: a socket, a call, and the command it waits for the reply to."""

    def __init__(self, sock: socket.socket, number: int, templates: Sequence[Sequence[bytes]]) -> None:
        sock.connect(("127.0.0.1", PORT))
        self.socket = sock
        self._templates = templates
        self._number = number
        self._calls = 0
        self._step = -1
        self.cookie = b""
        self.sent = 0.0

    def next_command(self) -> None:
        """The next of this call, or the first of a new one."""
        self._step = (self._step + 1) % len(_COMMANDS)
        if self._step == 0:
            self._calls += 1
        call_id = b"call-%04d%08d@example" % (self._number, self._calls)
        self.cookie = b"%d_%d_%d" % (self._number, self._calls, self._step)
        self.sent = time.monotonic()
        self.socket.send(self.cookie + b" " + call_id.join(self._templates[self._step]))

    def give_up_call(self) -> None:
        self._step = len(_COMMANDS) - 1

    @property
    def between_calls(self) -> bool:
        return self._step == len(_COMMANDS) - 1


class Load:
    """Clients in the relay's namespace, each with a socket of its own and one command outstanding."""

    def __init__(self, topology: Topology, clients: int) -> None:
        commands = (offer(_PLACE, SENDER, 10000), answer(_PLACE, RECEIVER, 10000), delete(_PLACE))
        templates = [encode(command).split(_PLACE.encode()) for command in commands]
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(topology.relay.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(clients)
            ]
            self._clients = {sock.fileno(): _Client(sock, i, templates) for i, sock in enumerate(sockets)}
            self._stack = stack.pop_all()

    def run(self, seconds: float) -> LoadResult:
        """Start calls for so long; those begun are finished."""
        latencies: list[float] = []
        refused: Counter[str] = Counter()
        waiting = dict(self._clients)
        poll = select.poll()
        for number, client in waiting.items():
            poll.register(number, select.POLLIN)
            client.give_up_call()
        started, cpu = time.monotonic(), time.process_time()
        last, end = started, started + seconds
        for client in waiting.values():
            client.next_command()
        while waiting and (ready := poll.poll(_PATIENCE * 1000)):
            for number, _ in ready:
                client = self._clients[number]
                cookie, _, body = client.socket.recv(65536).partition(b" ")
                last = time.monotonic()
                if cookie != client.cookie or number not in waiting:
                    continue
                latencies.append(last - client.sent)
                if b"6:result2:ok" not in body:
                    refused[body.decode(errors="replace")[:200]] += 1
                    client.give_up_call()
                if last < end or not client.between_calls:
                    client.next_command()
                else:
                    del waiting[number]
        used = (time.process_time() - cpu) / max(1e-9, time.monotonic() - started)
        return LoadResult(last - started, tuple(latencies), dict(refused), len(waiting), used)

    def run_paced(self, seconds: float, per_second: float) -> LoadResult:
        """Commands at this rate: whoever is idle sends the next. Where nobody is, because all wait for a reply, latency
        counts from when it was due.
        """
        latencies: list[float] = []
        refused: Counter[str] = Counter()
        idle = deque(self._clients)
        poll = select.poll()
        for number, client in self._clients.items():
            poll.register(number, select.POLLIN)
            client.give_up_call()
        started, cpu, sent = time.monotonic(), time.process_time(), 0
        last = started
        while len(latencies) < sent or sent < seconds * per_second:
            due = started + sent / per_second if sent < seconds * per_second else float("inf")
            while idle and due <= time.monotonic():
                client = self._clients[idle.popleft()]
                client.next_command()
                client.sent = due
                sent += 1
                due = started + sent / per_second if sent < seconds * per_second else float("inf")
            wait = _PATIENCE if not idle or due == float("inf") else max(0.0, due - time.monotonic())
            ready = poll.poll(wait * 1000)
            if not ready and time.monotonic() > last + _PATIENCE:
                break
            for number, _ in ready:
                client = self._clients[number]
                cookie, _, body = client.socket.recv(65536).partition(b" ")
                last = time.monotonic()
                if cookie != client.cookie:
                    continue
                latencies.append(last - client.sent)
                if b"6:result2:ok" not in body:
                    refused[body.decode(errors="replace")[:200]] += 1
                    client.give_up_call()
                idle.append(number)
        used = (time.process_time() - cpu) / max(1e-9, time.monotonic() - started)
        return LoadResult(last - started, tuple(latencies), dict(refused), sent - len(latencies), used)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
