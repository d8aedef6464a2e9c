"""publish, subscribe request, subscribe answer, unsubscribe: one sender, many receivers.

A publisher sends to us and receives nothing. A subscriber is a party made by its request, with one m-line for each
media it subscribes to, in the order of the sources; it may subscribe to publishers and to the parties of a running
offer/answer call alike. Every subscription gets an SSRC of its own, so that a receiver's stream stays one stream
whatever happens at the source.
"""

from __future__ import annotations

from rtprelay.call.call import Call, MediaKey, Party, Subscription, SubscriptionKind
from rtprelay.call.media import Media
from rtprelay.errors import PeerFault
from rtprelay.negotiate.context import Context, close_ports, open_ports
from rtprelay.negotiate.remote import apply_options, learn_remote, new_media
from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.build import MediaSpec, SessionSpec, build
from rtprelay.sdp.codecs import Codec, choose
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import read
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Tag


def publish(call: Call, tag: Tag, command: Command, context: Context) -> str:
    """Take in the offer of the publisher `tag`; returns our recvonly answer with one codec per media. Raises
    MalformedSdp, PortsExhausted.
    """
    view = read(SessionDescription.parse(command.sdp))
    flags = command.flags
    party = call.party_by_tag(tag) or call.add_party(tag, context.now)
    party.publisher = True
    party.label = flags.set_label or flags.label or party.label
    specs = []
    for index, media_view in enumerate(view.media):
        if index == len(party.medias):
            party.medias.append(new_media(index, media_view, context))
        media = party.medias[index]
        accepted = _accept(media_view.codecs, flags.codec_accept)
        media.rejected = media_view.rejected or not media.rtp or accepted is None
        if media.rejected or accepted is None:
            close_ports(media, context)
            specs.append(_rejected(media, media_view.formats))
            continue
        apply_options(media, flags, context)
        learn_remote(media, media_view, flags, context)
        media.codecs = (accepted,)
        media.direction = Direction.SENDONLY
        media.rtcp_mux = media_view.rtcp_mux and "reject" not in flags.rtcp_mux
        family = media.remote.family if media.remote else None
        open_ports(media, context.interfaces.choose(flags.interface or _first(flags.direction), family), context)
        specs.append(_spec(media, Direction.RECVONLY, flags, context))
    if all(media.rejected for media in party.medias):
        raise PeerFault("Nothing to publish: no media section has a codec that is accepted")
    call.answered = True
    return build(_session(specs, context), tuple(specs))


def subscribe_request(call: Call, sources: list[Party], command: Command, context: Context) -> tuple[Party, str]:
    """Make (or renew) a subscriber to all media of `sources`; returns it with our sendonly offer."""
    flags = command.flags
    tag = command.to_tag or Tag(f"{context.random.getrandbits(64):016x}")
    party = call.party_by_tag(tag)
    if party is None:
        party = call.add_party(tag, context.now)
    elif not party.subscriber:
        raise PeerFault(f"Tag {tag!r} is taken by a party that is no subscriber")
    party.subscriber = True
    party.label = flags.set_label or party.label
    wanted = [
        (MediaKey(source.number, media.index), media)
        for source in sources
        for media in source.medias
        if media.rtp and not media.rejected and media.local is not None
    ]
    if not wanted:
        raise PeerFault("Nothing to subscribe to: the sources have no media")
    had = {s.sink.index: s for s in call.subscriptions if s.sink.party == party.number}
    call.subscriptions = [s for s in call.subscriptions if s.sink.party != party.number]
    for media in party.medias[len(wanted) :]:
        close_ports(media, context)
    del party.medias[len(wanted) :]
    specs = []
    for index, (key, source_media) in enumerate(wanted):
        if index == len(party.medias):
            party.medias.append(_subscriber_media(index, source_media, flags, context))
        media = party.medias[index]
        media.codecs = source_media.codecs
        media.protocol = flags.transport_protocol or source_media.protocol
        interface = flags.interface or _first(flags.direction) or source_media.interface
        family = flags.address_family or (source_media.local.family if source_media.local else None)
        open_ports(media, context.interfaces.choose(interface, family), context)
        media.mux_proposed = bool(flags.rtcp_mux & {"offer", "require"})
        before = had.get(index)
        ssrc = before.ssrc if before and before.source == key else context.random.getrandbits(32)
        call.subscriptions.append(Subscription(key, MediaKey(party.number, index), SubscriptionKind.PUB_SUB, ssrc))
        specs.append(_spec(media, Direction.INACTIVE if flags.inactive else Direction.SENDONLY, flags, context))
    return party, build(_session(specs, context), tuple(specs))


def subscribe_answer(party: Party, command: Command, context: Context) -> None:
    """The subscriber's answer: where it listens. Raises PeerFault where it answers m-lines we have not offered."""
    view = read(SessionDescription.parse(command.sdp))
    if len(view.media) > len(party.medias):
        raise PeerFault("Answer has more media sections than the offer")
    for media in party.medias:
        media_view = view.media[media.index] if media.index < len(view.media) else None
        if media_view is None or media_view.rejected:
            media.rejected = True
            close_ports(media, context)
            continue
        apply_options(media, command.flags, context)
        codecs = media.codecs
        learn_remote(media, media_view, command.flags, context)
        media.codecs = codecs
        media.rtcp_mux = media.mux_proposed and media_view.rtcp_mux


def _accept(offered: tuple[Codec, ...], accept: tuple[str, ...]) -> Codec | None:
    """The first codec both know; `any`, `all` and `full` stand for whatever comes first."""
    return choose(offered, () if {"any", "all", "full"} & set(accept) else accept)


def _subscriber_media(index: int, source: Media, flags: MediaFlags, context: Context) -> Media:
    return Media(
        index=index,
        kind=source.kind,
        protocol=source.protocol,
        learning=flags.endpoint_learning or context.learning,
        tos=context.tos if flags.tos is None else flags.tos,
        direction=Direction.RECVONLY,
    )


def _session(specs: list[MediaSpec], context: Context) -> SessionSpec:
    address = next((s.address for s in specs if s.port), "0.0.0.0")
    return SessionSpec(
        address=address,
        session_id=str(context.random.getrandbits(62)),
        version="1",
        name=f"rtprelay-{context.random.getrandbits(32):08x}",
    )


def _spec(media: Media, direction: Direction, flags: MediaFlags, context: Context) -> MediaSpec:
    assert media.local is not None
    muxed = media.rtcp_mux or media.mux_proposed
    rtcp = media.local if muxed else media.local_rtcp
    return MediaSpec(
        kind=media.kind,
        port=media.local.port,
        protocol=media.protocol,
        address=flags.media_address or context.interfaces.advertised(media.local),
        codecs=media.codecs,
        direction=direction,
        rtcp_port=rtcp.port if rtcp and not flags.no_rtcp_attribute else None,
        rtcp_mux=muxed,
        attributes=(f"mid:{media.mid}",) if media.mid is not None else (),
    )


def _rejected(media: Media, formats: tuple[str, ...]) -> MediaSpec:
    return MediaSpec(kind=media.kind, port=0, protocol=media.protocol, address="0.0.0.0", formats=formats)


def _first(names: tuple[str, ...]) -> str | None:
    return names[0] if names else None
