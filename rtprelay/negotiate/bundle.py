"""BUNDLE in offer and answer (RFC 9143): several m-lines of a party on one port, under one ICE and DTLS transport.

Towards whom we offer:
- The offerer's bundle is offered on where the other side is spoken to as the offerer speaks (a browser to a browser).
  `bundle=offer` offers one in any case: the offerer's, or all sections where there is none.
- Until a section is known to be bundled it has a port of its own, as section 7.2 asks for. `bundle=require` has all on
  one port at once; with `strict` they show port 0 and a=bundle-only instead (section 6). A section that shares a port
  in our offer cannot leave the bundle in the answer (section 7.3.2): one that does is rejected.
- What has been agreed on is offered again.

Towards whom we answer: the offerer's bundle is taken where it is offered on, where it was taken before, where it leaves
no choice (a section without candidates of its own cannot be reached but through the bundle), and with any `bundle=` but
`reject`. Otherwise ports of their own are better: on a shared one audio has to be told from video packet by packet.

The first section that is neither rejected nor of port 0 carries the others (the tagged one, section 7.3.1). A bundle
that loses its carrier goes on where it is: port, path and keys pass to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rtprelay.call.call import Party
from rtprelay.call.media import Media
from rtprelay.negotiate.context import Context, close_ports
from rtprelay.sdp.codecs import Codec
from rtprelay.sdp.view import MID_URI, SessionView, is_feedback
from rtprelay.signalling.command import MediaFlags

_AT_ONCE = frozenset({"require", "strict"})
_OFFERING = _AT_ONCE | {"offer"}


def offered(offerer: Party, answerer: Party, view: SessionView, flags: MediaFlags) -> None:
    """The offerer's bundle, and what of it the answerer is offered. Comes before ports are opened and closed."""
    if not (flags.bundle or _concerns(view, offerer, answerer)):
        return
    members = _members(view)
    like = all(is_feedback(media.protocol) for media in answerer.medias if media.rtp and not media.rejected)
    if "reject" in flags.bundle:
        proposed: Sequence[int] = ()
    elif flags.bundle & _OFFERING or _bundled(answerer):
        proposed = members or [media.index for media in view.media if media.is_rtp or media.is_channel]
    else:
        proposed = members if like else ()
    _propose(answerer, proposed, flags)
    reasons = bool(proposed or flags.bundle) or _bundled(offerer) or _no_choice(view, members)
    taken = reasons and "reject" not in flags.bundle
    offerer.bundle_wanted = tuple(i for i in members if taken and not offerer.medias[i].rejected)
    _regroup(offerer, offerer.bundle_wanted)


def answered(offerer: Party, answerer: Party, view: SessionView, context: Context) -> None:
    """Comes before the ports of what was rejected are closed."""
    if not _concerns(view, offerer, answerer):
        return
    _accept(answerer, view, context)
    wanted = offerer.bundle_wanted
    _share(offerer, [i for i in wanted if i < len(answerer.medias) and not answerer.medias[i].rejected], context)


def published(party: Party, view: SessionView, flags: MediaFlags, context: Context) -> None:
    """A publisher's bundle, answered at once."""
    members = () if "reject" in flags.bundle else _members(view)
    taken = bool(flags.bundle) or _bundled(party) or _no_choice(view, members)
    party.bundle_wanted = tuple(members) if taken else ()
    _share(party, party.bundle_wanted, context)


def requested(party: Party, flags: MediaFlags) -> None:
    """Our own offer to a subscriber. Sections whose payload types contradict each other cannot share a port (RFC 9143
    section 9.1): the later ones stand alone.
    """
    wanted = "reject" not in flags.bundle and (flags.bundle & _OFFERING or _bundled(party))
    named: dict[int, Codec] = {}
    members = []
    for media in party.medias if wanted else ():
        agrees = all(named.setdefault(codec.payload_type, codec).same(codec) for codec in media.codecs)
        if agrees and not media.rejected:
            members.append(media.index)
    _propose(party, members, flags)


def subscribed(party: Party, view: SessionView, context: Context) -> None:
    """The subscriber's answer. Comes before the ports of what was rejected are closed."""
    _accept(party, view, context)


def proposed_group(party: Party) -> str | None:
    """The value of a=group in an offer to the party; None: it is offered no bundle."""
    return _group([media for media in party.medias if media.index in party.bundle_proposed and not media.rejected])


def agreed_group(party: Party) -> str | None:
    """The value of a=group in an answer to the party; None: nothing is bundled."""
    members = [media for media in party.medias if media.index in party.bundle_wanted and media.live]
    known = [media for media in members if media.mid is not None]
    return _group(known) if len(known) == 1 or _bundled(party) else None


def mid_extension(party: Party, media: Media) -> tuple[str, ...]:
    """The extmap attribute for an answer to the party, where its sections share a port and payload types: only the MID
    in their packets tells them apart then (section 9.2), unless the offer has named their SSRCs.
    """
    carrier = party.carrier(media)
    together = [other for other in party.medias if party.carrier(other) is carrier and not other.rejected]
    types = [codec.payload_type for other in together for codec in other.codecs]
    masked = any(MID_URI in line for line in media.extmap_masked)
    needed = media.mid_extension and not masked and len(together) > 1 and len(set(types)) < len(types)
    return (f"extmap:{media.mid_extension} {MID_URI}",) if needed else ()


def mid(media: Media) -> str:
    """The name of the section in an offer of ours."""
    return media.mid or str(media.index + 1)


def _group(members: Sequence[Media]) -> str | None:
    """The carrier comes first (section 7.3.1)."""
    ordered = sorted(members, key=lambda media: media.transport is not None)
    return "BUNDLE " + " ".join(map(mid, ordered)) if ordered else None


def _members(view: SessionView) -> list[int]:
    """The sections of the first group in its order, those first that may carry the others."""
    usable = (media for media in view.media if not media.rejected and (media.is_rtp or media.is_channel))
    by_mid = {media.mid: media for media in usable}
    named = [by_mid[name] for name in dict.fromkeys(view.bundles[0] if view.bundles else ()) if name in by_mid]
    return [media.index for media in sorted(named, key=lambda media: media.port == 0)]


def _no_choice(view: SessionView, members: Sequence[int]) -> bool:
    """Some section has no way to it but that of another: no candidates, or the other's port."""
    medias = [view.media[index] for index in members]
    ports = {media.port for media in medias}
    return len(ports) < len(medias) or any(media.port == 0 or not media.attributes("candidate") for media in medias[1:])


def _bundled(party: Party) -> bool:
    return any(media.transport is not None for media in party.medias)


def _concerns(view: SessionView, *parties: Party) -> bool:
    """Whether there is a bundle or has been one: most calls never have any."""
    return bool(view.bundles) or any(
        party.bundle_wanted or party.bundle_proposed or _bundled(party) for party in parties
    )


def _propose(party: Party, members: Sequence[int], flags: MediaFlags) -> None:
    medias = [party.medias[index] for index in members if not party.medias[index].rejected]
    party.bundle_proposed = tuple(media.index for media in medias)
    _regroup(party, party.bundle_proposed)
    if medias and flags.bundle & _AT_ONCE:
        carrier = _carrier(party, medias)
        for media in medias:
            if media is not carrier and media.local is None:
                media.transport = carrier.index


def _accept(party: Party, view: SessionView, context: Context) -> None:
    """An answer to our offer. What had its own port there may stand alone, what had not may not."""
    members = [index for index in _members(view) if index in party.bundle_proposed]
    for media in party.medias:
        robbed = any(other.transport == media.index and other.index in members for other in party.medias)
        if media.index not in members and not media.rejected and (media.transport is not None or robbed):
            context.warn(f"media {media.index}: offered in a bundle only and not bundled, rejected")
            media.rejected = True
    _share(party, members, context)


def _share(party: Party, members: Sequence[int], context: Context) -> None:
    medias = [party.medias[i] for i in members if i < len(party.medias) and not party.medias[i].rejected]
    _regroup(party, [media.index for media in medias])
    if not medias:
        return
    carrier = _carrier(party, medias)
    carrier.rtcp_mux = any(media.rtcp_mux for media in medias)
    for media in medias:
        if media is not carrier:
            close_ports(media, context)
            media.transport = carrier.index


def _carrier(party: Party, medias: Sequence[Media]) -> Media:
    """That of before, if there was one."""
    return next((party.carrier(media) for media in medias if media.transport is not None), medias[0])


def _regroup(party: Party, members: Collection[int]) -> None:
    """Sections that left stand alone again. Where the carrier left, it is succeeded by the first that it carried."""
    for carrier in party.medias:
        riders = [media for media in party.medias if media.transport == carrier.index]
        staying = [media for media in riders if media.index in members]
        for media in riders:
            if media not in staying:
                media.transport = None
        if staying and carrier.index not in members:
            heir, *others = staying
            heir.succeed(carrier)
            for media in others:
                media.transport = heir.index
