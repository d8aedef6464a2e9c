"""create and create answer: parties that are offered something by the relay, and joined by `connect`.

relay -- offer --> A 198.51.100.1:4000        relay -- offer --> B 198.51.100.3:4002
                             A <--> relay <--> B, once they are connected
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.sdp.codecs import named
from rtprelay.signalling.command import CommandName, IceOption
from rtprelay.values import CallId, Tag
from tests.unit.core_stage import RELAY6, A, B, Section, Stage, at, rtp, sdp, sections

CALLER, CALLEE = at(f"{A}:4000"), at(f"{B}:4002")


def create(stage: Stage, tag: str = "a", **fields: Any) -> Section:
    body = stage.ask(CommandName.CREATE, from_tag=Tag(tag), **fields)
    assert body["result"] == "ok", body
    (section,) = sections(body["sdp"])
    return section


def answer(stage: Stage, text: str, tag: str = "a", **fields: Any) -> dict[str, Any]:
    return stage.ask(CommandName.CREATE_ANSWER, text, from_tag=Tag(tag), **fields)


def test_a_new_party_is_offered_pcma_and_pcmu_in_plain_rtp() -> None:
    section = create(Stage())
    assert (section.kind, section.protocol, section.formats, section.direction) == (
        "audio",
        "RTP/AVP",
        ["8", "0"],
        "sendrecv",
    )


def test_call_and_party_are_given_names_where_they_have_none() -> None:
    stage = Stage()
    body = stage.ask(CommandName.CREATE, call_id=CallId(""))
    assert list(stage.relay.registry.calls) == [body["call-id"]]
    assert stage.ask(CommandName.QUERY, call_id=CallId(body["call-id"]))["tags"].keys() == {body["from-tag"]}


def test_created_parties_talk_once_they_have_answered_and_are_connected() -> None:
    stage = Stage()
    facing_a, facing_b = create(stage).local, create(stage, "b").local
    assert answer(stage, sdp(A, 4000)) == {"result": "ok"}
    assert answer(stage, sdp(B, 4002), "b") == {"result": "ok"}
    assert stage.receive(facing_a, CALLER, rtp(1)) == []
    assert stage.ask(CommandName.CONNECT, from_tag=Tag("a"), to_tag=Tag("b")) == {"result": "ok"}
    assert stage.receive(facing_a, CALLER, rtp(2)) == [(facing_b, rtp(2), CALLEE)]
    assert stage.receive(facing_b, CALLEE, rtp(2)) == [(facing_a, rtp(2), CALLER)]
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert stage.open == {}


def test_a_party_of_another_call_is_connected_to_a_created_one() -> None:
    stage = Stage()
    stage.call()
    facing = create(stage, "x", call_id=CallId("d")).local
    answer(stage, sdp("198.51.100.9", 4000), "x", call_id=CallId("d"))
    fields = {"from_tag": Tag("b"), "to_tag": Tag("x"), "to_call_id": CallId("d")}
    assert stage.ask(CommandName.CONNECT, **fields) == {"result": "ok"}
    assert [str(to) for _, _, to in stage.receive(facing, at("198.51.100.9:4000"), rtp(1))] == [str(CALLEE)]


def test_who_is_there_already_is_offered_what_it_has() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    again = create(stage, "a")
    assert (again.local, again.formats) == (facing_a, ["0", "8"])
    first = create(stage, "x")
    answer(stage, sdp("198.51.100.9", 4000), "x")
    assert create(stage, "x").local == first.local


def test_the_usual_options_hold() -> None:
    stage = Stage()
    secure = create(stage, transport_protocol="RTP/SAVP", codecs_offer=("opus", "PCMU", "telephone-event"))
    assert (secure.protocol, secure.formats) == ("RTP/SAVP", ["96", "0", "98"])
    assert secure.attribute("crypto") is not None
    assert secure.attribute("rtpmap:96") is None
    assert "a=rtpmap:96 opus/48000/2" in secure.lines
    browser = create(
        stage,
        "b",
        transport_protocol="UDP/TLS/RTP/SAVPF",
        ice=IceOption.FORCE,
        rtcp_mux=frozenset({"offer", "require"}),
    )
    for name in ("ice-ufrag", "candidate", "fingerprint", "rtcp-mux"):
        assert browser.attribute(name) is not None
    assert create(stage, "c", interface="inside").address == "203.0.113.9"
    assert create(stage, "d", address_family=at(f"[{RELAY6}]:2").family).address == RELAY6


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"codecs_offer": ("EVS",)}, "codecs-offer: 'EVS' is no codec known by its name alone"),
        ({"from_tag": Tag("p")}, "Tag 'p' is taken by a publisher or subscriber"),
    ],
)
def test_what_cannot_be_created_is_refused_without_a_trace(fields: dict[str, Any], reason: str) -> None:
    stage = Stage()
    stage.ask(CommandName.PUBLISH, sdp(A), from_tag=Tag("p"))
    ports = stage.ports_used()
    assert stage.ask(CommandName.CREATE, **{"from_tag": Tag("a"), **fields})["error-reason"] == reason
    assert stage.ports_used() == ports


def test_an_answer_of_nobody_is_refused() -> None:
    stage = Stage()
    create(stage)
    assert answer(stage, sdp(A), "x")["error-reason"] == "Unknown from-tag"
    assert answer(stage, sdp(A), call_id=CallId("d"))["error-reason"] == "Unknown call-id"


def test_a_created_call_nobody_answers_ends() -> None:
    stage = Stage(offer_timeout=30.0)
    create(stage)
    stage.wait(31.0)
    assert stage.relay.registry.calls == {}


@pytest.mark.parametrize(
    ("text", "rtpmap", "payload_type"),
    [
        ("pcma", "PCMA/8000", 8),
        ("opus", "opus/48000/2", 99),
        ("G729/8000", "G729/8000", 18),
        ("AMR-WB/16000", "AMR-WB/16000", 99),
        ("L16/44100/2", "L16/44100/2", 10),
    ],
)
def test_a_codec_is_known_by_its_name(text: str, rtpmap: str, payload_type: int) -> None:
    codec = named(text, 99)
    assert codec is not None
    assert (codec.rtpmap, codec.payload_type) == (rtpmap, payload_type)


@pytest.mark.parametrize("text", ["", "EVS", "/8000", "opus/x", "PCMU/0"])
def test_a_codec_of_which_too_little_is_said_is_none(text: str) -> None:
    assert named(text, 99) is None
