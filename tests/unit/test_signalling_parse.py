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
    assert parse_command(by_flags).all == "all"


def test_the_limit_of_a_list() -> None:
    assert parse_command({"command": "list"}).limit == 32
    assert parse_command({"command": "list", "limit": 0}).limit == 0
    assert parse_command({"command": "list", "limit": "5"}).limit == 5
    assert parse_command({"command": "list", "limit": "x"}).limit == 32


@pytest.mark.parametrize("values", [(1, True, 1.0, "1"), (True, 1, "1", 1.0)])
def test_values_that_python_takes_for_equal_are_told_apart_however_often_they_come(values: tuple[Any, ...]) -> None:
    expected = {repr(value): value in (1, "1") and type(value) in (int, str) for value in values}
    for _ in range(2):
        for value in values:
            flags = parse_command({"command": "offer", "TOS": value} | SDP | CALL | FROM).flags
            assert (flags.tos == 1) is expected[repr(value)], value


def test_calls_that_say_the_same_keep_their_own_names() -> None:
    said = {"command": "answer", "flags": ["symmetric", "bogus"]} | SDP
    for number in range(3):
        names = {"call-id": f"c{number}", "from-tag": f"f{number}", "to-tag": f"t{number}"}
        command = parse_command(said | names | {"received-from": ["IP4", f"192.0.2.{number}"]})
        assert (command.call_id, command.from_tag, command.to_tag) == (f"c{number}", f"f{number}", f"t{number}")
        assert (command.received_from, command.flags.symmetric) == (f"192.0.2.{number}", True)
        assert command.unknown_flags == ("bogus",)


def test_text_that_is_no_utf8_and_numbers_beyond_any_size_are_read_all_the_same() -> None:
    command = parse_command(
        {"command": "offer", "label": "caf\udce9", "metadata": "m", "TOS": 1 << 70} | SDP | CALL | FROM
    )
    assert (command.flags.label, command.flags.metadata, command.flags.tos) == ("caf\udce9", "m", None)
