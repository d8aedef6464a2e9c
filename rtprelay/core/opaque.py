"""Media that is neither RTP nor a data channel: UDPTL (T.38), BFCP. Datagrams are passed on as they are, through here.

The data plane forwards RTP alone and hands these up; here it is told which of them go on. There is nothing in such a
packet to judge it by; so, but for the address the SDP named, only a packet from the host of the SDP, of the
signalling or of the media before is the party's, and the first such one teaches where it is behind its NAT.
"""

from __future__ import annotations

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core.effects import Notify, PassOn
from rtprelay.core.owners import Owner
from rtprelay.core.registry import Registry
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint


def pass_on(
    registry: Registry, owner: Owner, call: Call, media: Media, local: Endpoint, source: Endpoint, data: bytes
) -> None:
    if owner.rtcp or not _accepted(registry, call, media, local, source):
        return
    if media.waiting:
        media.waiting = False
        registry.emit(*registry.replan(call), registry.persist(call))
    registry.emit(PassOn(local, source, data))


def _accepted(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint) -> bool:
    if source == media.remote:
        first, media.heard = media.heard != source, source
        if media.source is not None:
            _learned(registry, call, media, local, None)
        elif first:
            registry.emit(registry.persist(call))
        return True
    if source == media.source:
        return True
    hosts = (media.remote.address if media.remote else None, media.hint, media.known_host)
    settled = media.spoken and not media.media_handover
    if media.learning is EndpointLearning.OFF or source.address not in hosts or settled:
        return False
    _learned(registry, call, media, local, source)
    return True


def _learned(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint | None) -> None:
    media.source = source
    fields = {"port": str(local), "source": str(media.expected)}
    registry.emit(*registry.replan(call), registry.persist(call), Notify("source learned", call.call_id, fields))
