"""What a command needs, and how it is told so: order and texts as seen with rtpengine 10.5 and 26.0."""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.errors import MalformedMessage, PeerFault
from rtprelay.signalling.command import CommandName
from rtprelay.signalling.parse import MAX_TAGS, parse_command

NO_COMMAND = 'Dictionary contains no key "command"'
NO_SDP = "No SDP body in message"
NO_CALL = "No call-id in message"
NO_FROM = "No from-tag in message"
NO_TO = "No to-tag in message"
UNKNOWN = "Unrecognized command"

SDP = {"sdp": "v=0"}
CALL = {"call-id": "c"}
FROM = {"from-tag": "f"}
TO = {"to-tag": "t"}


@pytest.mark.parametrize(
    ("command", "keys", "reason"),
    [
        (None, {}, NO_COMMAND),
        (1, {}, NO_COMMAND),
        ("", {}, UNKNOWN),
        ("foo", {}, UNKNOWN),
        ("Ping", {}, UNKNOWN),
        ("offer", {}, NO_SDP),
        ("offer", SDP, NO_CALL),
        ("offer", SDP | CALL, NO_FROM),
        ("offer", SDP | FROM, NO_CALL),
        ("offer", CALL | FROM, NO_SDP),
        ("offer", SDP | CALL | FROM | {"sdp": 5}, NO_SDP),
        ("offer", SDP | CALL | FROM | {"sdp": ""}, NO_SDP),
        ("offer", SDP | CALL | FROM | {"call-id": 7}, NO_CALL),
        ("offer", SDP | CALL | FROM | {"call-id": ""}, NO_CALL),
        ("answer", {}, NO_SDP),
        ("answer", SDP, NO_CALL),
        ("answer", SDP | CALL, NO_FROM),
        ("answer", SDP | CALL | TO, NO_FROM),
        ("answer", SDP | CALL | FROM, NO_TO),
        ("delete", {}, NO_CALL),
        ("query", {}, NO_CALL),
        ("list", {"limit": -1}, "invalid limit, must be >= 0"),
        ("publish", {}, NO_SDP),
        ("subscribe request", {}, NO_CALL),
        ("subscribe answer", {}, NO_CALL),
        ("subscribe answer", CALL, NO_TO),
        ("subscribe answer", CALL | SDP, NO_TO),
        ("subscribe answer", CALL | TO, NO_SDP),
        ("unsubscribe", {}, NO_CALL),
        ("unsubscribe", CALL, NO_TO),
        ("query", {"call-id": "c" * 1025}, "call-id is longer than 1024 characters"),
        ("offer", SDP | CALL | {"from-tag": "f" * 513}, "from-tag is longer than 512 characters"),
        ("offer", {"sdp": "v" * 65_536}, "sdp is longer than 65535 characters"),
        ("subscribe request", CALL | {"from-tags": ["f"] * (MAX_TAGS + 1)}, "more than 256 from-tags"),
    ],
)
def test_a_request_that_lacks_something_is_told_what(command: Any, keys: dict[str, Any], reason: str) -> None:
    body = keys if command is None else {"command": command, **keys}
    with pytest.raises(PeerFault) as caught:
        parse_command(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize("body", [None, [], ["command"], "command", 5])
def test_what_is_no_dictionary_is_no_command(body: Any) -> None:
    with pytest.raises(MalformedMessage):
        parse_command(body)


@pytest.mark.parametrize("name", list(CommandName))
def test_every_command_is_known_by_its_spelling(name: CommandName) -> None:
    assert parse_command({"command": name.value} | SDP | CALL | FROM | TO).name is name


def test_the_order_of_keys_does_not_matter() -> None:
    body = {"command": "answer"} | SDP | CALL | FROM | TO | {"flags": ["symmetric"], "ICE": "remove"}
    assert parse_command(dict(reversed(body.items()))) == parse_command(body)


def test_publish_may_leave_the_names_to_us() -> None:
    command = parse_command({"command": "publish"} | SDP)
    assert (command.call_id, command.from_tag) == ("", "")


def test_tags_may_be_empty_as_before_rfc_3261() -> None:
    assert parse_command({"command": "offer"} | SDP | CALL | {"from-tag": ""}).from_tag == ""


def test_several_tags_keep_their_order() -> None:
    command = parse_command({"command": "subscribe request", "from-tags": ["Ernie", "Bert"]} | CALL)
    assert command.from_tags == ("Ernie", "Bert")
    by_flags = {"command": "subscribe request", "flags": ["from-tags-Ernie", "from-tags=[Bert]", "all"]} | CALL
    assert parse_command(by_flags).from_tags == ("Ernie", "Bert")
    assert parse_command(by_flags).all_tags


def test_the_limit_of_a_list() -> None:
    assert parse_command({"command": "list"}).limit == 32
    assert parse_command({"command": "list", "limit": 0}).limit == 0
    assert parse_command({"command": "list", "limit": "5"}).limit == 5
    assert parse_command({"command": "list", "limit": "x"}).limit == 32
