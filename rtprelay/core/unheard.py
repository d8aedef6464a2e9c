"""Nobody is flooded through this relay: a party that was never heard gets only so much.

An SDP can name anybody's address, and what is sent to the relay then goes there under the relay's name. ICE asks first,
and goes on asking (RFC 7675). Without it a party is known to be where its SDP says once a packet of its has been
accepted, RTCP included. Until then a flow that brings in more than `unheard-bandwidth` does not reach it; the limit is
far above what a silent listener gets. What a party has said from one address counts for no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.plan.flow import FlowReport
from rtprelay.values import Endpoint

if TYPE_CHECKING:
    from rtprelay.core.registry import Registry

SHORTEST = 0.1
"""Seconds over which a rate is taken, at least."""


class _Seen(msgspec.Struct):
    """A port's counters at its last look."""

    when: float
    packets: int
    bytes: int


class Unheard:
    def __init__(self) -> None:
        self._seen: dict[Endpoint, _Seen] = {}
        self._heard: dict[Endpoint, Endpoint | None] = {}
        """By the port a party sends to: where it was expected when it was last heard."""

    def forget(self, locals_: Iterable[Endpoint]) -> None:
        for local in locals_:
            self._seen.pop(local, None)
            self._heard.pop(local, None)

    def look(self, registry: Registry, report: FlowReport, now: float) -> None:
        """A flow has counted: its party may have been heard, or have sent too much to one who was not."""
        owned = registry.owned(report.local)
        if owned is None:
            return
        _, call, media = owned
        seen = self._seen.get(report.local)
        if report.packets > (seen.packets if seen is not None else 0):
            self._hear(registry, call, media)
        if seen is None or report.bytes < seen.bytes:
            self._seen[report.local] = _Seen(now, report.packets, report.bytes)
            return
        limit, passed = registry.settings.unheard_bandwidth, now - seen.when
        if passed < SHORTEST:
            return
        too_much = 0 < limit < (report.bytes - seen.bytes) / passed
        seen.when, seen.packets, seen.bytes = now, report.packets, report.bytes
        if too_much:
            self._shield(registry, call, report.local)

    def _hear(self, registry: Registry, call: Call, media: Media) -> None:
        if media.local is None:
            return
        self._heard[media.local] = media.expected
        if media.shielded:
            media.shielded = False
            registry.emit(*registry.replan(call), registry.persist(call))
            registry.notify("heard at last", call.call_id, port=str(media.local))

    def _shield(self, registry: Registry, call: Call, local: Endpoint) -> None:
        flow = registry.tables[call.call_id].get(local)
        outputs = (*flow.outputs, *flow.rtcp_outputs) if flow is not None else ()
        owned = filter(None, map(registry.owned, dict.fromkeys(output.source for output in outputs)))
        unheard = [media for _, _, media in owned if media.ice is None and not self._known(media)]
        for media in unheard:
            media.shielded = True
            fields = {"port": str(media.local), "address": str(media.expected)}
            registry.notify("too much for a party never heard", call.call_id, level="warning", **fields)
        if unheard:
            registry.emit(*registry.replan(call), registry.persist(call))

    def _known(self, media: Media) -> bool:
        return media.local is not None and self._heard.get(media.local) == media.expected
