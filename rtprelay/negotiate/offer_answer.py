"""Offer and answer between two parties (RFC 3264), in rtpengine's reading of them.

Rules:
- An offer names the offerer by its from-tag. Who it goes to is known by the to-tag (re-INVITE), or it is a party
  without a tag yet: one per via-branch, else one that is offered to again until it answers. Both sides get their ports
  at once, so that early media can flow.
- The first answer gives the offered-to party its tag. An answer under another to-tag is a fork: that party takes over
  the ports that the offer named, because every branch was sent the same SDP. Whoever answered last is in the dialogue.
- Each m-line of one party feeds the m-line of the other in the same place. Port 0 on either side ends it on both (RFC
  3264 section 6).
- A local port stays the party's for as long as the m-line lives, unless `no-port-latching` asks for a new one when the
  party moved.
"""

from __future__ import annotations

import msgspec

from rtprelay.call.call import Call, Party
from rtprelay.call.media import Media
from rtprelay.errors import PeerFault, UnknownCall
from rtprelay.negotiate import keys
from rtprelay.negotiate.context import Context, close_ports, open_ports
from rtprelay.negotiate.remote import apply_options, describe, learn_remote, new_media
from rtprelay.negotiate.rewrite import rewrite_for
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import MediaView, read
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Family


def offer(call: Call, command: Command, context: Context) -> str:
    """Take in an offer; returns the SDP to pass on to the answerer. Raises MalformedSdp, PortsExhausted,
    RefusedAddress.
    """
    document = SessionDescription.parse(command.sdp)
    view = read(document)
    flags = command.flags
    offerer = call.party_by_tag(command.from_tag) or call.add_party(command.from_tag, context.now)
    answerer = _offered_to(call, offerer, command, context)
    _label(offerer, flags)
    from_name, to_name = _interface_names(flags)
    for index, media_view in enumerate(view.media):
        ours = _media_at(offerer, index, media_view, context)
        theirs = _media_at(answerer, index, media_view, context)
        if flags.transport_protocol is not None and media_view.is_rtp:
            theirs.protocol = flags.transport_protocol
        ours.rejected = theirs.rejected = media_view.rejected
        if not ours.relayed:
            continue
        if ours.rejected:
            close_ports(ours, context)
            close_ports(theirs, context)
            continue
        apply_options(ours, flags, context)
        moved = learn_remote(ours, media_view, flags, context)
        if moved and flags.no_port_latching:
            close_ports(theirs, context)
        family = ours.remote.family if ours.remote else _held_family(media_view)
        open_ports(ours, context.interfaces.choose(from_name or ours.interface or None, family), context)
        open_ports(
            theirs, context.interfaces.choose(to_name or theirs.interface or None, _to_family(flags, family)), context
        )
        keys.offered(ours, theirs, media_view, flags, context)
        ours.mux_offered = media_view.rtcp_mux
        theirs.mux_proposed = (media_view.rtcp_mux and "demux" not in flags.rtcp_mux) or bool(
            flags.rtcp_mux & {"offer", "require"}
        )
    call.connect(offerer, answerer)
    return rewrite_for(document, view, answerer, answerer.medias, flags, context, offering=True)


def answer(call: Call, command: Command, context: Context) -> str:
    """Take in an answer; returns the SDP to pass on to the offerer. Raises as `offer`, and UnknownCall for tags never
    seen.
    """
    document = SessionDescription.parse(command.sdp)
    view = read(document)
    flags = command.flags
    offerer = call.party_by_tag(command.from_tag)
    if offerer is None:
        raise UnknownCall("Unknown from-tag")
    answerer = _answering(call, offerer, command, context)
    _label(answerer, flags)
    if len(view.media) > len(answerer.medias):
        raise PeerFault("Answer has more media sections than the offer")
    for index, theirs in enumerate(answerer.medias):
        ours = offerer.medias[index]
        media_view = view.media[index] if index < len(view.media) else None
        theirs.rejected = ours.rejected = ours.rejected or media_view is None or media_view.rejected
        if not theirs.relayed:
            continue
        if media_view is None or theirs.rejected:
            close_ports(ours, context)
            close_ports(theirs, context)
            continue
        describe(theirs, media_view)
        apply_options(theirs, flags, context)
        learn_remote(theirs, media_view, flags, context)
        if not keys.answered(ours, theirs, media_view, flags, context):
            context.warn(f"media {index}: no SRTP key agreed, rejected")
            ours.rejected = theirs.rejected = True
            close_ports(ours, context)
            close_ports(theirs, context)
            continue
        theirs.rtcp_mux = media_view.rtcp_mux and theirs.mux_proposed
        ours.rtcp_mux = (
            ours.mux_offered
            and "reject" not in flags.rtcp_mux
            and (theirs.rtcp_mux or not theirs.mux_proposed or "accept" in flags.rtcp_mux)
        )
    call.connect(offerer, answerer)
    call.answered = True
    return rewrite_for(document, view, offerer, offerer.medias, flags, context, offering=False)


def _offered_to(call: Call, offerer: Party, command: Command, context: Context) -> Party:
    known = call.party_by_tag(command.to_tag)
    if known is not None and known is not offerer:
        return known
    for party in call.parties.values():
        if party.offered_by != offerer.number:
            continue
        if command.via_branch and party.via_branch == command.via_branch:
            return party
        if not command.via_branch and not party.via_branch and not party.tag:
            return party
    party = call.add_party(command.to_tag, context.now)
    party.offered_by = offerer.number
    party.via_branch = command.via_branch
    return party


def _answering(call: Call, offerer: Party, command: Command, context: Context) -> Party:
    offered = [p for p in call.parties.values() if p.offered_by == offerer.number]
    partner = call.partner(offerer)
    known = call.party_by_tag(command.to_tag)
    if known is not None and known is not offerer:
        if partner is not None and partner is not known and not _has_ports(known):
            _take_over(known, partner)
        return known
    by_branch = [p for p in offered if command.via_branch and p.via_branch == command.via_branch]
    waiting = [p for p in offered if not p.tag]
    for party in (*by_branch, *waiting):
        if not party.tag:
            party.tag = command.to_tag
            return party
    original = by_branch[0] if by_branch else partner
    if original is None:
        raise UnknownCall("Unknown to-tag")
    fork = call.add_party(command.to_tag, context.now)
    fork.offered_by, fork.via_branch = offerer.number, original.via_branch
    fork.medias = [
        msgspec.structs.replace(
            m, remote=None, remote_rtcp=None, source=None, source_rtcp=None, local=None, local_rtcp=None
        )
        for m in original.medias
    ]
    _take_over(fork, original)
    return fork


def _has_ports(party: Party) -> bool:
    return any(m.local is not None for m in party.medias)


def _take_over(to: Party, former: Party) -> None:
    """The local ports the offer named now serve another branch."""
    for mine, old in zip(to.medias, former.medias, strict=False):
        mine.local, mine.local_rtcp, mine.interface = old.local, old.local_rtcp, old.interface
        old.local = old.local_rtcp = None


def _media_at(party: Party, index: int, view: MediaView, context: Context) -> Media:
    if index < len(party.medias):
        describe(party.medias[index], view)
    else:
        party.medias.append(new_media(index, view, context))
    return party.medias[index]


def _interface_names(flags: MediaFlags) -> tuple[str | None, str | None]:
    """Interfaces of the offerer's and of the answerer's side."""
    sides = (*flags.direction, None, None)
    return flags.from_interface or sides[0], flags.to_interface or flags.interface or sides[1]


def _held_family(view: MediaView) -> Family | None:
    return view.endpoint.family if view.endpoint else None


def _to_family(flags: MediaFlags, family: Family | None) -> Family | None:
    return flags.address_family or family


def _label(party: Party, flags: MediaFlags) -> None:
    party.label = flags.set_label or flags.label or party.label
    party.metadata = flags.metadata or party.metadata
