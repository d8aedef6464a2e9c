"""Retransmissions: a request seen before is answered as before and not carried out again.

A proxy sends a request again, with the same cookie, when no reply came in time; Kamailio five times, a second apart.
A request still at work is swallowed. What is remembered is bounded in time, number and bytes, and the oldest goes
first: 64 MiB hold some six seconds of 14,000 requests a second.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Hashable


class Seen(enum.Enum):
    """What is known of a request, other than its reply."""

    NEW = "new"
    IN_PROGRESS = "in progress"


_OVERHEAD = 300
"""Bytes an entry costs beside its cookie and reply."""


class ReplayCache:
    """Keyed by peer and cookie: two proxies may count alike."""

    def __init__(self, lifetime: float = 30.0, max_entries: int = 1 << 18, max_bytes: int = 64 << 20) -> None:
        self._lifetime = lifetime
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._replies: dict[tuple[Hashable, bytes], bytes | None] = {}
        """None: the request is still at work."""
        # A dict finds its oldest entry by passing over all that were removed before it: 20 us of each request.
        self._oldest_first: deque[tuple[Hashable, bytes]] = deque()
        self._expiries: deque[float] = deque()
        """Of the same; floats are nothing to the cycle collector."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def begin(self, peer: Hashable, cookie: bytes, now: float) -> bytes | Seen:
        """NEW: carry it out, then call `finish`. Otherwise the reply it had, or IN_PROGRESS."""
        while self._expiries and self._expiries[0] <= now:
            self._forget()
        key = (peer, cookie)
        if key in self._replies:
            reply = self._replies[key]
            return Seen.IN_PROGRESS if reply is None else reply
        self._replies[key] = None
        self._oldest_first.append(key)
        self._expiries.append(now + self._lifetime)
        self._grow(_OVERHEAD + len(cookie))
        return Seen.NEW

    def finish(self, peer: Hashable, cookie: bytes, reply: bytes) -> None:
        """Remember the reply; nothing happens where the request is no longer remembered."""
        key = (peer, cookie)
        if self._replies.get(key, b"") is None:
            self._replies[key] = reply
            self._grow(len(reply))

    def _grow(self, size: int) -> None:
        self._bytes += size
        while len(self._replies) > self._max_entries or self._bytes > self._max_bytes:
            self._forget()

    def _forget(self) -> None:
        self._expiries.popleft()
        peer, cookie = self._oldest_first.popleft()
        self._bytes -= _OVERHEAD + len(cookie) + len(self._replies.pop((peer, cookie)) or b"")
