"""When a call ends by itself.

Liveness is data-plane time: a call whose packets are forwarded in the kernel is alive although no packet ever came up
here, so the counters are read before a call is ended. All limits are in seconds, 0 switches one off.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from rtprelay.call.call import Call
from rtprelay.core.effects import Effect, ReadFlows
from rtprelay.core.registry import Registry
from rtprelay.core.totals import EndReason
from rtprelay.values import CallId


def deadline(registry: Registry, call: Call) -> tuple[float, EndReason]:
    """When the call is over unless something happens before (CLOCK_MONOTONIC), and what its end would be called."""
    settings, offset = registry.settings, registry.wall_offset
    if call.delete_at is not None:
        return call.delete_at - offset, EndReason.REGULAR
    signalled = call.last_signal - offset
    if not call.answered:
        limits = [(signalled, settings.offer_timeout, EndReason.OFFER_TIMEOUT)]
    else:
        alive = max(signalled, registry.last_packet(call.call_id))
        muted = all(media.held or not media.direction.sends for _, media in call.medias())
        if muted:
            limits = [(alive, settings.silent_timeout, EndReason.SILENT_TIMEOUT)]
        else:
            limits = [(alive, settings.timeout, EndReason.TIMEOUT)]
    limits.append((call.created - offset, settings.final_timeout, EndReason.FINAL_TIMEOUT))
    return min(
        ((start + limit, reason) for start, limit, reason in limits if limit > 0),
        default=(float("inf"), EndReason.TIMEOUT),
    )


def schedule(registry: Registry, call: Call) -> None:
    due, _ = deadline(registry, call)
    if due != float("inf"):
        registry.timers.schedule(call.call_id, due)


def expire(registry: Registry, now: float) -> None:
    """Look at the calls whose time has come."""
    for call_id in registry.timers.pop_due(now):
        registry.emit(ReadFlows(tuple(registry.tables.get(call_id, ()))))
        registry.later(functools.partial(_end_or_wait, registry, call_id, now))


def _end_or_wait(registry: Registry, call_id: CallId, now: float) -> Iterable[Effect]:
    call = registry.calls.get(call_id)
    if call is None:
        return ()
    due, reason = deadline(registry, call)
    if due > now:
        schedule(registry, call)
        return ()
    return registry.end(call, reason, now)
