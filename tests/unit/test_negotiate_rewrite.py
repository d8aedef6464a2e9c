"""The SDP passed on: what `replace` and the other flags make of it, beyond addresses and ports."""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import Origin, read
from rtprelay.signalling.command import IceOption, SdpReplace
from tests.unit.core_stage import RELAY, A, B, Stage, sdp, sections

VERSION = SdpReplace.SDP_VERSION


def origin(body: dict[str, str]) -> Origin:
    return read(SessionDescription.parse(body["sdp"])).origin


def line(body: dict[str, str], start: str) -> str:
    return next(text for text in body["sdp"].splitlines() if text.startswith(start))


def test_nothing_asked_nothing_replaced() -> None:
    assert line(Stage().offer(sdp(A, origin="al 5 6")), "o=") == f"o=al 5 6 IN IP4 {A}"


def test_the_origins_address_is_replaced_by_ours() -> None:
    assert line(Stage().offer(sdp(A), replace=SdpReplace.ORIGIN), "o=") == f"o=- 1 1 IN IP4 {RELAY}"


def test_the_session_connection_always_moves_into_the_sections() -> None:
    text = Stage().offer(sdp(A))["sdp"]
    before_media, _, rest = text.partition("m=")
    assert "c=" not in before_media
    assert f"c=IN IP4 {RELAY}" in rest


def test_username_and_session_name_stay_what_a_party_saw_first() -> None:
    stage = Stage()
    replace = SdpReplace.USERNAME | SdpReplace.SESSION_NAME
    stage.offer(sdp(A, origin="alice 1 1"), replace=replace)
    stage.answer(sdp(B, 4002), replace=replace)
    text = sdp(A, origin="other 7 8").replace("s=-", "s=new name")
    body = stage.offer(text, to_tag="b", replace=replace)
    assert line(body, "o=") == f"o=alice 7 8 IN IP4 {A}"
    assert line(body, "s=") == "s=-"


def test_the_version_grows_with_every_change_and_only_then() -> None:
    stage = Stage()
    versions = [
        origin(stage.offer(text, replace=VERSION)).version
        for text in (
            sdp(A, origin="- 1 5"),
            sdp(A, origin="- 1 9"),
            sdp(A, 4000, "a=sendonly", origin="- 1 9"),
            sdp(A, 4000, "a=sendonly", origin="- 1 3"),
        )
    ]
    assert versions == ["5", "5", "6", "6"]


def test_the_version_is_counted_for_each_side_alone() -> None:
    stage = Stage()
    assert origin(stage.offer(sdp(A, origin="- 1 5"), replace=VERSION)).version == "5"
    assert origin(stage.answer(sdp(B, 4002, origin="- 1 70"), replace=VERSION)).version == "70"
    assert origin(stage.offer(sdp(A, 4010, origin="- 1 6"), to_tag="b", replace=VERSION)).version == "5"
    assert origin(stage.offer(sdp(A, 4010, "a=inactive"), to_tag="b", replace=VERSION)).version == "6"


def test_the_version_can_be_made_to_grow_regardless() -> None:
    stage = Stage()
    versions = [origin(stage.offer(sdp(A), replace=SdpReplace.FORCE_INCREMENT_SDP_VERSION)).version for _ in range(3)]
    assert versions == ["1", "2", "3"]


@pytest.mark.parametrize("version", ["99999999999999999999", "x", "9" * 5000])
def test_a_version_that_is_no_number_starts_at_one(version: str) -> None:
    body = Stage().offer(sdp(A, origin=f"- 1 {version}"), replace=VERSION)
    assert origin(body).version == "1"


def test_origin_full_keeps_the_whole_line_of_the_first_sdp() -> None:
    stage = Stage()
    replace = SdpReplace.ORIGIN_FULL
    stage.offer(sdp(A, origin="al 5 6"), replace=replace)
    body = stage.offer(sdp(A, origin="bo 7 6"), replace=replace)
    assert line(body, "o=") == f"o=al 5 6 IN IP4 {RELAY}"


@pytest.mark.parametrize(
    ("flags", "rtcp"), [({"no_rtcp_attribute": True}, None), ({"full_rtcp_attribute": True}, f"IN IP4 {RELAY}")]
)
def test_the_rtcp_attribute_can_be_left_out_or_written_in_full(flags: dict[str, bool], rtcp: str | None) -> None:
    (section,) = Stage().offered(sdp(A), **flags)
    attribute = section.attribute("rtcp")
    assert attribute is None if rtcp is None else attribute is not None and attribute.endswith(rtcp)


def test_mids_are_generated_where_there_are_none() -> None:
    text = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 96", "a=mid:v"))
    assert [section.attribute("mid") for section in Stage().offered(text, generate_mid=True)] == ["1", "v"]
    assert [section.attribute("mid") for section in Stage().offered(text)] == [None, "v"]


def test_ice_is_removed_where_that_is_asked_for() -> None:
    lines = ("a=ice-ufrag:abcd", "a=ice-pwd:1234567890123456789012", "a=candidate:1 1 UDP 1 198.51.100.1 4000 typ host")
    text = Stage().offer(sdp(A, 4000, *lines), ice=IceOption.REMOVE)["sdp"]
    assert "ice" not in text
    assert "candidate" not in text


# --- transport ---


def test_the_transport_is_translated_both_ways_and_remembered() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A), transport_protocol="RTP/AVPF")
    (to_a,) = stage.answered(sdp(B, media=("m=audio 4002 RTP/AVPF 0",)))
    (again,) = stage.offered(sdp(A), to_tag="b")
    assert (to_b.protocol, to_a.protocol, again.protocol) == ("RTP/AVPF", "RTP/AVP", "RTP/AVPF")


def test_another_transport_in_the_answer_is_ignored_unless_accepted() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    other = sdp(B, media=("m=audio 4002 RTP/AVPF 0",))
    (ignored,) = stage.answered(other)
    (accepted,) = stage.answered(other, transport_protocol="accept")
    assert (ignored.protocol, accepted.protocol) == ("RTP/AVP", "RTP/AVPF")


def test_what_is_no_rtp_keeps_its_transport() -> None:
    (section,) = Stage().offered(sdp(A, media=("m=image 4000 udptl t38",)), transport_protocol="RTP/AVPF")
    assert section.protocol == "udptl"


# --- codecs ---


AUDIO = ("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")


@pytest.mark.parametrize(
    ("flags", "formats"),
    [
        ({"codec_strip": ("PCMU",)}, ["8", "101"]),
        ({"codec_strip": ("all",), "codec_except": ("PCMA",)}, ["8"]),
        ({"codec_offer": ("PCMA",)}, ["0", "8", "101"]),
        ({"codec_strip": ("all",), "codec_offer": ("telephone-event", "PCMA")}, ["101", "8"]),
        ({"codec_mask": ("telephone-event",)}, ["0", "8"]),
        ({"codec_strip": ("all",)}, ["0", "8", "101"]),
    ],
)
def test_codecs_are_stripped_and_ordered_in_offers(flags: dict[str, tuple[str, ...]], formats: list[str]) -> None:
    (section,) = Stage().offered(sdp(A, media=AUDIO), **flags)
    assert section.formats == formats
    assert ("a=fmtp:101 0-16" in section.lines) == ("101" in formats)


@pytest.mark.parametrize(
    ("offering", "answering"), [({"codec_strip": ("PCMU",)}, {}), ({}, {"codec_strip": ("PCMU",)})]
)
def test_what_is_stripped_is_in_no_answer(offering: dict[str, Any], answering: dict[str, Any]) -> None:
    stage = Stage()
    stage.offer(sdp(A), **offering)
    (section,) = stage.answered(sdp(B, 4002), **answering)
    assert section.formats == ["8"]


def test_an_answer_of_nothing_that_was_offered_is_left_to_the_offerer() -> None:
    stage = Stage()
    stage.offer(sdp(A), codec_strip=("PCMU",))
    (section,) = stage.answered(sdp(B, 4002, media=("m=audio 4002 RTP/AVP 0",)))
    assert section.formats == ["0"]


def test_a_section_without_codecs_may_be_rejected() -> None:
    (section,) = Stage().offered(sdp(A), codec_strip=("all",), allow_no_codec_media=True)
    assert section.port == 0


def test_codecs_are_reused_in_the_order_the_receiver_named_them() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    (section,) = stage.answered(sdp(B, 4002, media=("m=audio 4002 RTP/AVP 8 0",)), reuse_codecs=True)
    assert section.formats == ["0", "8"]
    (section,) = stage.offered(sdp(A), to_tag="b", reuse_codecs=True)
    assert section.formats == ["8", "0"]


def test_what_is_not_rewritten_comes_back_as_it_was() -> None:
    lines = ["a=ptime:20", "a=x-odd: something  here ", "b=AS:64"]
    body = Stage().offer(sdp(A, 4000, *lines))
    (section,) = sections(body["sdp"])
    assert all(text in section.lines for text in lines)


@pytest.mark.parametrize("ufrag", ["\udce1bcd", "ü", "x" * 257])
def test_credentials_that_fit_into_no_stun_message_are_no_ice(ufrag: str) -> None:
    credentials = (f"a=ice-ufrag:{ufrag}", "a=ice-pwd:0123456789abcdefghijklmn")
    (section,) = Stage().offered(sdp(A, 4000, *credentials))
    assert not [line for line in section.lines if line.startswith("a=ice-")]
    (section,) = Stage().offered(sdp(A, 4000, "a=ice-ufrag:abcd", credentials[1]))
    assert [line for line in section.lines if line.startswith("a=ice-ufrag:")]
