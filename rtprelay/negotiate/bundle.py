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

Each group is a bundle by itself; a section is in one at most (section 7.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from rtprelay.call.call import Party
from rtprelay.call.media import Media
from rtprelay.negotiate.context import Context, close_ports
from rtprelay.sdp.codecs import Codec
from rtprelay.sdp.view import MID_URI, SessionView, is_feedback
from rtprelay.signalling.command import MediaFlags

_AT_ONCE = frozenset({"require", "strict"})
_OFFERING = _AT_ONCE | {"offer"}
Groups = Sequence[Sequence[int]]
"""Indices of sections."""


def offered(offerer: Party, answerer: Party, view: SessionView, flags: MediaFlags) -> None:
    """The offerer's bundle, and what of it the answerer is offered. Comes before ports are opened and closed."""
    if not (flags.bundle or _concerns(view, offerer, answerer)):
        return
    groups = _groups(view)
    like = all(is_feedback(media.protocol) for media in answerer.medias if media.rtp and not media.rejected)
    if "reject" in flags.bundle:
        groups, proposed = [], []
    elif flags.bundle & _OFFERING or _bundled(answerer):
        proposed = groups or [[media.index for media in view.media if media.is_rtp or media.is_channel]]
    else:
        proposed = groups if like else []
    _propose(answerer, proposed, flags)
    reasons = bool(proposed or flags.bundle) or _bundled(offerer)
    taken = [group for group in groups if reasons or _no_choice(view, group)]
    offerer.bundles_wanted = _without_rejected(offerer, taken)
    _regroup(offerer, offerer.bundles_wanted)


def answered(offerer: Party, answerer: Party, view: SessionView, context: Context) -> None:
    """Comes before the ports of what was rejected are closed."""
    if not _concerns(view, offerer, answerer):
        return
    _accept(answerer, view, context)
    _share(offerer, _without_rejected(answerer, offerer.bundles_wanted), context)


def published(party: Party, view: SessionView, flags: MediaFlags, context: Context) -> None:
    """A publisher's bundle, answered at once."""
    groups = [] if "reject" in flags.bundle else _groups(view)
    reasons = bool(flags.bundle) or _bundled(party)
    party.bundles_wanted = tuple(tuple(group) for group in groups if reasons or _no_choice(view, group))
    _share(party, party.bundles_wanted, context)


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
    _propose(party, [members], flags)


def subscribed(party: Party, view: SessionView, context: Context) -> None:
    """The subscriber's answer. Comes before the ports of what was rejected are closed."""
    _accept(party, view, context)


def proposes(party: Party, media: Media) -> bool:
    """Whether our offer to the party has the section in a bundle."""
    return any(media.index in group for group in party.bundles_proposed)


def proposed_groups(party: Party) -> tuple[str, ...]:
    """The values of a=group in an offer to the party."""
    groups = _without_rejected(party, party.bundles_proposed)
    return tuple(_group([party.medias[index] for index in group]) for group in groups)


def agreed_groups(party: Party) -> tuple[str, ...]:
    """The values of a=group in an answer to the party: what is bundled, and what stands alone in its group."""
    groups = ([party.medias[index] for index in group] for group in party.bundles_wanted)
    known = ([media for media in group if media.live and media.mid is not None] for group in groups)
    return tuple(
        _group(group) for group in known if len(group) == 1 or any(media.transport is not None for media in group)
    )


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


def _group(members: Sequence[Media]) -> str:
    """The carrier comes first (section 7.3.1)."""
    return "BUNDLE " + " ".join(map(mid, sorted(members, key=lambda media: media.transport is not None)))


def _groups(view: SessionView) -> list[list[int]]:
    """The sections of each group in its order, those first that may carry the others. One that several groups name is
    the first's.
    """
    usable = (media for media in view.media if not media.rejected and (media.is_rtp or media.is_channel))
    by_mid = {media.mid: media for media in usable}
    groups = []
    for bundle in view.bundles:
        named = [by_mid.pop(name) for name in dict.fromkeys(bundle) if name in by_mid]
        groups.append([media.index for media in sorted(named, key=lambda media: media.port == 0)])
    return [group for group in groups if group]


def _without_rejected(party: Party, groups: Groups) -> tuple[tuple[int, ...], ...]:
    """What is left of each, by what `party` has of the sections."""
    medias = party.medias
    left = (tuple(i for i in group if i < len(medias) and not medias[i].rejected) for group in groups)
    return tuple(group for group in left if group)


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
        party.bundles_wanted or party.bundles_proposed or _bundled(party) for party in parties
    )


def _propose(party: Party, groups: Groups, flags: MediaFlags) -> None:
    party.bundles_proposed = _without_rejected(party, groups)
    _regroup(party, party.bundles_proposed)
    for group in party.bundles_proposed if flags.bundle & _AT_ONCE else ():
        medias = [party.medias[index] for index in group]
        carrier = _carrier(party, medias)
        for media in medias:
            if media is not carrier and media.local is None:
                media.transport = carrier.index


def _accept(party: Party, view: SessionView, context: Context) -> None:
    """An answer to our offer. What had its own port there may stand alone, what had not may not."""
    offered = {index: group for group in party.bundles_proposed for index in group}
    groups = [[i for i in group if i in offered and offered[i] is offered.get(group[0])] for group in _groups(view)]
    bundled = {index for group in groups for index in group}
    for media in party.medias:
        robbed = any(other.transport == media.index and other.index in bundled for other in party.medias)
        if media.index not in bundled and not media.rejected and (media.transport is not None or robbed):
            context.warn(f"media {media.index}: offered in a bundle only and not bundled, rejected")
            media.rejected = True
    _share(party, groups, context)


def _share(party: Party, groups: Groups, context: Context) -> None:
    groups = _without_rejected(party, groups)
    _regroup(party, groups)
    for group in groups:
        medias = [party.medias[index] for index in group]
        carrier = _carrier(party, medias)
        carrier.rtcp_mux = any(media.rtcp_mux for media in medias)
        for media in medias:
            if media is not carrier:
                close_ports(media, context)
                media.transport = carrier.index


def _carrier(party: Party, medias: Sequence[Media]) -> Media:
    """That of before, if there was one."""
    return next((party.carrier(media) for media in medias if media.transport is not None), medias[0])


def _regroup(party: Party, groups: Groups) -> None:
    """Sections that left stand alone again. Where the carrier left, it is succeeded by the first that it carried."""
    home = {index: group for group in groups for index in group}
    for carrier in party.medias:
        riders = [media for media in party.medias if media.transport == carrier.index]
        group = home.get(carrier.index) or next((home[media.index] for media in riders if media.index in home), ())
        staying = [media for media in riders if media.index in group]
        for media in riders:
            if media not in staying:
                media.transport = None
        if staying and carrier.index not in group:
            heir, *others = staying
            heir.succeed(carrier)
            for media in others:
                media.transport = heir.index
