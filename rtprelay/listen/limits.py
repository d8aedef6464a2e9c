"""What stream clients may take of a relay: connections, size, time, rate, and turns at the event loop.

Nobody's limit is another one's: a client that is slow, silent, greedy or gone costs a connection and its buffers, for
a bounded time, and the datagrams that come meanwhile are served between two of its turns.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from rtprelay.wire.bencode import MAX_MESSAGE


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """For each listener, or where it says so for all of them."""

    connections: int = 512
    """Of all listeners together: each is a file descriptor media ports cannot have."""
    connections_per_host: int = 256
    timeout: float = 10.0
    """Seconds for a TLS handshake, a message or request to be complete once begun, a reply to be taken."""
    idle: float = 75.0
    """Seconds an HTTP connection may wait for its next request; the other transports' connections are for keeping."""
    patience: float = 60.0
    """Seconds for the relay to reply."""
    message: int = MAX_MESSAGE
    rate: float = 5000.0
    """Messages per second from one address; 0: no limit."""


TLS_COST = 100
"""What a TLS handshake takes from the rate, in messages: 1 ms of signing against 10 us."""

TURNS = 16
"""Pieces of work of stream clients between two looks at the sockets: about 1 ms."""


_ROUNDING = 1e-9


class Places:
    """Connections there are, by source address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def take(self, host: str) -> bool:
        """False: there is no room."""
        if self._total >= self._limits.connections or self._taken[host] >= self._limits.connections_per_host:
            return False
        self._taken[host] += 1
        self._total += 1
        return True

    def leave(self, host: str) -> None:
        self._total -= 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]


class Rates:
    """Messages per second by source address, a second's worth of them at once.

    The generic cell rate algorithm (ITU-T I.371 annex A): all it keeps of an address is when its next message is due
    at an even pace, and nothing once that is past.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._due: dict[str, float] = {}

    def wait(self, host: str, now: float, messages: int = 1) -> float:
        """0: go ahead, and the messages count. Otherwise the seconds after which to ask again."""
        if not self._interval:
            return 0.0
        due = max(now, self._due.get(host, now))
        early = due - now + messages * self._interval - 1.0
        if early > _ROUNDING and due > now:
            return early
        # Out and in again: the dictionary is in the order in which addresses were last heard of.
        self._due.pop(host, None)
        self._forget(now)
        self._due[host] = due + messages * self._interval
        return 0.0

    def _forget(self, now: float) -> None:
        while self._due:
            host, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[host]


class Rota:
    """Turns for stream clients, first come, first served: `TURNS` pieces of work, then the event loop looks at its
    sockets before the next."""

    def __init__(self, turns: int = TURNS) -> None:
        self._turns = turns
        self._queue: deque[Callable[[], None]] = deque()
        self._serving = False

    def enter(self, work: Callable[[], None]) -> None:
        """Have `work` called when it is its turn."""
        self._queue.append(work)
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    async def turn(self) -> None:
        """Wait for one's turn."""
        future = asyncio.get_running_loop().create_future()
        self.enter(lambda: None if future.done() else future.set_result(None))
        await future

    def _serve(self) -> None:
        try:
            for _ in range(self._turns):
                if not self._queue:
                    break
                self._queue.popleft()()
        finally:
            # Whatever one's work came to, the others' goes on.
            self._serving = bool(self._queue)
            if self._serving:
                asyncio.get_running_loop().call_soon(self._serve)
