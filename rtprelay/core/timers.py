"""When each call has to be looked at again. Lazy: a deadline that moved later is noticed when the earlier one comes."""

from __future__ import annotations

import heapq

from rtprelay.values import CallId


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, CallId]] = []
        self._due: dict[CallId, float] = {}

    def schedule(self, call_id: CallId, deadline: float) -> None:
        """Look at the call at `deadline`, unless something earlier is set already."""
        if deadline < self._due.get(call_id, float("inf")):
            self._due[call_id] = deadline
            heapq.heappush(self._heap, (deadline, call_id))

    def forget(self, call_id: CallId) -> None:
        self._due.pop(call_id, None)

    def next_deadline(self) -> float | None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[CallId]:
        """The calls whose deadline has come; each has to be scheduled anew or forgotten."""
        due = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, call_id = heapq.heappop(self._heap)
            del self._due[call_id]
            due.append(call_id)
        return due
