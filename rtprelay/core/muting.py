"""block and silence media, block DTMF, start and stop forwarding: options of a party, which the planner turns into flow
rules.

Who is meant (as in rtpengine): a from-tag alone comes with every request of a SIP proxy and selects nobody, the whole
call is meant; with `directional`, or by `address` or `label`, it is the one party. With a to-tag besides, only the
media from the one to the other is blocked; with `all=offer-answer`, `except-offer-answer` or `flows` those of the
from-tag's flows that came about so.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party, SubscriptionKind
from rtprelay.errors import PeerFault
from rtprelay.negotiate.context import Context
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Command, CommandName

NO_TAP = "Noted, but nothing taps media yet: no recording daemon is part of this relay"

_OPTIONS: dict[CommandName, tuple[str, bool]] = {
    CommandName.BLOCK_MEDIA: ("blocked", True),
    CommandName.UNBLOCK_MEDIA: ("blocked", False),
    CommandName.SILENCE_MEDIA: ("silenced", True),
    CommandName.UNSILENCE_MEDIA: ("silenced", False),
    CommandName.BLOCK_DTMF: ("dtmf_blocked", True),
    CommandName.UNBLOCK_DTMF: ("dtmf_blocked", False),
    CommandName.START_FORWARDING: ("forwarding", True),
    CommandName.STOP_FORWARDING: ("forwarding", False),
}
COMMANDS = tuple(_OPTIONS)
KINDS = {
    "offer-answer": frozenset({SubscriptionKind.OFFER_ANSWER}),
    "except-offer-answer": frozenset({SubscriptionKind.PUB_SUB}),
    "flows": frozenset(SubscriptionKind),
}
"""Of `all=`."""


def mute(call: Call, command: Command, context: Context) -> Body:
    """Set or clear the option of the command. Raises PeerFault where nobody is meant."""
    option, value = _OPTIONS[command.name]
    selected = _selected(call, command)
    if option == "blocked" and len(selected) == 1:
        if command.all in KINDS:
            _block_kind(call, selected[0], KINDS[command.all], blocked=value)
            return reply.ok()
        if command.to_tag or command.flags.set_label:
            _block_one_way(call, selected[0], command, blocked=value)
            return reply.ok()
    for party in selected:
        setattr(party, option, value)
    return reply.ok(warning=NO_TAP) if command.name is CommandName.START_FORWARDING else reply.ok()


def _selected(call: Call, command: Command) -> list[Party]:
    if command.address is not None:
        found = [
            p for p in call.parties.values() if any(m.remote and m.remote.address == command.address for m in p.medias)
        ]
        return _some(found, f"No party with media address {command.address}")
    if command.flags.label is not None:
        found = [party for party in call.parties.values() if party.label == command.flags.label]
        return _some(found, f"No party with label {command.flags.label!r}")
    alone = command.directional or command.all in KINDS
    if alone and command.from_tag and command.all != "all":
        return _some([p for p in call.parties.values() if p.tag == command.from_tag], "Unknown from-tag")
    return list(call.parties.values())


def _block_kind(call: Call, source: Party, kinds: frozenset[SubscriptionKind], *, blocked: bool) -> None:
    """All flows of the source that came about in one way; what it sends to whom comes later is not."""
    for subscription in call.subscriptions:
        if subscription.source.party == source.number and subscription.kind in kinds:
            subscription.blocked = blocked


def _labelled(call: Call, label: str | None) -> Party | None:
    return next((party for party in call.parties.values() if label and party.label == label), None)


def _some(found: list[Party], otherwise: str) -> list[Party]:
    if not found:
        raise PeerFault(otherwise)
    return found


def _block_one_way(call: Call, source: Party, command: Command, *, blocked: bool) -> None:
    label = command.flags.set_label
    sink = call.party_by_tag(command.to_tag) if command.to_tag else _labelled(call, label)
    if sink is None:
        raise PeerFault("Unknown to-tag" if command.to_tag else f"No party with label {label!r}")
    for subscription in call.subscriptions:
        if (subscription.source.party, subscription.sink.party) == (source.number, sink.number):
            subscription.blocked = blocked
