"""From a request's dictionary to a Command: what must be there, in the order and words rtpengine complains in.

Limits: the dictionary itself is bounded by the decoder (`wire`), each text by its row in `flags.TABLE` (SDP 65,535,
Call-ID 1024, tags 512 characters), and here the number of `from-tags` by MAX_TAGS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtprelay.errors import MalformedMessage, PeerFault
from rtprelay.signalling.command import Command, CommandName
from rtprelay.signalling.flags import IDENTIFICATION, TABLE, Kind
from rtprelay.signalling.options import Said, read_address
from rtprelay.signalling.templates import Templates

MAX_TAGS = 256

_COMMANDS = {name.value: name for name in CommandName}

_REQUIRED: dict[CommandName, tuple[str, ...]] = {
    CommandName.PING: (),
    CommandName.OFFER: ("sdp", "call_id", "from_tag"),
    CommandName.ANSWER: ("sdp", "call_id", "from_tag", "to_tag"),
    CommandName.DELETE: ("call_id",),
    CommandName.QUERY: ("call_id",),
    CommandName.LIST: (),
    CommandName.STATISTICS: (),
    CommandName.PUBLISH: ("sdp",),
    CommandName.SUBSCRIBE_REQUEST: ("call_id",),
    CommandName.SUBSCRIBE_ANSWER: ("call_id", "to_tag", "sdp"),
    CommandName.UNSUBSCRIBE: ("call_id", "to_tag"),
    CommandName.BLOCK_MEDIA: ("call_id",),
    CommandName.UNBLOCK_MEDIA: ("call_id",),
    CommandName.SILENCE_MEDIA: ("call_id",),
    CommandName.UNSILENCE_MEDIA: ("call_id",),
    CommandName.BLOCK_DTMF: ("call_id",),
    CommandName.UNBLOCK_DTMF: ("call_id",),
    CommandName.CREATE_ANSWER: ("sdp", "call_id", "from_tag"),
    CommandName.CONNECT: ("call_id", "to_tag"),
    CommandName.START_FORWARDING: ("call_id",),
    CommandName.STOP_FORWARDING: ("call_id",),
}

_MISSING = {
    "sdp": "No SDP body in message",
    "call_id": "No call-id in message",
    "from_tag": "No from-tag in message",
    "to_tag": "No to-tag in message",
}

_MAY_BE_EMPTY = frozenset({"from_tag", "to_tag"})
"""SIP of before RFC 3261 has no tags."""


OF_THE_CALL = {
    row.name: row
    for row in TABLE
    if row.kind is Kind.TEXT and row.group == IDENTIFICATION and row.target in Command.__struct_fields__
}
"""What differs from call to call."""
RECEIVED_FROM = "received-from"

_NO_TEMPLATES = Templates()


def parse_command(body: Any, templates: Templates = _NO_TEMPLATES) -> Command:
    """The command of a decoded message. Raises PeerFault with the text for `error-reason`."""
    name, own, others = take_apart(body)
    return complete(name, templates.read(name.value, others), own)


def take_apart(body: Any) -> tuple[CommandName, dict[str, Any], dict[str, Any]]:
    """What is asked for, the fields of Command that are the call's own, and the entries that say the rest. Raises
    PeerFault.
    """
    if not isinstance(body, dict):
        raise MalformedMessage("Invalid NG data format")
    spelled = body.get("command")
    if not isinstance(spelled, str):
        raise PeerFault('Dictionary contains no key "command"')
    name = _COMMANDS.get(spelled)
    if name is None:
        raise PeerFault("Unrecognized command")
    own: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in body.items():
        row = OF_THE_CALL.get(key)
        if row is not None and type(value) is str and len(value) <= row.high:
            own[row.target] = value
        elif key != "command":
            others[key] = value
    received_from = read_address(others[RECEIVED_FROM]) if RECEIVED_FROM in others else None
    if received_from is not None:
        own["received_from"] = received_from
        del others[RECEIVED_FROM]
    return name, own, others


def complete(name: CommandName, said: Said, own: Mapping[str, Any]) -> Command:
    """The command, if nothing is missing. Raises PeerFault."""
    fields = {**said.command, **own}
    for field in _REQUIRED.get(name, ()):
        if field not in fields or (not fields[field] and field not in _MAY_BE_EMPTY):
            raise PeerFault(_MISSING[field])
    if len(fields.get("from_tags", ())) > MAX_TAGS:
        raise PeerFault(f"more than {MAX_TAGS} from-tags")
    if fields.get("limit", 0) < 0:
        raise PeerFault("invalid limit, must be >= 0")
    return Command(name=name, flags=said.flags, unknown_flags=said.unknown, missed_flags=said.missed, **fields)
