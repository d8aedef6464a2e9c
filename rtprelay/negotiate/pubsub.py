"""publish, subscribe request, subscribe answer: one sender, many receivers.

A publisher sends to us and receives nothing. A subscriber is a party made by its request, with one m-line for each
media it subscribes to, in the order of the sources; it may subscribe to publishers and to the parties of a running
offer/answer call alike. Every subscription gets an SSRC of its own, so that a receiver's stream stays one stream
whatever happens at the source.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtprelay.call.call import Call, MediaKey, Party, SentSdp, Subscription, SubscriptionKind
from rtprelay.call.interface import MediaInterface
from rtprelay.call.media import Media
from rtprelay.errors import PeerFault
from rtprelay.negotiate import bundle, codecs, ice, keys, mux, tos
from rtprelay.negotiate.context import Context, choose_interface, close_beyond, close_ports, open_ports
from rtprelay.negotiate.remote import apply_options, describe, learn_remote, new_media
from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.build import MediaSpec, SessionSpec, build
from rtprelay.sdp.codecs import Codec, choose
from rtprelay.sdp.description import understand
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Family, Tag


def publish(call: Call, tag: Tag, command: Command, context: Context) -> str:
    """Take in the offer of the publisher `tag`; returns our recvonly answer with one codec per media. Raises
    MalformedSdp, RefusedAddress, PortsExhausted.
    """
    view = understand(command.sdp).view
    flags = command.flags
    party = call.party_by_tag(tag) or call.add_party(tag, context.now)
    party.publisher = True
    party.label = flags.set_label or flags.label or party.label
    for media_view in view.media:
        _publish_media(call, party, media_view, command, context)
    bundle.published(party, view, flags, context)
    close_beyond(party.medias, len(view.media), context)
    if not any(media.live for media in party.medias):
        raise PeerFault("Nothing to publish: no media section has a codec that is accepted")
    call.answered = True
    specs = [_publish_spec(party, party.medias[section.index], section, flags, context) for section in view.media]
    return session(party, specs, context, groups=bundle.agreed_groups(party))


def _publish_media(call: Call, party: Party, view: MediaView, command: Command, context: Context) -> None:
    flags = command.flags
    if view.index == len(party.medias):
        party.medias.append(new_media(view.index, view, context))
        party.medias[-1].tos = tos.of(call, context)
    media = party.medias[view.index]
    describe(media, view)
    media.protocol = view.protocol
    accepted = _accept(view.codecs, flags.codec_accept)
    media.rejected = view.rejected or not media.rtp or not media.relayed or accepted is None
    if media.rejected or accepted is None:
        close_ports(media, context)
        return
    apply_options(media, flags)
    tos.mark_alone(media, flags)
    learn_remote(media, view, command, context)
    media.codecs = (accepted,)
    media.direction = Direction.of(sends=media.direction.sends, receives=False)
    media.rtcp_mux = view.rtcp_mux and "reject" not in flags.rtcp_mux
    open_ports(media, _interface(media, flags, media.interface, context), context)
    ice.taken(media, view, flags, context)
    if not keys.published(media, view, flags, context):
        context.warn(f"media {media.index}: no SRTP key in common, rejected")
        media.rejected = True
        close_ports(media, context)


def _publish_spec(party: Party, media: Media, view: MediaView, flags: MediaFlags, context: Context) -> MediaSpec:
    if media.rejected:
        formats = view.formats or ("0",)
        return MediaSpec(kind=media.kind, port=0, protocol=media.protocol, address="0.0.0.0", formats=formats)
    direction = Direction.of(sends=False, receives=media.direction.sends)
    return section(party, media, direction, flags, context, offering=False)


def subscribe_request(call: Call, sources: Sequence[Party], command: Command, context: Context) -> tuple[Party, str]:
    """Make (or renew) a subscriber to all media of `sources`; returns it with our sendonly offer. Raises PeerFault,
    PortsExhausted.
    """
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
        if media.rtp and media.live
    ]
    if not wanted:
        raise PeerFault("Nothing to subscribe to: the sources have no media")
    had = {s.sink.index: s for s in call.subscriptions if s.sink.party == party.number}
    call.subscriptions = [s for s in call.subscriptions if s.sink.party != party.number]
    for index, (key, source) in enumerate(wanted):
        _subscriber_media(call, party, index, source, codecs.sent(call, key, source), flags, context)
    for media in party.medias[len(wanted) :]:
        media.rejected = True
    bundle.requested(party, flags)
    together = _together(call, party, wanted)
    specs = []
    for index, (key, source) in enumerate(wanted):
        media, before = party.medias[index], had.get(index)
        known = before.ssrc if before and before.source == key else None
        ssrc = None if index in together else context.random.getrandbits(32) if known is None else known
        call.subscriptions.append(Subscription(key, MediaKey(party.number, index), SubscriptionKind.PUB_SUB, ssrc))
        provide(party, media, source, flags, context)
        direction = Direction.INACTIVE if flags.inactive else Direction.SENDONLY
        specs.append(section(party, media, direction, flags, context, ssrc=ssrc, offering=True))
    # An m-line that is no more keeps its place in a renewed offer (RFC 3264 section 8).
    close_beyond(party.medias, len(wanted), context)
    specs += [gone(media) for media in party.medias[len(wanted) :]]
    return party, session(party, specs, context, groups=bundle.proposed_groups(party))


def _together(call: Call, party: Party, wanted: Sequence[tuple[MediaKey, Media]]) -> set[int]:
    """Sections that go from one port to one port, as they came: from bundle to bundle, streams keep their SSRCs. On
    others they are ours, so that a receiver's stream stays one stream whatever happens at the source.
    """
    ports = [(key.party, call.parties[key.party].carrier(source).index) for key, source in wanted]
    proposed = {index for group in party.bundles_proposed for index in group}
    bundled = [ports[index] for index in proposed]
    return {index for index in proposed if bundled.count(ports[index]) > 1}


def _subscriber_media(
    call: Call, party: Party, index: int, source: Media, heard: tuple[Codec, ...], flags: MediaFlags, context: Context
) -> None:
    if index == len(party.medias):
        party.medias.append(
            Media(
                index=index,
                kind=source.kind,
                protocol=source.protocol,
                learning=flags.endpoint_learning or context.learning,
                tos=tos.of(call, context),
                direction=Direction.RECVONLY,
            )
        )
    media = party.medias[index]
    media.rejected = False
    media.kind = source.kind
    media.codecs = codecs.subscribed(heard, flags)
    wished = flags.transport_protocol
    media.protocol = wished if wished and wished != "accept" else source.protocol
    tos.mark_alone(media, flags)


def provide(party: Party, media: Media, source: Media | None, flags: MediaFlags, context: Context) -> None:
    """Port, keys and path, and a name where it needs one. `source` is what the party will hear, if that is known."""
    if media.transport is None:
        usual = media.interface or (source.interface if source else "")
        open_ports(media, _interface(media, flags, usual, context, source), context)
    bundled = bundle.proposes(party, media)
    if bundled or flags.generate_mid:
        media.mid = bundle.mid(media)
    media.mux_proposed = media.rtcp_mux or bundled or bool(flags.rtcp_mux & mux.OFFERING)
    keys.proposed(media, flags, context)
    ice.proposed(media, flags, context)


def subscribe_answer(party: Party, command: Command, context: Context) -> None:
    """The subscriber's answer: where it listens. Raises PeerFault where it answers m-lines we have not offered."""
    view = understand(command.sdp).view
    if len(view.media) > len(party.medias):
        raise PeerFault("Answer has more media sections than the offer")
    for media in party.medias:
        media_view = view.media[media.index] if media.index < len(view.media) else None
        if media_view is None or media_view.rejected:
            media.rejected = True
            continue
        if not media.live:
            continue  # it accepts what was not offered any more
        apply_options(media, command.flags)
        tos.mark_alone(media, command.flags)
        shown = media.codecs
        learn_remote(media, media_view, command, context)
        media.codecs = shown
        media.rtcp_mux = media.mux_proposed and media_view.rtcp_mux
        ice.agreed(media, media_view, context)
        if not keys.subscribed(media, media_view, context):
            context.warn(f"media {media.index}: no SRTP key agreed, rejected")
            media.rejected = True
    bundle.subscribed(party, view, context)
    for media in party.medias:
        if media.rejected:
            close_ports(media, context)


def _accept(offered: tuple[Codec, ...], accept: tuple[str, ...]) -> Codec | None:
    """The first codec both know; `any`, `all` and `full` stand for whatever comes first."""
    return choose(offered, () if {"any", "all", "full"} & set(accept) else accept)


def _interface(
    media: Media, flags: MediaFlags, usual: str, context: Context, source: Media | None = None
) -> MediaInterface:
    named = flags.interface or (flags.direction[0] if flags.direction else None)
    family = flags.address_family or _family(media, source)
    return choose_interface(named, flags.outbound_peer, family, media.interface or usual, context)


def _family(media: Media, source: Media | None) -> Family | None:
    """That of the party's own address, else of the port it has, else of the source's port."""
    known = media.remote or media.local or (source.local if source else None)
    return known.family if known else None


def session(party: Party, specs: list[MediaSpec], context: Context, groups: Sequence[str]) -> str:
    """Ours from the first line to the last; within one session the version grows (RFC 3264 section 8)."""
    if party.sent is None:
        session_id = str(context.random.getrandbits(62))
        party.sent = SentSdp("-", session_id, f"rtprelay-{context.random.getrandbits(32):08x}", version=0)
    party.sent.version += 1
    spec = SessionSpec(
        address=next((spec.address for spec in specs if spec.port), "0.0.0.0"),
        session_id=party.sent.session_id,
        version=str(party.sent.version),
        name=party.sent.session_name,
        attributes=(*ice.session_attributes(party), *(f"group:{group}" for group in groups)),
    )
    return build(spec, tuple(specs))


def section(
    party: Party,
    media: Media,
    direction: Direction,
    flags: MediaFlags,
    context: Context,
    *,
    offering: bool,
    ssrc: int | None = None,
) -> MediaSpec:
    carrier = party.carrier(media)
    assert carrier.local is not None
    bundled = offering and bundle.proposes(party, media)
    bundle_only = bundled and carrier is not media and "strict" in flags.bundle
    named = bundled and ssrc is not None
    muxed = carrier.rtcp_mux or carrier.mux_proposed
    rtcp = carrier.local if carrier.rtcp_mux or (muxed and "require" in flags.rtcp_mux) else carrier.local_rtcp
    return MediaSpec(
        kind=media.kind,
        port=carrier.local.port,
        bundle_only=bundle_only,
        protocol=media.protocol,
        address=flags.media_address or context.interfaces.advertised(carrier.local),
        codecs=media.codecs,
        direction=direction,
        rtcp_port=rtcp.port if rtcp and not flags.no_rtcp_attribute and not bundle_only else None,
        rtcp_full=flags.full_rtcp_attribute,
        rtcp_mux=muxed,
        attributes=(
            *((f"mid:{media.mid}",) if media.mid is not None else ()),
            # By which the receiver of a bundle tells streams apart that have one payload type (RFC 9143 section 9.2).
            *((f"ssrc:{ssrc} cname:{context.instance}",) if named else ()),
            *(() if offering else bundle.mid_extension(party, media)),
        ),
        append=(
            *keys.attributes(carrier, flags, context, offering=offering),
            *ice.attributes(carrier, flags, context, with_candidates=carrier is media),
        ),
    )


def gone(media: Media) -> MediaSpec:
    formats = tuple(str(codec.payload_type) for codec in media.codecs) or ("0",)
    return MediaSpec(kind=media.kind, port=0, protocol=media.protocol, address="0.0.0.0", formats=formats)
