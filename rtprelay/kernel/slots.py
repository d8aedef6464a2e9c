"""Which places of the kernel's arrays are taken: single slots for flows, blocks of 1 to 256 for outputs.

What a program may still be looking at must not be given out again: everything freed goes through a `Quarantine` first.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from rtprelay.errors import BackendFault

MAX_ORDER = 8
"""Blocks have up to 2**8 places."""


def order_of(size: int) -> int:
    """The smallest order whose block has room for `size`."""
    return max(0, size - 1).bit_length()


class Blocks:
    """A buddy allocator over [0, size): blocks of 2**order places, aligned to their size.

    Halves are put together again only when a larger block is wanted: most takers want what was freed last.
    """

    def __init__(self, size: int, name: str) -> None:
        self._name = name
        self._size = size
        # Last in, first out, and the low ones first: what is in use stays together.
        self._free: list[dict[int, None]] = [{} for _ in range(MAX_ORDER + 1)]
        self._whole = size >> MAX_ORDER << MAX_ORDER
        for start in reversed(range(0, self._whole, 1 << MAX_ORDER)):
            self._free[MAX_ORDER][start] = None
        self._tail = True
        """What lies behind the last whole block is kept back: small blocks are taken first, and these are far out."""
        self.used = 0
        self.reach = 0
        """What lies from here on has never been taken."""

    def take(self, order: int) -> int:
        """A free block. Raises BackendFault where there is none."""
        free = self._free[order]
        if not free:
            self._split(order)
        base = free.popitem()[0]
        self.used += 1 << order
        if base + (1 << order) > self.reach:
            self.reach = base + (1 << order)
        return base

    def _split(self, order: int) -> None:
        """Have a free block of this order. Raises BackendFault where there is no larger one either."""
        source = next((source for source in range(order, MAX_ORDER + 1) if self._free[source]), None)
        if source is None:
            if not (self._merge() or self._open_tail()):
                used = f"{self.used} of {self._size} are in use"
                raise BackendFault(f"no room for {1 << order} more {self._name}: {used}")
            self._split(order)
            return
        base = self._free[source].popitem()[0]
        for half in range(source - 1, order - 1, -1):
            self._free[half][base + (1 << half)] = None
        self._free[order][base] = None

    def claim(self, base: int, order: int) -> bool:
        """Take this very block; False where (part of) it is taken already or it is none."""
        if base >= self._whole:
            self._open_tail()
        for source in range(order, MAX_ORDER + 1):
            whole = base >> source << source
            if whole in self._free[source]:
                break
        else:
            return self._merge() and self.claim(base, order)
        if base >> order << order != base:
            return False
        del self._free[source][whole]
        for half in range(source - 1, order - 1, -1):
            # The half that does not hold `base` stays free.
            self._free[half][(base >> half ^ 1) << half] = None
        self.used += 1 << order
        self.reach = max(self.reach, base + (1 << order))
        return True

    def free(self, base: int, order: int) -> None:
        self.used -= 1 << order
        self._free[order][base] = None

    def _merge(self) -> bool:
        """Put halves together; False: there were none to."""
        merged = False
        for order, free in enumerate(self._free[:MAX_ORDER]):
            for base in [base for base in free if base ^ (1 << order) in free and not base >> order & 1]:
                del free[base], free[base ^ (1 << order)]
                self._free[order + 1][base] = None
                merged = True
        return merged

    def _open_tail(self) -> bool:
        """False: it was open."""
        if not self._tail:
            return False
        self._tail = False
        base = self._whole
        for order in reversed(range(MAX_ORDER)):
            if self._size >> order & 1:
                self._free[order][base] = None
                base += 1 << order
        return True


Deed = Callable[..., None]
AfterGrace = Callable[..., None]
"""Given a deed and its arguments, does it when no program can be looking at what was unlinked before."""


class Quarantine:
    """Deeds that wait until no program can be looking at what they touch any more.

    Those that come between two releases wait together, from the second one on: one command's, under load. A deed should
    know numbers only: what it holds is cold by the time it is let go.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._new: list[tuple[Deed, tuple[Any, ...]]] = []
        self._waiting: deque[tuple[float, list[tuple[Deed, tuple[Any, ...]]]]] = deque()

    def after_grace(self, deed: Deed, *arguments: Any) -> None:
        self._new.append((deed, arguments))

    def release(self, now: float, at_most: int = sys.maxsize) -> None:
        """Do what has waited long enough, at most so much as has come between so many releases."""
        if self._new:
            self._new.reverse()
            self._waiting.append((now + self._grace, self._new))
            self._new = []
        while at_most > 0 and self._waiting and self._waiting[0][0] <= now:
            deeds = self._waiting[0][1]
            while deeds:
                # Off the list first: one that fails is not tried again, and those after it are.
                deed, arguments = deeds.pop()
                deed(*arguments)
            self._waiting.popleft()
            at_most -= 1
