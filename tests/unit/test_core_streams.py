"""Two media of a bundle with the same payload types: their streams are told apart by a=ssrc lines and by MIDs.

                         +-- mid 1 --> its port of the subscriber
Browser === one port ===>|
                         +-- mid 2 --> another
"""

from __future__ import annotations

import pytest

from rtprelay.core.streams import MAX_STREAMS
from rtprelay.signalling.command import CommandName, IceOption
from rtprelay.values import Endpoint, Tag
from tests.unit.core_stage import B, Section, Stage, rtp, sdp, sections
from tests.unit.webrtc_stage import Browser, run

CAMERA, SCREEN = Endpoint(B, 4012), Endpoint(B, 4022)
MIDS = {"1": CAMERA, "2": SCREEN}


def published(stage: Stage, browser: Browser, ssrcs: tuple[int, ...] = ()) -> Section:
    """To a subscriber with a port for each section. `ssrcs`: those the offer names, of the sections in their order."""
    offer = browser.sdp()
    for mid, ssrc in enumerate(ssrcs):
        offer = offer.replace(f"a=mid:{mid}\r\n", f"a=mid:{mid}\r\na=ssrc:{ssrc} cname:x\r\na=ssrc:{ssrc} msid:a b\r\n")
    body = stage.ask(CommandName.PUBLISH, offer, from_tag=Tag("p"), bundle=frozenset({"accept"}))
    facing, *_ = sections(body["sdp"])
    browser.learn(facing, setup="passive", controlling=True)
    run(stage, browser)
    stage.ask(
        CommandName.SUBSCRIBE_REQUEST,
        from_tags=(Tag("p"),),
        to_tag=Tag("s"),
        transport_protocol="RTP/AVP",
        ice=IceOption.REMOVE,
    )
    media = ("m=audio 4002 RTP/AVP 111", "m=video 4012 RTP/AVP 96", "m=video 4022 RTP/AVP 96")
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(B, media=media), to_tag=Tag("s"))
    return facing


def video(sequence: int, ssrc: int, mid: str | None = None) -> bytes:
    """`mid`: in header extension 1, as the offer has it."""
    packet = rtp(sequence, ssrc, payload_type=96)
    if mid is None:
        return packet
    element = bytes((1 << 4 | len(mid) - 1,)) + mid.encode()
    element += bytes(-len(element) % 4)
    extension = b"\xbe\xde" + (len(element) // 4).to_bytes(2) + element
    return bytes((packet[0] | 0x10,)) + packet[1:12] + extension + packet[12:]


def goes_to(stage: Stage, facing: Section, browser: Browser, packet: bytes) -> list[Endpoint]:
    return [to for _, _, to in stage.receive(facing.local, browser.endpoint, browser.protect(packet))]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def browser() -> Browser:
    return Browser(("audio", "video", "video"))


def test_streams_the_offer_names_go_their_ways_from_the_first_packet(stage: Stage, browser: Browser) -> None:
    facing = published(stage, browser, (10, 11, 12))
    assert goes_to(stage, facing, browser, video(1, 12)) == [SCREEN]
    assert goes_to(stage, facing, browser, video(1, 11)) == [CAMERA]
    assert goes_to(stage, facing, browser, rtp(1, 99, payload_type=111)) == [Endpoint(B, 4002)]


def test_a_stream_that_says_its_mid_is_known_from_then_on(stage: Stage, browser: Browser) -> None:
    facing = published(stage, browser)
    assert goes_to(stage, facing, browser, video(1, 7)) == []
    for ssrc, mid in ((7, "2"), (8, "1"), (9, "2")):
        assert goes_to(stage, facing, browser, video(2, ssrc, mid)) == [MIDS[mid]]
        assert goes_to(stage, facing, browser, video(3, ssrc)) == [MIDS[mid]]
    (call,) = stage.relay.registry.calls.values()
    assert [media.ssrcs for media in call.parties[1].medias] == [(), (8,), (7, 9)]


@pytest.mark.parametrize("mid", ["3", "0", "22", ""])
def test_a_mid_of_none_of_them_tells_nothing(stage: Stage, browser: Browser, mid: str) -> None:
    facing = published(stage, browser)
    packet = video(1, 7, mid or None)
    assert goes_to(stage, facing, browser, packet) == []


def test_what_is_not_authentic_names_no_stream(stage: Stage, browser: Browser) -> None:
    facing = published(stage, browser)
    forged = bytearray(browser.protect(video(1, 7, "2")))
    forged[-1] ^= 1
    assert stage.receive(facing.local, browser.endpoint, bytes(forged)) == []
    assert goes_to(stage, facing, browser, video(2, 7)) == []


def test_the_answer_to_the_offer_asks_for_mids_where_they_are_needed(stage: Stage, browser: Browser) -> None:
    needed = stage.ask(CommandName.PUBLISH, browser.sdp(), from_tag=Tag("p"), bundle=frozenset({"accept"}))
    assert needed["sdp"].count("a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n") == 3
    plain = Stage().ask(
        CommandName.PUBLISH, Browser(("audio", "video")).sdp(), from_tag=Tag("p"), bundle=frozenset({"accept"})
    )
    assert "extmap" not in plain["sdp"]


def test_the_streams_of_one_section_are_bounded(stage: Stage, browser: Browser) -> None:
    facing = published(stage, browser)
    for ssrc in range(100, 100 + MAX_STREAMS + 4):
        assert goes_to(stage, facing, browser, video(1, ssrc, "1")) == [CAMERA]
    (call,) = stage.relay.registry.calls.values()
    assert call.parties[1].medias[1].ssrcs == tuple(range(104, 104 + MAX_STREAMS))
