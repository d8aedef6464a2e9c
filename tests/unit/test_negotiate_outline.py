"""SDP that is passed on again and again: remembered or not, it is what the rules make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtprelay.core.effects import Reply
from rtprelay.negotiate import rewrite
from rtprelay.signalling.command import Command, CommandName, IceOption, MediaFlags, Request, SdpReplace
from rtprelay.values import CallId, Tag
from tests.unit.core_stage import Stage, sdp

SDP = Path(__file__).parent.parent / "data" / "sdp"
ALL_OF_IT = SdpReplace.ORIGIN | SdpReplace.SDP_VERSION | SdpReplace.USERNAME | SdpReplace.SESSION_NAME
FINGERPRINT = re.compile("a=fingerprint:.*")
"""Each relay has certificates of its own."""
FLAGS = (
    MediaFlags(),
    MediaFlags(replace=SdpReplace.ORIGIN, direction=("outside", "inside"), ice=IceOption.REMOVE),
    MediaFlags(replace=ALL_OF_IT),
    MediaFlags(rtcp_mux=frozenset({"offer", "require"}), no_rtcp_attribute=True),
    MediaFlags(full_rtcp_attribute=True, media_address="203.0.113.77", generate_mid=True),
    MediaFlags(media_address="2001:db8:77::1", replace=SdpReplace.ORIGIN, original_sendrecv=True),
    MediaFlags(codec_strip=("PCMU", "opus"), ptime=30, ptime_reverse=40, single_codec=True),
    MediaFlags(transport_protocol="RTP/SAVP"),
    MediaFlags(transport_protocol="RTP/AVP", extmap_strip=("all",)),
    MediaFlags(ice=IceOption.FORCE),
    MediaFlags(loop_protect=True, sdp_attr={"audio": {"add": ["x:1"]}}),
)


def descriptions() -> Iterator[str]:
    """Without those of browsers: DTLS takes its time, and is never remembered."""
    for path in sorted(SDP.glob("*.sdp")):
        if ".expected." not in path.name and b"fingerprint" not in path.read_bytes():
            yield path.read_bytes().decode("utf-8", "surrogateescape")
    yield sdp() + "a=x:%s 100%\r\n"
    yield sdp() + "a=rtcp:4001 IN IP4 198.51.100.1\r\na=rtcp:4001\r\na=ptime:20\r\n"
    yield sdp() + "a=x:\x1a\r\n"
    yield sdp().replace("s=-\r\n", "").replace("t=0 0", "t=0 0\r\ns=late")


def exchange(stage: Stage, number: int, text: str, flags: MediaFlags) -> list[str]:
    """What offerer and answerer of a new call see, in terms of what the other has said."""
    call_id, own = CallId(f"call{number}"), f"o=- {number} {number + 1} "
    offered = text.replace("o=- 1 1 ", own).replace(" 4000 ", f" {4000 + 2 * number} ")
    offered = offered.replace("a=rtcp:4001", f"a=rtcp:{5001 + 2 * number}")
    seen = []
    for name in (CommandName.OFFER, CommandName.ANSWER):
        command = Command(name=name, call_id=call_id, from_tag=Tag("a"), to_tag=Tag("b"), sdp=offered, flags=flags)
        stage.relay.handle_command(Request(number, command), stage.now)
        stage.drain()
        (reply,) = (effect for effect in stage.effects if isinstance(effect, Reply))
        seen.append(FINGERPRINT.sub("", reply.body.get("sdp", str(reply.body))))
    return seen


def again(flags: MediaFlags) -> MediaFlags:
    """The same, as nobody has said it before."""
    return MediaFlags(**{name: getattr(flags, name) for name in flags.__struct_fields__})


@pytest.mark.parametrize("flags", FLAGS)
def test_what_comes_again_is_passed_on_as_if_it_came_for_the_first_time(flags: MediaFlags) -> None:
    remembering, forgetful = Stage(), Stage()
    for text in descriptions():
        first = len(remembering.relay.registry.calls)
        for number in range(first, first + 3):
            expected = exchange(forgetful, number, text, again(flags))
            assert exchange(remembering, number, text, flags) == expected


def test_what_has_come_twice_is_not_rewritten_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, flags = Stage(), MediaFlags(replace=SdpReplace.ORIGIN)
    for number in (1, 2):
        exchange(stage, number, sdp(), flags)
    monkeypatch.delattr(rewrite, "rewrite")
    offered, answered = exchange(stage, 3, sdp(), flags)
    assert offered.startswith("v=0\r\no=- 3 4 IN IP4 ")
    assert answered.startswith("v=0\r\no=- 3 4 IN IP4 ")


def test_a_change_of_the_call_is_not_missed() -> None:
    stage, flags = Stage(), MediaFlags()
    for number in (1, 2, 3):
        exchange(stage, number, sdp(), flags)
    offered, answered = exchange(stage, 4, sdp() + "a=rtcp-mux\r\n", flags)
    assert "a=rtcp-mux" in offered
    assert "a=rtcp-mux" in answered
    offered, answered = exchange(stage, 5, sdp(), MediaFlags(ptime=30))
    assert "a=ptime:30" in offered
    assert "a=ptime" not in answered
