"""Sections one side is not shown (`sdp-media-remove`), through the life of a call.

A: audio, video, message --offer--> relay --> B: audio, message
A: audio, 0,     message <-answer-- relay <-- B: audio, message
"""

from __future__ import annotations

import pytest

from tests.unit.core_stage import A, B, Section, Stage, sdp

AUDIO, VIDEO, TEXT = "m=audio {} RTP/AVP 0", "m=video {} RTP/AVP 96", "m=text {} RTP/AVP 98"


def sections(*templates: str, base: int = 4000) -> tuple[str, ...]:
    return tuple(text.format(base + 2 * index) for index, text in enumerate(templates))


def shown(found: list[Section]) -> list[tuple[str, bool]]:
    """Kind of each section, and whether it is live."""
    return [(section.kind, section.port > 0) for section in found]


def asked(stage: Stage, *templates: str, **fields: object) -> list[tuple[str, bool]]:
    return shown(stage.offered(sdp(A, media=sections(*templates)), **fields))


def answered(stage: Stage, *templates: str, **fields: object) -> list[tuple[str, bool]]:
    return shown(stage.answered(sdp(B, media=sections(*templates, base=5000)), **fields))


def test_an_unwanted_section_is_not_shown_and_comes_back_rejected() -> None:
    stage = Stage()
    assert asked(stage, AUDIO, VIDEO, TEXT, sdp_media_remove=("video",)) == [("audio", True), ("text", True)]
    assert answered(stage, AUDIO, TEXT) == [("audio", True), ("video", False), ("text", True)]
    assert stage.ports_used() == 8


def test_each_section_goes_to_the_one_it_stands_for() -> None:
    stage = Stage()
    (text_to_b,) = stage.offered(sdp(A, media=sections(VIDEO, TEXT)), sdp_media_remove=("video",))
    _, text_to_a = stage.answered(sdp(B, media=sections(TEXT, base=5000)))
    assert [str(there) for _, there in stage.outputs(text_to_a.local)] == [f"{B}:5000"]
    assert [str(there) for _, there in stage.outputs(text_to_b.local)] == [f"{A}:4002"]


def test_who_was_not_shown_a_section_may_offer_without_it() -> None:
    stage = Stage()
    asked(stage, AUDIO, VIDEO, TEXT, sdp_media_remove=("video",))
    answered(stage, AUDIO, TEXT)
    back = {"from_tag": "b", "to_tag": "a"}
    towards_a = stage.offered(sdp(B, media=sections(AUDIO, TEXT, VIDEO, base=5000)), **back)
    assert shown(towards_a) == [("audio", True), ("video", False), ("text", True), ("video", True)]
    media = sections(AUDIO, VIDEO.replace("{}", "0"), TEXT, VIDEO)
    assert shown(stage.answered(sdp(A, media=media), **back)) == [("audio", True), ("text", True), ("video", True)]


def test_a_section_once_shown_is_rejected_not_taken_away() -> None:
    stage = Stage()
    asked(stage, AUDIO, VIDEO)
    answered(stage, AUDIO, VIDEO)
    again = asked(stage, AUDIO, VIDEO, to_tag="b", sdp_media_remove=("video",))
    assert again == [("audio", True), ("video", False)]


def test_the_last_sections_may_come_into_sight_later() -> None:
    stage = Stage()
    asked(stage, AUDIO, VIDEO, sdp_media_remove=("video",))
    answered(stage, AUDIO)
    assert asked(stage, AUDIO, VIDEO, to_tag="b") == [("audio", True), ("video", True)]


def test_a_section_before_another_stays_out_of_sight() -> None:
    stage = Stage()
    asked(stage, VIDEO, AUDIO, sdp_media_remove=("video",))
    answered(stage, AUDIO)
    assert asked(stage, VIDEO, AUDIO, to_tag="b") == [("audio", True)]
    assert answered(stage, AUDIO) == [("video", False), ("audio", True)]


def test_the_next_gateway_that_is_tried_has_seen_nothing_yet() -> None:
    stage = Stage()
    asked(stage, AUDIO, VIDEO)
    assert asked(stage, AUDIO, VIDEO, sdp_media_remove=("video",)) == [("audio", True)]
    assert answered(stage, AUDIO) == [("audio", True), ("video", False)]


def test_a_fork_has_seen_what_the_first_branch_has_seen() -> None:
    stage = Stage()
    asked(stage, VIDEO, AUDIO, sdp_media_remove=("video",))
    answered(stage, AUDIO)
    assert answered(stage, AUDIO, to_tag="c") == [("video", False), ("audio", True)]


@pytest.mark.parametrize(
    ("words", "left"),
    [(("other",), ["audio", "video"]), (("audio", "other"), ["video"]), (("Video",), ["audio", "hologram"])],
)
def test_other_stands_for_the_kinds_nobody_knows(words: tuple[str, ...], left: list[str]) -> None:
    stage = Stage()
    seen = asked(stage, AUDIO, VIDEO, "m=hologram {} RTP/AVP 99", sdp_media_remove=words)
    assert [kind for kind, _ in seen] == left


def test_a_restart_remembers_what_was_shown() -> None:
    stage = Stage()
    asked(stage, VIDEO, AUDIO, sdp_media_remove=("video",))
    stage.restart()
    assert answered(stage, AUDIO) == [("video", False), ("audio", True)]


def test_an_answer_without_a_line_ending_is_as_good() -> None:
    stage = Stage()
    asked(stage, "m=message 4000 TCP/MSRP *", VIDEO, sdp_media_remove=("video",))
    found = stage.answer(sdp(B, media=("m=message 5000 TCP/MSRP *", "a=path:msrp://x;tcp")).rstrip())["sdp"]
    assert [line for line in found.splitlines() if line.startswith(("m=", "a=path"))] == [
        "m=message 5000 TCP/MSRP *",
        "a=path:msrp://x;tcp",
        "m=video 0 RTP/AVP 0",
    ]
