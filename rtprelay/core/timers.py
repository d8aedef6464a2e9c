"""When each call or transport has to be looked at again. Lazy: a deadline that moved later is noticed when the earlier
one comes, and what was forgotten stays in the heap until its time comes or most of the heap is like it.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")

FEW = 1000
"""A heap this small is not worth clearing."""


class Timers(Generic[K]):
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._pushed = 0
        self._due: dict[K, float] = {}

    def schedule(self, key: K, deadline: float) -> None:
        """Look at it at `deadline`, unless something earlier is set already."""
        if deadline < self._due.get(key, float("inf")):
            self._due[key] = deadline
            self._pushed += 1
            heapq.heappush(self._heap, (deadline, self._pushed, key))

    def due(self, key: K) -> float | None:
        return self._due.get(key)

    def forget(self, key: K) -> None:
        self._due.pop(key, None)
        # Timeouts are hours and calls minutes: the heap would hold sixty dead entries for each live one.
        if len(self._heap) > max(FEW, 2 * len(self._due)):
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            # A sorted list is a heap, and this one nearly is sorted.
            self._heap.sort()

    def next_deadline(self) -> float | None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[K]:
        """Those whose deadline has come; each has to be scheduled anew or forgotten."""
        due = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._due[key]
            due.append(key)
        return due
