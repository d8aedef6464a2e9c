"""Templates: what a request leaves to be said by the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.signalling.command import Command, IceOption, Request, SdpReplace
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.parse import parse_command
from rtprelay.signalling.session import NgSession, Peer
from rtprelay.signalling.templates import Templates
from rtprelay.wire import json

TEXTS = {
    "WebRTC": "transport-protocol=UDP/TLS/RTP/SAVPF ICE=force trickle-ICE rtcp-mux=[offer require] SDES=off",
    "plain": "transport-protocol=RTP/AVP ICE=remove replace=origin",
    "quiet": "label=quiet",
}


def read(texts: dict[str, str], **keys: Any) -> Command:
    body = {"command": "offer", "call-id": "c", "from-tag": "a", "sdp": "v=0"}
    return parse_command(body | {key.replace("_", "-"): value for key, value in keys.items()}, Templates(texts))


@pytest.mark.parametrize(
    "keys",
    [
        {"template": "WebRTC"},
        {"flags": ["trust-address", "template=WebRTC"]},
        {"rtpp-flags": "trust-address template=WebRTC"},
    ],
)
def test_a_template_stands_for_what_it_says(keys: dict[str, Any]) -> None:
    flags = read(TEXTS, **keys).flags
    assert (flags.transport_protocol, flags.ice, flags.trickle_ice) == ("UDP/TLS/RTP/SAVPF", IceOption.FORCE, True)
    assert flags.rtcp_mux == {"offer", "require"}


def test_the_request_has_the_last_word() -> None:
    flags = read(TEXTS, template="plain", ICE="force", replace=["session-name"]).flags
    assert (flags.transport_protocol, flags.ice) == ("RTP/AVP", IceOption.FORCE)
    assert flags.replace == SdpReplace.ORIGIN | SdpReplace.SESSION_NAME


def test_default_is_for_all_and_a_commands_own_for_that_command() -> None:
    texts = {"default": "label=d ICE=remove", "offer": "ICE=force", "answer": "metadata=m"}
    flags = read(texts).flags
    assert (flags.label, flags.ice, flags.metadata) == ("d", IceOption.FORCE, None)
    assert read(texts | TEXTS, template="plain").flags.ice is IceOption.REMOVE


def test_an_unknown_template_is_named_and_the_call_goes_on() -> None:
    command = read(TEXTS, template="nobodys")
    assert command.unknown_flags == ("template=nobodys",)
    assert read(TEXTS, flags=["template=nobodys", 7, "template"]).unknown_flags[0] == "template=nobodys"


def test_a_template_cannot_take_a_calls_identity_away() -> None:
    command = read({"default": "call-id=x from-tag=y"})
    assert (command.call_id, command.from_tag) == ("c", "a")


def test_a_change_holds_for_the_next_message_of_a_session() -> None:
    templates = Templates()
    session = NgSession(idioms=Idioms(templates))
    body = {"command": "offer", "call-id": "c", "from-tag": "a", "sdp": "v=0"}

    def label(cookie: bytes) -> str | None:
        request = session.receive(cookie + b" " + json.encode(body), Peer(0, ("192.0.2.1", 1)), 0.0)
        assert isinstance(request, Request)
        return request.command.flags.label

    assert label(b"1") is None
    templates.become({"default": "label=x"})
    assert label(b"2") == "x"
