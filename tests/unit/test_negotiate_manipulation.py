"""What operators have done to the SDP on its way: attributes, sections, packet times, single codecs, loops."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core_stage import B, Stage, sdp


def test_attributes_are_added_removed_and_substituted_per_kind_of_section() -> None:
    stage = Stage()
    changes = {
        "audio": {"add": ["x-added:1"], "remove": ["x-gone"], "substitute": [["sendrecv", "recvonly"]]},
        "none": {"add": ["x-session"]},
    }
    media = ("m=audio 4000 RTP/AVP 0", "a=x-gone", "a=x-stays", "m=video 4002 RTP/AVP 96", "a=x-gone")
    text = stage.offer(sdp(media=media), sdp_attr=changes)["sdp"]
    session, audio, video = text.split("m=")
    assert session.endswith("a=x-session\r\n")
    assert {"a=x-added:1", "a=x-stays", "a=recvonly"} <= set(audio.splitlines())
    assert not {"a=x-gone", "a=sendrecv"} & set(audio.splitlines())
    assert "a=x-gone" in video
    assert "a=x-added:1" not in video


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audio": ["add"]}, "sdp-attr: audio is no dictionary"),
        ({"audio": {"ad": ["x"]}}, "sdp-attr: audio: unknown change 'ad'"),
        ({"audio": {"substitute": [["x"]]}}, "sdp-attr: audio: substitute takes pairs"),
        ({"audio": {"add": ["x\r\nm=audio 9 RTP/AVP 0"]}}, "sdp-attr: audio: not texts of one line"),
        ({"audio": {"add": "x"}}, "sdp-attr: audio: not a list of at most 256"),
    ],
)
def test_changes_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    stage = Stage()
    assert stage.offer(sdp(), sdp_attr=changes) == {"result": "error", "error-reason": reason}
    assert stage.ports_used() == 0


@pytest.mark.parametrize("name", ["x-a", "x-a:b", "x-a:b c d"])
def test_an_attribute_is_meant_by_its_name_its_first_word_or_all_of_it(name: str) -> None:
    stage = Stage()
    media = ("m=audio 4000 RTP/AVP 0", "a=x-a:b c d", "a=x-ab:b c d")
    changed = stage.offer(sdp(media=media), sdp_attr={"audio": {"substitute": [name, "new:1"]}})["sdp"].splitlines()
    assert ("a=new:1" in changed, "a=x-a:b c d" in changed, "a=x-ab:b c d" in changed) == (True, False, True)
    removed = stage.offer(sdp(media=media), sdp_attr={"audio": {"remove": [name]}})["sdp"].splitlines()
    assert ("a=x-a:b c d" in removed, "a=x-ab:b c d" in removed) == (False, True)


def test_what_is_there_already_is_not_added_again() -> None:
    stage = Stage()
    media = ("m=audio 4000 RTP/AVP 0", "a=ptime:20")
    text = stage.offer(sdp(media=media), sdp_attr={"audio": {"add": ["ptime:20", "x-new", "x-new"]}})["sdp"]
    assert (text.count("a=ptime:20\r\n"), text.count("a=x-new\r\n")) == (1, 1)


def test_packet_times_are_asked_of_either_side() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(media=("m=audio 4000 RTP/AVP 0", "a=ptime:20")), ptime=30, ptime_reverse=40)
    (to_a,) = stage.answered(sdp(B, media=("m=audio 5000 RTP/AVP 0", "a=ptime:20")))
    assert (to_b.attribute("ptime"), to_a.attribute("ptime")) == ("30", "40")
    assert sum(line.startswith("a=ptime") for line in (*to_b.lines, *to_a.lines)) == 2


def test_a_single_codec_keeps_the_telephone_events() -> None:
    stage = Stage()
    media = ("m=audio 4000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000")
    stage.offered(sdp(media=media))
    (to_a,) = stage.answered(sdp(B, media=media), single_codec=True)
    assert to_a.formats == ["8", "101"]


def test_an_sdp_that_comes_back_is_left_alone() -> None:
    stage = Stage()
    once = stage.offer(sdp(), loop_protect=True)["sdp"]
    used = stage.ports_used()
    assert stage.offer(once, from_tag="other", loop_protect=True)["sdp"] == once
    assert stage.ports_used() == used
