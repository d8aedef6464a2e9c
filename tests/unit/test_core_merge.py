"""`connect` with `to-call-id`: parties of two calls hear each other, and the calls are one from then on.

call c:  A 198.51.100.1:4000 <--> relay <--> B 198.51.100.3:4002
call d:  C 198.51.100.5:4000 <--> relay <--> D 198.51.100.7:4002
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.call.call import Call
from rtprelay.core.effects import ApplyFlows, ClosePorts, OpenPorts, Persist
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Endpoint, Tag
from rtprelay.wire import rtp as wire
from tests.unit.core_stage import A, B, Stage, at, rtp, sdp
from tests.unit.webrtc_stage import BROWSER, run, two_browsers

PEERS = {"a": at(f"{A}:4000"), "b": at(f"{B}:4002"), "c": at("198.51.100.5:4000"), "d": at("198.51.100.7:4002")}


def two_calls(**fields: Any) -> tuple[Stage, dict[str, Endpoint]]:
    """The relay's port facing each party."""
    stage = Stage(**fields)
    facing: dict[str, Endpoint] = {}
    for call, (one, other) in (("c", "ab"), ("d", "cd")):
        peers = PEERS[one], PEERS[other]
        (to_other,) = stage.offered(sdp(peers[0].address, peers[0].port), from_tag=one, call_id=CallId(call))
        text = sdp(peers[1].address, peers[1].port)
        (to_one,) = stage.answered(text, from_tag=one, to_tag=other, call_id=CallId(call))
        facing |= {one: to_one.local, other: to_other.local}
    return stage, facing


def hears(stage: Stage, facing: dict[str, Endpoint], speaker: str) -> set[str]:
    """Who hears it."""
    sent = stage.receive(facing[speaker], PEERS[speaker], rtp(1))
    return {name for name, peer in PEERS.items() for _, _, to in sent if to == peer}


def connect(stage: Stage, one: str = "b", other: str = "c", **fields: Any) -> dict[str, Any]:
    fields = {"from_tag": Tag(one), "to_tag": Tag(other), "to_call_id": CallId("d"), **fields}
    return stage.ask(CommandName.CONNECT, **fields)


def test_parties_of_two_calls_hear_each_other_through_the_ports_they_have() -> None:
    stage, facing = two_calls()
    assert connect(stage) == {"result": "ok"}
    assert not any(isinstance(effect, OpenPorts | ClosePorts) for effect in stage.effects)
    assert [hears(stage, facing, name) for name in "abcd"] == [set(), {"c"}, {"b"}, set()]
    query = stage.ask(CommandName.QUERY)
    assert list(query["tags"]) == ["a", "b", "c", "d"]
    assert query["tags"]["b"]["subscriptions"] == [{"tag": "c", "type": "offer/answer"}]


def test_both_call_ids_stand_for_the_one_call_there_is() -> None:
    stage, facing = two_calls()
    connect(stage)
    assert sorted(stage.ask(CommandName.LIST)["calls"]) == ["c", "d"]
    assert stage.ask(CommandName.STATISTICS)["statistics"]["currentstatistics"]["sessionsown"] == 1
    assert stage.ask(CommandName.QUERY, call_id=CallId("d")) == stage.ask(CommandName.QUERY)
    assert connect(stage, "c", "b", call_id=CallId("d"), to_call_id=CallId("c")) == {"result": "ok"}
    stage.offer(sdp("198.51.100.5", 5000), from_tag="c", to_tag="d", call_id=CallId("d"))
    stage.answer(sdp("198.51.100.7", 4002), from_tag="c", to_tag="d", call_id=CallId("d"))
    stage.receive(facing["c"], at("198.51.100.5:5000"), rtp(1))
    assert hears(stage, facing, "d") == set(), "the caller has moved"
    assert [str(to) for _, _, to in stage.receive(facing["d"], PEERS["d"], rtp(2))] == ["198.51.100.5:5000"]
    assert stage.ask(CommandName.DELETE, call_id=CallId("d"), delete_delay=0)["result"] == "ok"
    assert (stage.relay.registry.calls, stage.relay.registry.aliases, stage.open) == ({}, {}, {})
    assert stage.ask(CommandName.QUERY, call_id=CallId("d"))["error-reason"] == "Unknown call-id"


def test_media_may_go_one_way_from_call_to_call_while_both_go_on() -> None:
    stage, facing = two_calls()
    assert connect(stage, "a", "d", directional=True) == {"result": "ok"}
    assert [hears(stage, facing, name) for name in "abcd"] == [{"b", "d"}, {"a"}, {"d"}, {"c"}]


def test_a_third_call_joins_under_a_second_ones_name() -> None:
    stage, _ = two_calls()
    stage.offered(sdp("198.51.100.9", 4000), from_tag="e", call_id=CallId("e"))
    (to_e,) = stage.answered(sdp("198.51.100.11", 4002), from_tag="e", to_tag="f", call_id=CallId("e"))
    connect(stage)
    assert connect(stage, "e", "d", call_id=CallId("e")) == {"result": "ok"}
    assert stage.relay.registry.aliases == dict.fromkeys(("c", "d"), "e")
    assert [str(to) for _, _, to in stage.receive(to_e.local, at("198.51.100.9:4000"), rtp(1))] == [str(PEERS["d"])]


def test_a_merged_call_outlives_a_restart_even_one_in_the_middle_of_it() -> None:
    stage, facing = two_calls()
    before = stage.journal[CallId("d")]
    connect(stage)
    order = [(effect.call_id, effect.record is None) for effect in stage.effects if isinstance(effect, Persist)]
    assert order[:2] == [("c", False), ("d", True)]
    stage.journal[CallId("d")] = before
    stage.restart()
    assert [hears(stage, facing, name) for name in "bc"] == [{"c"}, {"b"}]
    assert stage.ask(CommandName.QUERY, call_id=CallId("d"))["result"] == "ok"


def test_a_tag_of_both_calls_is_refused_and_nothing_has_changed() -> None:
    stage = Stage()
    stage.call()
    stage.offer(sdp("198.51.100.5", 4000), from_tag="a", call_id=CallId("d"))
    stage.answer(sdp("198.51.100.7", 4002), from_tag="a", to_tag="e", call_id=CallId("d"))
    before = dict(stage.journal)
    assert connect(stage, "b", "e")["error-reason"] == "Both calls have a party with the tag 'a'"
    assert stage.journal == before


def test_where_the_kernel_has_no_room_the_calls_are_one_but_nothing_else_has_changed() -> None:
    stage, facing = two_calls()
    stage.room = 0
    connect(stage)
    stage.room = None
    assert hears(stage, facing, "a") | hears(stage, facing, "b") != set()
    assert isinstance(stage.relay.registry.calls[CallId("c")], Call)


@pytest.mark.parametrize("limit", [60.0])
def test_a_merged_call_lives_as_long_as_one_of_its_parties_is_heard(limit: float) -> None:
    stage, facing = two_calls(timeout=limit)
    connect(stage)
    for _ in range(4):
        stage.wait(limit / 2)
        hears(stage, facing, "c")
    assert stage.relay.registry.calls
    stage.wait(3 * limit)
    assert (stage.relay.registry.calls, stage.relay.registry.aliases) == ({}, {})
    assert any(isinstance(effect, ApplyFlows) for effect in stage.effects)


def test_a_browsers_data_channel_goes_with_it_into_the_other_call() -> None:
    """Its DTLS lives in the relay's memory alone, and it is still asked for its consent (RFC 7675)."""
    stage, browser, friend = two_browsers(("audio", "application"))
    one, other = PEERS["c"], PEERS["d"]
    stage.offered(sdp(one.address, one.port), from_tag="c", call_id=CallId("d"))
    (to_c,) = stage.answered(sdp(other.address, other.port), from_tag="c", to_tag="d", call_id=CallId("d"))
    fields = {"call_id": CallId("d"), "to_call_id": CallId("c"), "directional": True}
    assert connect(stage, "c", "a", **fields) == {"result": "ok"}
    run(stage, browser, friend, seconds=5.0)
    browser.transport.send(b"INIT")
    run(stage, browser, friend, seconds=0.1)
    assert friend.messages == [b"INIT"]
    ((_, data, destination),) = [sent for sent in stage.receive(to_c.local, one, rtp(1, ssrc=9)) if sent[2] != other]
    assert (wire.parse(browser.unprotect(data)).sequence, destination) == (1, BROWSER)
