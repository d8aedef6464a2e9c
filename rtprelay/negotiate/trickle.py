"""Candidates that come after the SDP (RFC 8838), in fragments that the SIP proxy hands on (RFC 8840).

A fragment belongs to the generation of candidates its ice-ufrag names: one that is late, of before an ICE restart, says
nothing. One that overtakes the answer it belongs to is kept for it.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party
from rtprelay.call.media import Media
from rtprelay.errors import UnknownCall
from rtprelay.negotiate import ice
from rtprelay.negotiate.context import Context
from rtprelay.sdp.fragment import Fragment, FragmentSection, read_fragment
from rtprelay.signalling.command import Command


def trickle(call: Call, command: Command, context: Context) -> None:
    """Take in a fragment of the from-tag's party. Raises MalformedSdp, UnknownCall."""
    fragment = read_fragment(command.sdp)
    party = call.party_by_tag(command.from_tag) or _unanswered(call, command)
    if party is None:
        raise UnknownCall("Unknown from-tag")
    for media, section in _sections(party, fragment):
        carrier = party.carrier(media)
        leg = carrier.ice
        ufrag = section.ufrag or fragment.head.ufrag
        if leg is None or (leg.remote is not None and ufrag not in (None, leg.remote.ufrag)):
            continue
        ice.trickled(carrier, section.candidates, ended=section.ended or fragment.head.ended, context=context)


def _unanswered(call: Call, command: Command) -> Party | None:
    """Whoever has been offered to and has no tag yet: the callee trickles before its answer has come."""
    caller = call.party_by_tag(command.to_tag)
    waiting = [party for party in call.parties.values() if not party.tag and party.offered_by is not None]
    return next((party for party in waiting if caller is None or party.offered_by == caller.number), None)


def _sections(party: Party, fragment: Fragment) -> list[tuple[Media, FragmentSection]]:
    """By mid, which may be one that we made up (`generate-mid`); where there is none, by place."""
    by_mid = {media.mid or str(media.index + 1): media for media in party.medias}
    found = []
    for index, section in enumerate(fragment.media or [fragment.head]):
        media = by_mid.get(section.mid) if section.mid is not None else None
        if media is None and index < len(party.medias) and section.mid is None:
            media = party.medias[index]
        if media is not None:
            found.append((media, section))
    return found
