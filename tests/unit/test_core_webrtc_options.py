"""What the options say of ICE and DTLS: who is offered them and answered with them, and that it works as it was said.

Browser --- STUN, DTLS, SRTP ---> Relay --- the same, or plain RTP ---> browser or phone at B
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rtprelay.security.dtls import DtlsRole
from rtprelay.signalling.command import IceOption
from rtprelay.values import Endpoint
from tests.unit.core_stage import A, B, Section, Stage, at, rtp, sdp, sections
from tests.unit.webrtc_stage import PHONE, Browser, run

PLAIN: dict[str, Any] = {"ice": IceOption.REMOVE, "transport_protocol": "RTP/AVP"}
CREDENTIALS = ("a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdefghijklmn")
CANDIDATE = f"a=candidate:1 1 UDP 2130706431 {A} 4000 typ host"


def with_ice(section: Section) -> bool:
    return section.attribute("ice-ufrag") is not None


def callee(kind: str = "audio") -> Browser:
    return Browser((kind,), at("198.51.100.11:50011"), seed=9)


def talk(stage: Stage, browser: Browser, local: Endpoint) -> None:
    ((_, data, destination),) = stage.receive(local, browser.endpoint, browser.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)


# --- ICE= ---


@pytest.mark.parametrize(
    ("word", "by_the_offerer", "offered_on"),
    [
        (IceOption.DEFAULT, True, True),
        (IceOption.DEFAULT, False, False),
        (IceOption.REMOVE, True, False),
        (IceOption.REMOVE, False, False),
        (IceOption.FORCE, True, True),
        (IceOption.FORCE, False, True),
        (IceOption.OPTIONAL, True, True),
        (IceOption.OPTIONAL, False, True),
        (IceOption.FORCE_RELAY, False, True),
    ],
)
def test_an_offer_has_ice_where_the_option_says_so(word: IceOption, by_the_offerer: bool, offered_on: bool) -> None:
    offer = sdp(A, 4000, *((*CREDENTIALS, CANDIDATE) if by_the_offerer else ()))
    (facing,) = Stage().offered(offer, ice=word)
    assert with_ice(facing) == offered_on
    types = {line.split()[7] for line in facing.lines if line.startswith("a=candidate:")}
    assert types == ({"relay" if word is IceOption.FORCE_RELAY else "host"} if offered_on else set())


def test_the_offerers_ice_is_not_answered_where_it_is_rejected() -> None:
    """Its packets are taken by their address, as those of anybody without ICE."""
    stage = Stage()
    (facing_callee,) = stage.offered(sdp(A, 4000, *CREDENTIALS, CANDIDATE), reject_ice=True, ice=IceOption.REMOVE)
    (facing_caller,) = stage.answered(sdp(B, 4002))
    assert not with_ice(facing_caller)
    assert stage.flow(facing_caller.local).expected == Endpoint(A, 4000)
    ((source, _, destination),) = stage.receive(facing_caller.local, Endpoint(A, 4000), rtp(1))
    assert (source, destination) == (facing_callee.local, PHONE)


# --- ICE-lite= ---


def lite(text: str) -> bool:
    return "\r\na=ice-lite\r\n" in text.split("m=")[0]


@pytest.mark.parametrize(
    ("word", "to_the_answerer", "to_the_offerer"),
    [(None, False, False), ("forward", True, False), ("backward", False, True), ("both", True, True)],
)
def test_the_relay_is_lite_towards_whom_it_is_said(
    word: str | None, to_the_answerer: bool, to_the_offerer: bool
) -> None:
    stage, one, other = Stage(), Browser(), callee()
    offer = stage.offer(one.sdp(), ice_lite=word)["sdp"]
    answer = stage.answer(other.sdp("active"))["sdp"]
    assert (lite(offer), lite(answer)) == (to_the_answerer, to_the_offerer)
    (facing_one,), (facing_other,) = sections(answer), sections(offer)
    # A full agent facing a lite one controls (RFC 8445 section 6.1.1), whoever offered.
    one.learn(facing_one, setup="passive", controlling=True, remote_lite=to_the_offerer)
    other.learn(facing_other, setup="active", controlling=to_the_answerer, remote_lite=to_the_answerer)
    run(stage, one, other)
    ((_, data, destination),) = stage.receive(facing_one.local, one.endpoint, one.protect(rtp(1)))
    assert (other.unprotect(data), destination) == (rtp(1), other.endpoint)


# --- DTLS= and what belongs to it ---


@pytest.mark.parametrize("name", ["sha-1", "sha-224", "sha-256", "sha-384", "sha-512"])
def test_the_fingerprint_is_by_the_hash_that_is_asked_for(name: str) -> None:
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp(), **PLAIN)
    (facing,) = stage.answered(sdp(B, 4002), dtls_fingerprint=name.upper())
    told = facing.attribute("fingerprint")
    assert told is not None
    assert told.split()[0] == name
    browser.learn(facing, setup="passive", controlling=True)
    run(stage, browser)
    talk(stage, browser, facing.local)


@pytest.mark.parametrize(
    ("offered", "said", "ours"),
    [
        ("actpass", None, DtlsRole.CLIENT),
        ("actpass", "active", DtlsRole.CLIENT),
        ("actpass", "passive", DtlsRole.SERVER),
        ("active", "active", DtlsRole.SERVER),
        ("passive", "passive", DtlsRole.CLIENT),
    ],
)
@pytest.mark.parametrize("where", ["DTLS-reverse in the offer", "DTLS in the answer"])
def test_our_role_is_the_one_that_is_asked_for_where_there_is_a_choice(
    offered: str, said: str | None, ours: DtlsRole, where: str
) -> None:
    stage, browser = Stage(), Browser()
    early = where == "DTLS-reverse in the offer"
    stage.offered(browser.sdp(offered), **PLAIN, **({"dtls_reverse": said} if early else {}))
    (facing,) = stage.answered(sdp(B, 4002), **({} if early else {"dtls": said}))
    assert facing.attribute("setup") == ours.value
    browser.learn(facing, setup="passive" if ours is DtlsRole.CLIENT else "active", controlling=True)
    run(stage, browser)
    talk(stage, browser, facing.local)


def test_no_dtls_is_offered_where_it_is_off() -> None:
    (facing,) = Stage().offered(sdp(A), transport_protocol="RTP/SAVP", dtls="off")
    assert facing.attribute("fingerprint") is None
    assert facing.attribute("crypto") is not None


def test_a_tls_id_may_be_left_out() -> None:
    (named,) = Stage().offered(sdp(A), transport_protocol="UDP/TLS/RTP/SAVP")
    (nameless,) = Stage().offered(sdp(A), transport_protocol="UDP/TLS/RTP/SAVP", no_tls_id=True)
    assert (named.attribute("tls-id") is None, nameless.attribute("tls-id")) == (False, None)


# --- what is a browser's own affair ---

OWN = (
    "a=rid:hi send",
    "a=rid:lo send",
    "a=simulcast:send hi;lo",
    "a=msid:stream track",
    "a=rtcp-fb:96 nack pli",
    "a=rtcp-fb:96 goog-remb",
    "a=rtcp-rsize",
    "a=ssrc-group:FID 1 2",
    "a=ssrc:1 cname:x",
    "a=ssrc:2 cname:x",
)


def told(section: Section, lines: Sequence[str]) -> list[str]:
    return sorted(line for line in section.lines if line in lines)


def test_lines_of_simulcast_streams_and_feedback_are_kept_from_browser_to_browser() -> None:
    stage, one, other = Stage(), Browser(("video",)), callee("video")
    (facing_other,) = stage.offered(one.sdp() + "".join(f"{line}\r\n" for line in OWN))
    assert told(facing_other, OWN) == sorted(OWN)
    back = [line.replace("send", "recv") for line in OWN if not line.startswith("a=ssrc")]
    (facing_one,) = stage.answered(other.sdp("active") + "".join(f"{line}\r\n" for line in back))
    assert told(facing_one, back) == sorted(back)
