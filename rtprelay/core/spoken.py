"""Whose source is settled belongs to the call, so that whoever takes over knows it before the first packet.

A data plane closes a flow to strangers by itself once the expected source has spoken (`Flow.lock`). What it has heard
may be gone with the process, or with its maps; then a stranger would be judged anew while the party is silent, and
could be learned in its stead (RTP Bleed). So it is written down, once for each address the SDP named and that has
spoken; one that was learned is known to have. With ICE the agent alone decides, there is no lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rtprelay.call.call import Call
from rtprelay.core.effects import ApplyFlows, Effect
from rtprelay.core.registry import Registry
from rtprelay.plan.flow import FlowReport, LockFlow
from rtprelay.values import Endpoint


def note_spoken(registry: Registry, reports: Iterable[FlowReport]) -> None:
    """A record for each call of which something new is known."""
    changed = {}
    for report in reports:
        owned = registry.owned(report.local) if report.spoken else None
        if owned is None:
            continue
        owner, call, media = owned
        if media.ice is not None or (media.spoken_rtcp if owner.rtcp else media.spoken):
            continue
        if owner.rtcp:
            media.heard_rtcp = media.remote_rtcp
        else:
            media.heard = media.remote
        changed[call.call_id] = call
    registry.emit(*map(registry.persist, changed.values()))


def lock_spoken(call: Call, written: Collection[Endpoint]) -> Iterable[Effect]:
    """Of the flows that have been written anew, close those that were closed."""
    medias = [media for _, media in call.medias() if media.ice is None]
    spoken = [media.local for media in medias if media.spoken]
    spoken += [media.local_rtcp for media in medias if media.spoken_rtcp]
    ops = tuple([LockFlow(local) for local in spoken if local is not None and local in written])
    return (ApplyFlows(ops),) if ops else ()
