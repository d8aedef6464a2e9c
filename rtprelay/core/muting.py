"""block and silence media, block DTMF, start and stop forwarding: options of a party, which the planner turns into flow
rules.

Who is meant (as in rtpengine): a from-tag alone comes with every request of a SIP proxy and selects nobody, the whole
call is meant; with `directional`, or by `address` or `label`, it is the one party. With a to-tag besides, only the
media from the one to the other is blocked.
"""

from __future__ import annotations

from rtprelay.call.call import Call, Party
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


def mute(call: Call, command: Command, context: Context) -> Body:
    """Set or clear the option of the command. Raises PeerFault where nobody is meant."""
    option, value = _OPTIONS[command.name]
    selected = _selected(call, command)
    if option == "blocked" and len(selected) == 1 and command.to_tag:
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
    if command.directional and command.from_tag and not command.all_tags:
        return _some([p for p in call.parties.values() if p.tag == command.from_tag], "Unknown from-tag")
    return list(call.parties.values())


def _addresses(party: Party) -> set[str]:
    return {media.remote.address for media in party.medias if media.remote is not None}


def _some(found: list[Party], otherwise: str) -> list[Party]:
    if not found:
        raise PeerFault(otherwise)
    return found


def _block_one_way(call: Call, source: Party, command: Command, *, blocked: bool) -> None:
    sink = call.party_by_tag(command.to_tag)
    if sink is None:
        raise PeerFault("Unknown to-tag")
    for subscription in call.subscriptions:
        if (subscription.source.party, subscription.sink.party) == (source.number, sink.number):
            subscription.blocked = blocked
