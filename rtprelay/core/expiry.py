"""When a call ends by itself.

Liveness is data-plane time: a call whose packets are forwarded in the kernel is alive although no packet ever came up
here, so the counters are read before a call is ended. All limits are in seconds, 0 switches one off.

- Nobody has answered: `offer-timeout`, since the last signalling.
- Media is to be expected: `timeout`, since the last packet (or signalling).
- Everything is on hold, one way or both: `silent-timeout`. A party that holds with `sendonly` may send nothing at all,
  and the other one must not.
- In any case: `final-timeout`, since the call began.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from rtprelay.call.call import Call, SubscriptionKind
from rtprelay.core.effects import Effect, ReadFlows
from rtprelay.core.registry import Registry
from rtprelay.core.totals import EndReason
from rtprelay.values import CallId

NEVER = float("inf")


def deadline(registry: Registry, call: Call) -> tuple[float, EndReason]:
    """When the call is over unless something happens before (CLOCK_MONOTONIC), and what its end would be called."""
    settings, offset = registry.settings, registry.wall_offset
    if call.delete_at is not None:
        return call.delete_at - offset, EndReason.REGULAR
    since = call.last_signal - offset
    if not call.answered:
        limit, reason = settings.offer_timeout, EndReason.OFFER_TIMEOUT
    else:
        since = max(since, registry.last_packet(call.call_id))
        if _conversing(call):
            limit, reason = settings.timeout, EndReason.TIMEOUT
        else:
            limit, reason = settings.silent_timeout, EndReason.SILENT_TIMEOUT
    due = since + limit if limit > 0 else NEVER
    final = call.created - offset + settings.final_timeout
    return (final, EndReason.FINAL_TIMEOUT) if settings.final_timeout > 0 and final < due else (due, reason)


def _conversing(call: Call) -> bool:
    """Some m-line of a dialogue is live both ways, or some publisher sends."""
    for subscription in call.subscriptions:
        if subscription.kind is SubscriptionKind.OFFER_ANSWER:
            one, other = call.media(subscription.source), call.media(subscription.sink)
            if one is not None and other is not None and one.speaks and other.speaks:
                return True
    return any(media.speaks for party, media in call.medias() if party.publisher)


def schedule(registry: Registry, call: Call) -> None:
    due, _ = deadline(registry, call)
    if due != NEVER:
        registry.timers.schedule(call.call_id, due)


def expire(registry: Registry, now: float) -> None:
    """Look at the calls whose time has come."""
    for call_id in registry.timers.pop_due(now):
        registry.emit(ReadFlows(registry.locals(call_id)))
        registry.queue.later(functools.partial(_end_or_wait, registry, call_id, now), call_id)


def _end_or_wait(registry: Registry, call_id: CallId, now: float) -> Iterable[Effect]:
    call = registry.calls.get(call_id)
    if call is None:
        return ()
    due, reason = deadline(registry, call)
    if due > now:
        schedule(registry, call)
        return ()
    return registry.end(call, reason, now)
