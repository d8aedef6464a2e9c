"""Media that is neither RTP nor a data channel: UDPTL (T.38), BFCP. Datagrams are passed on as they are, through here.

The data plane forwards RTP alone and hands these up, so that its part is done here as well: to know which source has
spoken, and that the call is alive. There is nothing in such a packet to judge it by; so, but for the address the SDP
named, only a packet from the host of the SDP or of the signalling is the party's, and the first such one teaches where
it is behind its NAT.
"""

from __future__ import annotations

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core.effects import Notify, SendDatagram
from rtprelay.core.owners import Owner
from rtprelay.core.registry import Registry
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint


def pass_on(
    registry: Registry,
    owner: Owner,
    call: Call,
    media: Media,
    local: Endpoint,
    source: Endpoint,
    data: bytes,
    now: float,
) -> None:
    if owner.rtcp or not _accepted(registry, call, media, local, source):
        return
    registry.touch(call.call_id, now)
    if media.waiting:
        media.waiting = False
        registry.emit(*registry.replan(call), registry.persist(call))
    registry.totals.user.add(1, len(data), 0)
    muted = call.dropped or call.parties[owner.party].blocked
    for subscription in call.subscriptions:
        its = (subscription.source.party, subscription.source.index) == (owner.party, owner.index)
        if not its or muted or subscription.blocked:
            continue
        sink = call.media(subscription.sink)
        if sink is not None and sink.local is not None and sink.destination is not None and not sink.closed:
            registry.emit(SendDatagram(sink.local, sink.destination, data))


def _accepted(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint) -> bool:
    if source == media.remote:
        registry.spoken.add(local)
        if media.source is not None:
            _learned(registry, call, media, local, None)
        return True
    if source == media.source:
        return True
    settled = media.source is not None or local in registry.spoken
    hosts = (media.remote.address if media.remote else None, media.hint)
    if media.learning is EndpointLearning.OFF or source.address not in hosts or (settled and not media.media_handover):
        return False
    _learned(registry, call, media, local, source)
    return True


def _learned(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint | None) -> None:
    media.source = source
    fields = {"port": str(local), "source": str(media.expected)}
    registry.emit(*registry.replan(call), registry.persist(call), Notify("source learned", call.call_id, fields))
