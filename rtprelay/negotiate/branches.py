"""Who an offer goes to, and who an answer comes from (RFC 3261 section 16.7, forking).

- An offer goes to the party its to-tag names (re-INVITE), else to that of its via-branch. Without either it goes to the
  one that was offered to last: a repeated INVITE, or the next gateway after one has failed, gets the same ports.
- An answer comes from the party its to-tag names. A new tag is that of a party which has not answered yet, of the
  answer's own via-branch if it has one. Where all have answered, it is a fork: a party of its own that takes over the
  ports the offer named, because every branch was sent the same SDP.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party
from rtprelay.call.media import Media
from rtprelay.errors import UnknownCall
from rtprelay.negotiate import dtls, ice
from rtprelay.negotiate.context import Context, close_former, close_ports
from rtprelay.signalling.command import Command
from rtprelay.values import Tag


def offering(call: Call, command: Command, now: float) -> Party:
    return _speaker(call, command.from_tag) or call.add_party(command.from_tag, now)


def offered_to(call: Call, offerer: Party, command: Command, now: float) -> Party:
    known = call.party_by_tag(command.to_tag)
    if known is not None and known is not offerer:
        return known
    branch = _branch(call, offerer, command.via_branch)
    if command.to_tag:
        branch = [party for party in branch if not party.tag]
    if branch:
        partner = call.partner(offerer)
        party = partner if partner in branch else branch[-1]
        party.tag = party.tag or command.to_tag
        return party
    party = call.add_party(command.to_tag, now)
    party.offered_by = offerer.number
    party.via_branch = command.via_branch
    return party


def answering(call: Call, command: Command, now: float) -> tuple[Party, Party]:
    """The offerer and the answerer. Raises UnknownCall for tags that no offer was made between."""
    offerer = _speaker(call, command.from_tag)
    if offerer is None:
        raise UnknownCall("Unknown from-tag")
    partner = call.partner(offerer)
    known = call.party_by_tag(command.to_tag)
    if known is not None and known is not offerer:
        if partner is not None and _took_over(partner, known):
            _take_over(known, partner)
        return offerer, known
    branch = _branch(call, offerer, command.via_branch) or _branch(call, offerer, "")
    waiting = [party for party in branch if not party.tag]
    if waiting:
        party = partner if partner in waiting else waiting[0]
        party.tag = command.to_tag
        return offerer, party
    original = partner if partner in branch else branch[0] if branch else partner
    if original is None:
        raise UnknownCall("Unknown to-tag")
    return offerer, _fork(call, original, command.to_tag, now)


def remove(call: Call, party: Party, context: Context) -> None:
    """The party is gone: its ports go back to the branch they were taken over from, its partner to another branch."""
    partner = call.partner(party)
    call.remove_party(party)
    for media in party.medias:
        close_former(media, context)
    sibling = next((p for p in call.parties.values() if _took_over(party, p)), None)
    if sibling is not None:
        _take_over(sibling, party)
    for media in party.medias:
        close_ports(media, context)
    if partner is not None and call.partner(partner) is None:
        others = [p for p in _branch(call, partner, "") if any(media.live for media in p.medias)]
        if others:
            call.connect(partner, others[-1])


def _speaker(call: Call, tag: Tag) -> Party | None:
    """The party with that tag. The empty one, of before RFC 3261, is also that of parties that have not answered."""
    if tag:
        return call.party_by_tag(tag)
    return next((party for party in call.parties.values() if not party.tag and party.offered_by is None), None)


def _branch(call: Call, offerer: Party, via_branch: str) -> list[Party]:
    """The parties that `offerer` has made offers to; those of the via-branch alone, where that is known."""
    offered = [party for party in call.parties.values() if party.offered_by == offerer.number]
    return [party for party in offered if party.via_branch == via_branch] if via_branch else offered


def _fork(call: Call, original: Party, tag: Tag, now: float) -> Party:
    fork = call.add_party(tag, now)
    fork.offered_by, fork.via_branch = original.offered_by, original.via_branch
    fork.bundles_proposed = original.bundles_proposed
    fork.medias = [_unanswered(media) for media in original.medias]
    _take_over(fork, original)
    return fork


def _unanswered(media: Media) -> Media:
    """What of the section was offered, without what one branch made of it."""
    return Media(
        index=media.index,
        kind=media.kind,
        protocol=media.protocol,
        hidden=media.hidden,
        mux_proposed=media.mux_proposed,
        codecs=media.codecs,
        mid=media.mid,
        relayed=media.relayed,
        rtp=media.rtp,
        learning=media.learning,
        asymmetric=media.asymmetric,
        media_handover=media.media_handover,
        tos=media.tos,
        crypto_proposed=media.crypto_proposed,
        passthrough=media.passthrough,
        transport=media.transport,
        ice=ice.offered_again(media.ice),
        dtls=dtls.offered_again(media.dtls),
    )


def _took_over(fork: Party, former: Party) -> bool:
    """The fork has the ports that `former` had."""
    if fork is former or fork.offered_by is None or any(media.local is not None for media in former.medias):
        return False
    return (fork.offered_by, fork.via_branch) == (former.offered_by, former.via_branch)


def _take_over(to: Party, former: Party) -> None:
    """The local ports the offer named now serve another branch."""
    for mine, old in zip(to.medias, former.medias, strict=False):
        mine.local, mine.local_rtcp, mine.others = old.local, old.local_rtcp, old.others
        mine.interface, mine.former = old.interface, old.former
        old.former = None
        old.local = old.local_rtcp = None
        old.others = ()
