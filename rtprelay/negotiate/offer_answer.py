"""Offer and answer between two parties (RFC 3264), in rtpengine's reading of them.

Rules:
- An offer names the offerer by its from-tag; `branches` says who it goes to. Both sides get their ports at once, so
  that early media can flow. Whoever answered last is in the dialogue.
- Each m-line of one party feeds the m-line of the other in the same place. Port 0 on either side ends it on both (RFC
  3264 section 6).
- A local port stays the party's for as long as the m-line lives, on its interface and in its address family. With
  `no-port-latching` the other side gets a new one when the party has moved. What is left for another port serves until
  the answer: an offer may be refused (RFC 3261 section 14.1).
"""

from __future__ import annotations

from msgspec import structs

from rtprelay.call.call import Call, Echo, Party
from rtprelay.call.interface import MediaInterface
from rtprelay.call.media import Media
from rtprelay.negotiate import bundle, channel, codecs, extmap, hidden, ice, keys, mux, tos
from rtprelay.negotiate.branches import answering, offered_to, offering
from rtprelay.negotiate.context import (
    Context,
    choose_interface,
    close_beyond,
    close_former,
    close_ports,
    leave_ports,
    open_ports,
)
from rtprelay.negotiate.remote import apply_options, describe, learn_remote, new_media
from rtprelay.negotiate.rewrite import LOOP_ATTRIBUTE, rewrite_for
from rtprelay.sdp.description import understand
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Family


def offer(call: Call, command: Command, context: Context) -> str:
    """Take in an offer; returns the SDP to pass on to the answerer. Raises MalformedSdp, PortsExhausted,
    RefusedAddress.
    """
    described = understand(command.sdp)
    flags = command.flags
    if flags.loop_protect and described.view.attribute(LOOP_ATTRIBUTE) == context.instance:
        return command.sdp  # it has been here already
    offerer = offering(call, command, context.now)
    answerer = offered_to(call, offerer, command, context.now)
    _note(call, offerer, flags)
    _echo(offerer, answerer, flags, context)
    described = hidden.filled_in(described, offerer)
    view = described.view
    seen = len(answerer.medias)
    for index, media_view in enumerate(view.media):
        ours, theirs = _sections(offerer, answerer, index, media_view, flags, context)
        theirs.hidden = hidden.hides(answerer, seen, index, media_view, flags)
        removed = (
            theirs.hidden
            or hidden.unwanted(media_view, flags)
            or channel.refused(media_view, flags)
            or codecs.none_left(media_view, flags)
        )
        ours.rejected = theirs.rejected = media_view.rejected or removed
    bundle.offered(offerer, answerer, view, flags)
    for media_view in view.media:
        ours, theirs = offerer.medias[media_view.index], answerer.medias[media_view.index]
        if not ours.relayed or ours.rejected:
            close_ports(ours, context)
            close_ports(theirs, context)
            continue
        running = ours.live and theirs.described
        agreed = (_copy(ours), _copy(theirs)) if running else (None, None)
        apply_options(ours, flags)
        ours.ptime_reply = flags.ptime_reverse
        codecs.offered(ours, media_view, flags)
        direction, held = ours.direction, ours.held
        moved = learn_remote(ours, media_view, command, context)
        if running:
            ours.defer(direction, held)
        if moved and flags.no_port_latching:
            leave_ports(theirs, context, agreed[1])
        facing_us, facing_them = _interfaces(offerer, answerer, media_view, flags, context)
        for media, interface, before in ((ours, facing_us, agreed[0]), (theirs, facing_them, agreed[1])):
            if media.transport is None:
                open_ports(media, interface, context, before)
        keys.offered(ours, theirs, media_view, flags, context)
        ice.offered(ours, theirs, media_view, flags, context)
        extmap.offered(ours, media_view, flags)
        mux.offered(ours, theirs, media_view.rtcp_mux, flags.rtcp_mux)
        if bundle.proposes(answerer, theirs):
            theirs.mux_proposed = True  # RFC 9143 section 9.3: nothing else is possible there
    for party in (offerer, answerer):
        close_beyond(party.medias, len(view.media), context)
    tos.mark(call, flags, context, offering=True)
    call.connect(offerer, answerer)
    return rewrite_for(described, answerer, flags, context, offering=True)


def answer(call: Call, command: Command, context: Context) -> str:
    """Take in an answer; returns the SDP to pass on to the offerer. Raises as `offer`, and UnknownCall for tags never
    seen.
    """
    described = understand(command.sdp)
    flags = command.flags
    offerer, answerer = answering(call, command, context.now)
    _note(call, answerer, flags)
    _echo(answerer, offerer, flags, context)
    described = hidden.filled_in(described, answerer)
    view = described.view
    for ours, theirs in zip(offerer.medias, answerer.medias, strict=False):
        media_view = view.media[theirs.index] if theirs.index < len(view.media) else None
        theirs.rejected = ours.rejected or media_view is None or media_view.rejected
        if not theirs.relayed or theirs.rejected or media_view is None:
            continue
        theirs.mid = media_view.mid
        if flags.transport_protocol == "accept":
            ours.protocol = theirs.protocol = media_view.protocol
        apply_options(theirs, flags)
        ours.settle()
        learn_remote(theirs, media_view, command, context)
        if not keys.answered(ours, theirs, media_view, flags, context):
            context.warn(f"media {theirs.index}: no SRTP key agreed, rejected")
            theirs.rejected = True
            continue
        for media in (ours, theirs):
            if media.local is None and media.transport is None:  # another branch had rejected the section
                open_ports(media, _own_interface(media, context), context)
        ice.agreed(theirs, media_view, context)
        ice.replied(ours, flags, context)
        mux.answered(ours, theirs, media_view.rtcp_mux)
    bundle.answered(offerer, answerer, view, context)
    for ours, theirs in zip(offerer.medias, answerer.medias, strict=False):
        if theirs.rejected or not theirs.relayed:
            close_ports(ours, context)
            close_ports(theirs, context)
        close_former(ours, context)
        close_former(theirs, context)
    tos.mark(call, flags, context, offering=False)
    call.connect(offerer, answerer)
    call.answered = True
    return rewrite_for(described, offerer, flags, context, offering=False)


def _sections(
    offerer: Party, answerer: Party, index: int, view: MediaView, flags: MediaFlags, context: Context
) -> tuple[Media, Media]:
    """The section at `index` on both sides, as the offer describes it."""
    known = index < len(answerer.medias)
    unchanged = index < len(offerer.medias) and offerer.medias[index].protocol == view.protocol
    for party in (offerer, answerer):
        if index < len(party.medias):
            describe(party.medias[index], view)
        else:
            party.medias.append(new_media(index, view, context))
    ours, theirs = offerer.medias[index], answerer.medias[index]
    ours.protocol = view.protocol
    if flags.transport_protocol not in (None, "accept") and view.is_rtp:
        theirs.protocol = flags.transport_protocol or view.protocol
    elif not (known and unchanged):
        theirs.protocol = view.protocol  # otherwise it keeps what was agreed on earlier, translated or not
    return ours, theirs


def _interfaces(
    offerer: Party, answerer: Party, view: MediaView, flags: MediaFlags, context: Context
) -> tuple[MediaInterface, MediaInterface]:
    """The interfaces facing the offerer and the answerer: those named now, else those of before, or of the sections
    above.

    The address family is that of the party; of one that is not known yet, `address-family` or the offerer's.
    """
    ours, theirs = offerer.medias[view.index], answerer.medias[view.index]
    sides = (*flags.direction, None, None)
    from_family = _family(ours) or (view.endpoint.family if view.endpoint else None)
    to_family = flags.address_family or _family(theirs) or from_family
    from_name = flags.from_interface or sides[0]
    to_name = flags.to_interface or flags.interface or sides[1]
    return (
        choose_interface(from_name, flags.inbound_peer, from_family, _present(ours, offerer), context),
        choose_interface(to_name, flags.outbound_peer, to_family, _present(theirs, answerer), context),
    )


def _present(media: Media, party: Party) -> str:
    return media.interface or next((known.interface for known in party.medias if known.interface), "")


def _copy(media: Media) -> Media | None:
    """What can go on at its ports beside others. ICE and DTLS cannot: there is one of each."""
    alone = media.transport is None and media.ice is None and media.dtls is None
    return structs.replace(media) if alone and media.rtp and media.local is not None else None


def _own_interface(media: Media, context: Context) -> MediaInterface:
    return choose_interface(None, None, _family(media), media.interface, context)


def _family(media: Media) -> Family | None:
    known = media.remote or media.local
    return known.family if known else None


def _echo(sender: Party, receiver: Party, flags: MediaFlags, context: Context) -> None:
    """By who has sent the SDP and who will receive it."""
    if flags.media_echo is None:
        return
    for party, words in ((sender, ("backwards", "both")), (receiver, ("forward", "both"))):
        party.echo = Echo.BACK if flags.media_echo in words else Echo.NOWHERE
        party.echo_ssrc = party.echo_ssrc or context.random.getrandbits(32)


def _note(call: Call, party: Party, flags: MediaFlags) -> None:
    """What is said of the party that speaks, and of the call."""
    party.label = flags.set_label or flags.label or party.label
    party.metadata = flags.metadata or party.metadata
    party.dtmf_blocked = party.dtmf_blocked or flags.block_dtmf
    if flags.drop_traffic is not None:
        call.dropped = flags.drop_traffic
