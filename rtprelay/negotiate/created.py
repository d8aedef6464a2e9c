"""create, create answer: a party that begins with our offer, not with its own; `connect` joins it to others.

The first time it has one audio section, PCMA and PCMU in plain RTP, unless the options ask for something else; from
then on it is offered what it has.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party
from rtprelay.call.media import Media
from rtprelay.errors import PeerFault
from rtprelay.negotiate import bundle, codecs, tos
from rtprelay.negotiate.context import Context
from rtprelay.negotiate.pubsub import gone, provide, section, session, subscribe_answer
from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.build import MediaSpec
from rtprelay.sdp.codecs import STATIC, Codec, named
from rtprelay.sdp.description import understand
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Tag

_USUAL = (STATIC[8], STATIC[0])
_FIRST_DYNAMIC = 96


def create(call: Call, tag: Tag, command: Command, context: Context) -> str:
    """Our offer to the party `tag`, which is made if there is none. Raises PeerFault, PortsExhausted."""
    flags = command.flags
    party = call.party_by_tag(tag) or call.add_party(tag, context.now)
    if party.publisher or party.subscriber:
        raise PeerFault(f"Tag {tag!r} is taken by a publisher or subscriber")
    party.label = flags.set_label or flags.label or party.label
    if not party.medias:
        party.medias.append(_audio(flags, call, context))
    bundle.requested(party, flags)
    specs = [_offered(party, media, flags, context) for media in party.medias]
    return session(party, specs, context, bundle.proposed_groups(party))


def _audio(flags: MediaFlags, call: Call, context: Context) -> Media:
    wished = flags.transport_protocol
    return Media(
        index=0,
        kind="audio",
        protocol=wished if wished and wished != "accept" else "RTP/AVP",
        codecs=codecs.subscribed(_codecs(flags.codecs_offer) or _USUAL, flags),
        learning=flags.endpoint_learning or context.learning,
        tos=tos.of(call, context),
    )


def _codecs(names: tuple[str, ...]) -> tuple[Codec, ...]:
    found: list[Codec] = []
    for name in names:
        codec = named(name, _FIRST_DYNAMIC + len(found))
        if codec is None:
            raise PeerFault(f"codecs-offer: {name!r} is no codec known by its name alone")
        found.append(codec)
    return tuple(found)


def _offered(party: Party, media: Media, flags: MediaFlags, context: Context) -> MediaSpec:
    if media.rejected or not media.rtp:
        return gone(media)
    tos.mark_alone(media, flags)
    provide(party, media, None, flags, context)
    direction = Direction.INACTIVE if flags.inactive else Direction.SENDRECV
    return section(party, media, direction, flags, context, offering=True)


def create_answer(call: Call, party: Party, command: Command, context: Context) -> None:
    """What the party answers: where it listens, and with what it speaks."""
    subscribe_answer(party, command, context)
    for media, view in zip(party.medias, understand(command.sdp).view.media, strict=False):
        if media.live:
            media.codecs = view.codecs
    call.answered = True
