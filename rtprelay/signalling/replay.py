"""Retransmissions: a request seen before is answered as before and not carried out again.

A proxy sends a request again, with the same cookie, when no reply came in time; Kamailio five times, a second apart.
A request still at work is swallowed. What is remembered is bounded in time, number and bytes, and the oldest goes
first: 64 MiB hold some six seconds of 14,000 requests a second.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Hashable

import msgspec


class Seen(enum.Enum):
    """What is known of a request, other than its reply."""

    NEW = "new"
    IN_PROGRESS = "in progress"


class _Entry(msgspec.Struct, gc=False):
    expires: float
    reply: bytes | None
    size: int


_OVERHEAD = 300
"""Bytes an entry costs beside its cookie and reply."""


class ReplayCache:
    """Keyed by peer and cookie: two proxies may count alike."""

    def __init__(self, lifetime: float = 30.0, max_entries: int = 1 << 18, max_bytes: int = 64 << 20) -> None:
        self._lifetime = lifetime
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        # A dict finds its oldest entry by passing over all that were removed before it: 20 us of each request.
        self._entries: OrderedDict[tuple[Hashable, bytes], _Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def begin(self, peer: Hashable, cookie: bytes, now: float) -> bytes | Seen:
        """NEW: carry it out, then call `finish`. Otherwise the reply it had, or IN_PROGRESS."""
        self._expire(now)
        entry = self._entries.get((peer, cookie))
        if entry is not None:
            return Seen.IN_PROGRESS if entry.reply is None else entry.reply
        size = len(cookie) + _OVERHEAD
        self._entries[peer, cookie] = _Entry(now + self._lifetime, None, size)
        self._bytes += size
        self._shrink()
        return Seen.NEW

    def finish(self, peer: Hashable, cookie: bytes, reply: bytes) -> None:
        """Remember the reply; nothing happens where the request is no longer remembered."""
        entry = self._entries.get((peer, cookie))
        if entry is None or entry.reply is not None:
            return
        entry.reply = reply
        entry.size += len(reply)
        self._bytes += len(reply)
        self._shrink()

    def _expire(self, now: float) -> None:
        while self._entries:
            key = next(iter(self._entries))
            if self._entries[key].expires > now:
                return
            self._forget(key)

    def _shrink(self) -> None:
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: tuple[Hashable, bytes]) -> None:
        self._bytes -= self._entries.pop(key).size
