"""Matching and choosing codecs."""

from __future__ import annotations

import pytest

from rtprelay.sdp.codecs import STATIC, Codec, choose, common, matches, select

OPUS = Codec(96, "opus", 48000, 2, "useinbandfec=1")
PCMU, PCMA, G722 = STATIC[0], STATIC[8], STATIC[9]
EVENTS = Codec(101, "telephone-event", 8000)
OFFER = (OPUS, G722, PCMA, PCMU, EVENTS)


@pytest.mark.parametrize(
    ("wanted", "matched"),
    [
        ("opus", True),
        ("OPUS", True),
        ("opus/48000/2", True),
        ("opus/48000", False),
        ("opus/48000/1", False),
        ("opus/16000/2", False),
        ("opus/48000/2/32000", True),
        ("96", True),
        ("97", False),
        ("opu", False),
        ("", False),
        ("/", False),
    ],
)
def test_a_codec_is_named_by_name_format_or_payload_type(wanted: str, matched: bool) -> None:
    assert matches(OPUS, wanted) is matched


def test_a_clock_rate_alone_means_one_channel() -> None:
    assert matches(PCMA, "pcma/8000")
    assert matches(PCMA, "PCMA/8000/1")


def test_nothing_asked_changes_nothing() -> None:
    assert select(OFFER) == OFFER


def test_strip_and_mask_remove_what_they_name() -> None:
    assert select(OFFER, strip=("opus", "g722"), mask=("PCMU",)) == (PCMA, EVENTS)


def test_all_is_stripped_but_what_is_offered_or_excepted() -> None:
    assert select(OFFER, strip=("all",), except_=("PCMU", "opus")) == (OPUS, PCMU)
    assert select(OFFER, mask=("full",), except_=("PCMU",)) == (PCMU,)


def test_offer_orders_where_it_picks() -> None:
    assert select(OFFER, offer=("PCMU", "PCMA")) == OFFER
    assert select(OFFER, strip=("all",), offer=("PCMU", "opus")) == (PCMU, OPUS)


def test_what_was_not_offered_is_not_added() -> None:
    assert select(OFFER, strip=("all",), offer=("G729", "PCMA")) == (PCMA,)


def test_what_is_stripped_by_name_is_spared_by_offer_but_not_by_except() -> None:
    assert select(OFFER, strip=("PCMU", "PCMA"), offer=("PCMA",)) == (OPUS, G722, PCMA, EVENTS)
    assert select(OFFER, strip=("all", "PCMA"), except_=("PCMA", "PCMU")) == (PCMU,)


def test_everything_may_be_stripped() -> None:
    assert select(OFFER, strip=("all",)) == ()


def test_retransmission_goes_with_the_codec_it_repairs() -> None:
    vp8, vp8_rtx = Codec(96, "VP8", 90000), Codec(97, "rtx", 90000, fmtp="apt=96")
    h264, h264_rtx = Codec(102, "H264", 90000), Codec(103, "rtx", 90000, fmtp="rtx-time=200; apt=102")
    assert select((vp8, vp8_rtx, h264, h264_rtx), strip=("VP8",)) == (h264, h264_rtx)


def test_a_publisher_is_answered_with_the_codec_preferred_most() -> None:
    assert choose(OFFER, ("speex", "PCMU", "opus")) == PCMU


def test_a_publisher_is_answered_with_its_first_media_codec_by_default() -> None:
    assert choose((EVENTS, PCMA, PCMU)) == PCMA
    assert choose(OFFER, ("speex",)) == OPUS
    assert choose((EVENTS,)) is None
    assert choose(()) is None


def test_an_answer_counts_as_far_as_it_was_offered_whatever_the_payload_type() -> None:
    answered = (Codec(111, "OPUS", 48000, 2), PCMU, Codec(97, "iLBC", 8000), Codec(98, "opus", 48000))
    assert common(OFFER, answered) == (Codec(111, "OPUS", 48000, 2), PCMU)


def test_nameless_codecs_are_the_same_by_payload_type_only() -> None:
    assert common((Codec(99, "", 0),), (Codec(99, "", 0), Codec(98, "", 0), PCMU)) == (Codec(99, "", 0),)


def test_a_codec_writes_its_attributes() -> None:
    video = Codec(96, "VP8", 90000, fmtp="max-fr=30", feedback=("nack", "nack pli"))
    assert video.attributes() == ("rtpmap:96 VP8/90000", "fmtp:96 max-fr=30", "rtcp-fb:96 nack", "rtcp-fb:96 nack pli")
    assert OPUS.rtpmap == "opus/48000/2"
    assert Codec(99, "", 0).attributes() == ()
