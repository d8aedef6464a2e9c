"""The effects that wait to be drained, in order, and the one place where the core's own faults are caught."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from rtprelay.core.effects import Effect, Notify, Reply
from rtprelay.signalling import reply
from rtprelay.values import CallId

Produce = Callable[[], Iterable[Effect]]


class Later(msgspec.Struct, frozen=True, gc=False):
    """Effects that depend on what comes in while the ones before them are carried out."""

    produce: Produce
    call_id: CallId | None
    request_id: int | None
    """The request that is answered by them."""


class EffectQueue:
    def __init__(self) -> None:
        self._waiting: deque[Effect | Later] = deque()

    def emit(self, *effects: Effect) -> None:
        self._waiting.extend(effects)

    def later(self, produce: Produce, call_id: CallId | None = None, request_id: int | None = None) -> None:
        self._waiting.append(Later(produce, call_id, request_id))

    @property
    def idle(self) -> bool:
        """Nothing waits: what happens now is not part of something else."""
        return not self._waiting

    def discard(self) -> None:
        self._waiting.clear()

    def next(self) -> Effect | None:
        while self._waiting:
            head = self._waiting.popleft()
            if not isinstance(head, Later):
                return head
            try:
                effects = list(head.produce())
            except Exception as error:
                effects = list(fault(error, head.call_id, head.request_id))
            self._waiting.extendleft(reversed(effects))
        return None


def fault(error: Exception, call_id: CallId | None, request_id: int | None) -> Iterable[Effect]:
    """What becomes of a fault of ours: it is told, its request gets an answer, and nothing else notices."""
    where = "".join(traceback.format_exception(error, limit=-3))
    yield Notify("internal error", call_id, {"error": repr(error), "where": where}, level="error")
    if request_id is not None:
        yield Reply(request_id, reply.error("Internal error"))
