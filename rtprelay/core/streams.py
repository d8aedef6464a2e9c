"""Which medium of a bundle a stream is of, where the payload type does not tell (RFC 9143 section 9.2).

The SDP may say so by SSRC; otherwise the stream does, by the MID that comes with its first packets, in a header
extension (section 15). The data plane knows streams by SSRC alone, and asks about those it has not been told of: by
then they are known to be the party's, their source has been accepted and they are authentic.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party
from rtprelay.call.media import Media
from rtprelay.core.effects import Notify, Reinject
from rtprelay.core.registry import Registry
from rtprelay.errors import MalformedMessage
from rtprelay.values import Endpoint
from rtprelay.wire.extension import header_elements

LANE_UNKNOWN = "lane"
"""The reason such a packet is handed up for."""
MAX_STREAMS = 16
"""Of one medium: simulcast, retransmission, and some that have ended. The oldest goes first."""


def learn_stream(registry: Registry, local: Endpoint, source: Endpoint, data: bytes) -> None:
    owned = registry.owned(local)
    if owned is None:
        return
    owner, call, carrier = owned
    party, ssrc = call.parties[owner.party], int.from_bytes(data[8:12])
    media = _named_by(data, party, carrier)
    if media is not None and ssrc not in media.ssrcs:
        _note(party, carrier, media, ssrc)
        _tell(registry, call, media, ssrc, local, source, data)


def _named_by(data: bytes, party: Party, carrier: Media) -> Media | None:
    """The section of the bundle whose MID the packet carries, if it knows the payload type."""
    try:
        elements = header_elements(data)
    except MalformedMessage:
        return None
    payload_type = data[1] & 0x7F
    for media in party.medias:
        mid = (media.mid or "").encode("utf-8", "surrogateescape")
        bundled = party.carrier(media) is carrier and not media.rejected
        if bundled and mid and elements.get(media.mid_extension) == mid:
            return media if any(codec.payload_type == payload_type for codec in media.codecs) else None
    return None


def _note(party: Party, carrier: Media, media: Media, ssrc: int) -> None:
    """The latest word counts: a stream is of one section."""
    for other in party.medias:
        if party.carrier(other) is carrier and ssrc in other.ssrcs:
            other.ssrcs = tuple(known for known in other.ssrcs if known != ssrc)
    media.ssrcs = (*media.ssrcs, ssrc)[-MAX_STREAMS:]


def _tell(
    registry: Registry, call: Call, media: Media, ssrc: int, local: Endpoint, source: Endpoint, data: bytes
) -> None:
    fields = {"port": str(local), "mid": media.mid, "ssrc": f"{ssrc:x}"}
    registry.emit(
        *registry.replan(call),
        registry.persist(call),
        Notify("stream learned", call.call_id, fields),
        Reinject(local, source, data),
    )
