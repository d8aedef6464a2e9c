"""Which parties of a call a command means: sources and subscribers, and what a delete takes away."""

from __future__ import annotations

from rtprelay.call.call import Call, Party
from rtprelay.errors import PeerFault
from rtprelay.signalling.command import Command
from rtprelay.values import Tag


def sources(call: Call, command: Command) -> list[Party]:
    """The parties a subscription names: by from-tags, one from-tag, a label, or all that send of their own."""
    senders = [party for party in call.parties.values() if not party.subscriber]
    tags = command.from_tags or ((command.from_tag,) if command.from_tag else ())
    if tags:
        found = {party.tag: party for party in senders if party.tag}
        for tag in tags:
            if tag not in found:
                raise PeerFault(f"Unknown from-tag {tag!r}")
        return [found[tag] for tag in dict.fromkeys(tags)]
    if command.flags.label is not None:
        senders = [party for party in senders if party.label == command.flags.label]
    elif command.all != "all":
        raise PeerFault("No from-tag, label or 'all' in message: nobody to subscribe to")
    senders = [party for party in senders if any(media.live for media in party.medias)]
    if not senders:
        raise PeerFault("Nobody to subscribe to")
    return senders


def audience(call: Call, source: Party) -> int:
    """Receivers of the source's most popular media."""
    counts = [0] * len(source.medias)
    for subscription in call.subscriptions:
        if subscription.source.party == source.number and subscription.source.index < len(counts):
            counts[subscription.source.index] += 1
    return max(counts, default=0)


def subscriber(call: Call, tag: Tag) -> Party | None:
    party = call.party_by_tag(tag)
    return party if party is not None and party.subscriber else None


def dialogue(call: Call, command: Command) -> list[Party]:
    """The parties a query is about: all, or the one of the from-tag with those it exchanges media with."""
    if not command.from_tag:
        return list(call.parties.values())
    party = call.party_by_tag(command.from_tag)
    if party is None:
        return []
    others = {s.sink.party for s in call.subscriptions if s.source.party == party.number}
    others |= {s.source.party for s in call.subscriptions if s.sink.party == party.number}
    return [p for p in call.parties.values() if p is party or p.number in others]


def to_delete(call: Call, command: Command) -> list[Party] | None:
    """The branch a delete is about, by its via-branch or to-tag, where others live on; empty: the whole call.

    None where the tags are not the call's. A to-tag may be that of a branch which never answered through us.
    """
    if command.from_tag and call.party_by_tag(command.from_tag) is None:
        return None
    to = call.party_by_tag(command.to_tag)
    offered = [party for party in call.parties.values() if party.offered_by is not None]
    if command.to_tag and to is None and all(party.tag for party in offered):
        return None
    branch = [party for party in offered if command.via_branch and party.via_branch == command.via_branch]
    if not branch and to is not None and to.offered_by is not None:
        branch = [to]
    return branch if len(branch) < len(offered) else []
