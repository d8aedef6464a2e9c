"""One sender, many receivers; joins and leaves leave the others alone.

                          +--> S1 198.51.100.11:6000
P 198.51.100.1 --> [relay]+--> S2 198.51.100.12:6000
                          +--> ...
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.core.handlers import MAX_SUBSCRIBERS
from rtprelay.plan.flow import DropFlow, DropOutput, PutFlow, PutOutput
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import read
from rtprelay.signalling.command import Body, CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import INSIDE, RELAY, A, B, Section, Stage, at, receiver_report, rtp, sdp, sections


def published(stage: Stage, tag: str = "p", text: str = "", **fields: Any) -> Section:
    body = stage.ask(CommandName.PUBLISH, text or sdp(A, 4000, "a=sendonly"), from_tag=Tag(tag), **fields)
    assert body["result"] == "ok", body
    (section,) = sections(body["sdp"])
    return section


def subscribe(stage: Stage, *tags: str, to_tag: str = "s1", **fields: Any) -> Body:
    return stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tags=tuple(map(Tag, tags)), to_tag=Tag(to_tag), **fields)


def joined(stage: Stage, *tags: str, to_tag: str = "s1", port: int = 6000) -> list[Section]:
    body = subscribe(stage, *(tags or ("p",)), to_tag=to_tag)
    assert body["result"] == "ok", body
    media = [f"m=audio {port + 10 * index} RTP/AVP 0" for index, _ in enumerate(sections(body["sdp"]))]
    answer = sdp("198.51.100.11", media=[*media, "a=recvonly"])
    reply = stage.ask(CommandName.SUBSCRIBE_ANSWER, answer, to_tag=Tag(to_tag))
    assert reply == {"result": "ok"}
    return sections(body["sdp"])


def leave(stage: Stage, to_tag: str) -> Body:
    return stage.ask(CommandName.UNSUBSCRIBE, to_tag=Tag(to_tag))


def test_a_publisher_is_answered_with_one_codec_to_receive_only() -> None:
    section = published(Stage())
    assert (section.formats, section.direction) == (["0"], "recvonly")


def test_the_reply_to_publish_names_call_and_tag_made_up_where_missing() -> None:
    stage = Stage()
    body = stage.ask(CommandName.PUBLISH, sdp(A), call_id=CallId(""))
    assert list(body) == ["call-id", "from-tag", "sdp", "result"]
    assert body["call-id"] in stage.relay.registry.calls
    assert body["from-tag"]


@pytest.mark.parametrize(
    ("accept", "formats"), [(("PCMA",), ["8"]), (("opus", "PCMA"), ["8"]), (("any",), ["0"]), (("opus",), ["0"])]
)
def test_the_accepted_codec_is_the_first_that_both_know(accept: tuple[str, ...], formats: list[str]) -> None:
    assert published(Stage(), codec_accept=accept).formats == formats


def test_video_is_published_without_saying_which_codec() -> None:
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000"))
    body = Stage().ask(CommandName.PUBLISH, text, from_tag=Tag("p"))
    assert [section.formats for section in sections(body["sdp"])] == [["0"], ["96"]]


def test_a_rejected_section_is_answered_as_one_and_the_other_is_published() -> None:
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 0 RTP/AVP 96"))
    body = Stage().ask(CommandName.PUBLISH, text, from_tag=Tag("p"))
    audio, video = sections(body["sdp"])
    assert (audio.port != 0, video.port) == (True, 0)


def test_nothing_to_publish_is_an_error_that_leaves_nothing() -> None:
    stage = Stage()
    body = stage.ask(CommandName.PUBLISH, sdp(A, media=("m=audio 0 RTP/AVP 0",)), from_tag=Tag("p"))
    assert body["result"] == "error"
    assert stage.relay.registry.calls == {}


def test_what_is_published_reaches_nobody_until_somebody_subscribes() -> None:
    stage = Stage()
    section = published(stage)
    assert stage.receive(section.local, at(f"{A}:4000"), rtp(1)) == []


def test_a_subscriber_is_offered_what_is_published_and_gets_it_under_an_ssrc_of_its_own() -> None:
    stage = Stage()
    publisher = published(stage)
    (section,) = joined(stage)
    assert (section.formats, section.direction) == (["0"], "sendonly")
    ((leaves, packet, destination),) = stage.receive(publisher.local, at(f"{A}:4000"), rtp(1, ssrc=0xABCD))
    assert (leaves, destination) == (section.local, at("198.51.100.11:6000"))
    assert packet[8:12] != bytes.fromhex("0000abcd")
    assert packet[12:] == rtp(1)[12:]


def test_rtcp_reaches_the_subscriber_as_well() -> None:
    stage = Stage()
    publisher = published(stage)
    (section,) = joined(stage)
    ((leaves, _, destination),) = stage.receive(publisher.rtcp, at(f"{A}:4001"), receiver_report())
    assert (leaves, destination) == (section.rtcp, at("198.51.100.11:6001"))


def test_the_reply_names_the_sources_and_the_subscriber() -> None:
    stage = Stage()
    published(stage)
    body = subscribe(stage, "p", to_tag="")
    assert list(body) == ["sdp", "from-tag", "from-tags", "to-tag", "result"]
    assert (body["from-tag"], body["from-tags"]) == ("p", ["p"])
    assert len(body["to-tag"]) >= 16


def test_one_section_for_each_media_of_the_sources_in_their_order() -> None:
    stage = Stage()
    first, second = published(stage, "bert"), published(stage, "ernie", sdp(B, 4002))
    to_ernie, to_bert = joined(stage, "ernie", "bert")
    assert stage.outputs(second.local) == [(to_ernie.local, at("198.51.100.11:6000"))]
    assert stage.outputs(first.local) == [(to_bert.local, at("198.51.100.11:6010"))]
    assert "from-tag" not in subscribe(stage, "ernie", "bert", to_tag="s2")


def test_a_join_and_a_leave_name_nobody_elses_output() -> None:
    stage = Stage()
    publisher = published(stage)
    outputs = {tag: joined(stage, to_tag=tag, port=port)[0] for tag, port in (("s1", 6000), ("s2", 6100))}
    (third,) = joined(stage, to_tag="s3", port=6200)
    on_rtp = [
        op for op in stage.ops() if isinstance(op, PutOutput | DropOutput | PutFlow) and _at(op) == publisher.local
    ]
    (join,) = on_rtp
    assert isinstance(join, PutOutput)
    assert (join.output.source, join.output.destination) == (third.local, at("198.51.100.11:6200"))
    leave(stage, "s2")
    on_rtp = [
        op for op in stage.ops() if isinstance(op, PutOutput | DropOutput | PutFlow) and _at(op) == publisher.local
    ]
    assert on_rtp == [DropOutput(publisher.local, outputs["s2"].local)]
    assert {op.local for op in stage.ops() if isinstance(op, DropFlow)} == {outputs["s2"].local, outputs["s2"].rtcp}


def _at(op: PutFlow | PutOutput | DropOutput) -> Endpoint:
    return op.flow.local if isinstance(op, PutFlow) else op.local


def test_a_subscriber_that_renews_keeps_port_and_ssrc_and_sees_a_newer_version() -> None:
    stage = Stage()
    publisher = published(stage)
    (before,) = joined(stage)
    (flow_before,) = stage.flow(publisher.local).outputs
    body = subscribe(stage, "p")
    (again,) = sections(body["sdp"])
    assert again.local == before.local
    assert stage.flow(publisher.local).outputs == (flow_before,)
    origin = read(SessionDescription.parse(body["sdp"])).origin
    assert origin.version == "2"


def test_a_subscriber_may_turn_to_another_source() -> None:
    stage = Stage()
    first, second = published(stage, "bert"), published(stage, "ernie", sdp(B, 4002))
    (section,) = joined(stage, "bert")
    subscribe(stage, "ernie")
    assert stage.outputs(first.local) == []
    assert stage.outputs(second.local) == [(section.local, at("198.51.100.11:6000"))]


def test_a_renewed_subscription_to_less_keeps_the_place_of_what_went() -> None:
    stage = Stage()
    published(stage, "bert")
    published(stage, "ernie", sdp(B, 4002))
    joined(stage, "bert", "ernie")
    kept, gone = sections(subscribe(stage, "bert")["sdp"])
    assert (kept.port != 0, gone.port) == (True, 0)
    assert len(stage.open) == 2 * 3


def test_a_subscriber_that_rejected_a_section_may_have_it_after_all() -> None:
    stage = Stage()
    publisher = published(stage)
    joined(stage, port=6000)
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp("198.51.100.11", media=("m=audio 0 RTP/AVP 0",)), to_tag=Tag("s1"))
    assert stage.outputs(publisher.local) == []
    (section,) = joined(stage, port=6000)
    assert stage.outputs(publisher.local) == [(section.local, at("198.51.100.11:6000"))]


def test_an_inactive_subscription_is_offered_as_such_and_gets_nothing_once_answered() -> None:
    stage = Stage()
    publisher = published(stage)
    joined(stage)
    (section,) = sections(subscribe(stage, "p", inactive=True)["sdp"])
    assert section.direction == "inactive"
    stage.ask(
        CommandName.SUBSCRIBE_ANSWER,
        sdp("198.51.100.11", media=("m=audio 6000 RTP/AVP 0", "a=inactive")),
        to_tag=Tag("s1"),
    )
    assert stage.outputs(publisher.local) == []


def test_a_running_call_can_be_subscribed_to_without_its_parties_noticing() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    before = stage.outputs(facing_a)
    to_a, to_b = joined(stage, "a", "b")
    assert (to_a.formats, to_b.formats) == (["0", "8"], ["0", "8"])
    sent = stage.receive(facing_a, at(f"{A}:4000"), rtp(1, ssrc=0xABCD))
    by_destination = {destination: packet for _, packet, destination in sent}
    assert by_destination.pop(at(f"{B}:4002")) == rtp(1, ssrc=0xABCD)
    assert list(by_destination) == [at("198.51.100.11:6000")]
    leave(stage, "s1")
    assert stage.outputs(facing_a) == before
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1))


@pytest.mark.parametrize(
    ("fields", "tags"),
    [({"all": "all"}, ["a", "b"]), ({"label": "left"}, ["a"]), ({"from_tag": Tag("b")}, ["b"])],
)
def test_sources_are_named_by_tag_label_or_all(fields: dict[str, Any], tags: list[str]) -> None:
    stage = Stage()
    stage.offer(sdp(A), label="left")
    stage.answer(sdp(B, 4002), label="right")
    assert subscribe(stage, **fields)["from-tags"] == tags


def test_subscribers_are_no_sources_of_all() -> None:
    stage = Stage()
    published(stage)
    joined(stage)
    assert subscribe(stage, to_tag="s2", all="all")["from-tags"] == ["p"]


def test_a_label_set_for_the_subscriber_is_its_own() -> None:
    stage = Stage()
    stage.offer(sdp(A), label="left")
    stage.answer(sdp(B, 4002))
    subscribe(stage, label="left", set_label="recorder")
    tags = stage.ask(CommandName.QUERY)["tags"]
    assert (tags["a"]["label"], tags["s1"]["label"]) == ("left", "recorder")


def test_the_interface_of_a_subscriber_may_be_chosen() -> None:
    stage = Stage()
    published(stage)
    (section,) = sections(subscribe(stage, "p", interface="inside")["sdp"])
    assert section.address == "203.0.113.9"
    assert {local.address for local in stage.open} == {RELAY, INSIDE}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_tag": Tag("nobody")}, "Unknown from-tag"),
        ({}, "No from-tag, label or 'all'"),
        ({"label": "none"}, "Nobody to subscribe to"),
        ({"from_tag": Tag("p"), "to_tag": Tag("p")}, "is taken"),
        ({"call_id": CallId("none")}, "Unknown call-id"),
    ],
)
def test_a_subscription_to_nothing_is_an_error(fields: dict[str, Any], reason: str) -> None:
    stage = Stage()
    published(stage)
    body = stage.ask(CommandName.SUBSCRIBE_REQUEST, **fields)
    assert body["result"] == "error"
    assert reason in body["error-reason"]
    assert len(stage.open) == 2


def test_an_answer_of_an_unknown_subscriber_is_an_error() -> None:
    stage = Stage()
    published(stage)
    assert stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(B), to_tag=Tag("none"))["result"] == "error"


def test_a_subscribers_address_is_checked_like_any_other() -> None:
    stage = Stage()
    published(stage)
    subscribe(stage, "p")
    body = stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp("127.0.0.1", 6000), to_tag=Tag("s1"))
    assert body["result"] == "error"


def test_unsubscribing_twice_is_no_error() -> None:
    stage = Stage()
    published(stage)
    joined(stage)
    assert leave(stage, "s1") == {"result": "ok"}
    assert len(stage.open) == 2
    assert leave(stage, "s1")["result"] == "ok"


def test_a_publisher_may_publish_again_from_another_address() -> None:
    stage = Stage()
    first = published(stage)
    (section,) = joined(stage)
    again = published(stage, text=sdp(A, 4040))
    assert again.local == first.local
    assert stage.receive(again.local, at(f"{A}:4040"), rtp(1))[0][0] == section.local


def test_as_many_subscribers_as_a_group_holds_and_not_one_more() -> None:
    stage = Stage()
    publisher = published(stage)
    stage.checking = False  # of all books after each of 512 commands
    for number in range(MAX_SUBSCRIBERS):
        joined(stage, to_tag=f"s{number}", port=10000 + 2 * number)
    stage.check()
    sent = stage.receive(publisher.local, at(f"{A}:4000"), rtp(1))
    assert len({destination for _, _, destination in sent}) == MAX_SUBSCRIBERS
    assert len({packet[8:12] for _, packet, _ in sent}) == MAX_SUBSCRIBERS
    refused = subscribe(stage, "p", to_tag="one too many")
    assert refused["result"] == "error"
    assert len(stage.flow(publisher.local).outputs) == MAX_SUBSCRIBERS
    assert stage.ports_used() == 2 * (MAX_SUBSCRIBERS + 1)
