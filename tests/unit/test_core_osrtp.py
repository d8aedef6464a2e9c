"""Opportunistic SRTP (RFC 8643): keys in plain RTP/AVP, taken only where somebody at the other end takes ours.

A: RTP/AVP, keys --offer--> relay --> B: RTP/AVP, keys of ours
"""

from __future__ import annotations

import pytest

from rtprelay.plan.flow import Flow
from tests.unit.core_stage import A, B, Section, Stage, sdp

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEYED = ("m=audio 4000 RTP/AVP 0", f"a=crypto:1 {SUITE} inline:{'A' * 40}")


def answer_of(shown: Section, keyed: bool) -> tuple[str, ...]:
    tag = next(line.split(":")[1].split()[0] for line in shown.lines if f" {SUITE} " in line)
    return ("m=audio 5000 RTP/AVP 0", *((f"a=crypto:{tag} {SUITE} inline:{'B' * 39}A",) if keyed else ()))


def flows(stage: Stage, *sections: Section) -> list[Flow]:
    return [stage.flow(section.local) for section in sections]


@pytest.mark.parametrize("keyed", [True, False], ids=["answered with keys", "answered without"])
def test_keys_pass_from_one_side_to_the_other(keyed: bool) -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, media=KEYED), dtls="off")
    (to_a,) = stage.answered(sdp(B, media=answer_of(to_b, keyed)), dtls="off")
    assert (to_a.attribute("crypto") is not None) == keyed
    assert [flow.srtp is not None for flow in flows(stage, to_a, to_b)] == [keyed, keyed]


def test_the_relay_may_take_keys_that_the_other_side_does_not_know() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, media=KEYED), dtls="off")
    (to_a,) = stage.answered(sdp(B, media=answer_of(to_b, False)), dtls="off", osrtp=frozenset({"accept"}))
    assert [flow.srtp is not None for flow in flows(stage, to_a, to_b)] == [True, False]


def test_a_refusal_takes_back_what_was_agreed_before() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, media=KEYED), dtls="off")
    stage.answered(sdp(B, media=answer_of(to_b, True)), dtls="off")
    (to_b,) = stage.offered(sdp(A, media=KEYED), dtls="off", to_tag="b")
    (to_a,) = stage.answered(sdp(B, media=answer_of(to_b, False)), dtls="off")
    assert [flow.srtp for flow in flows(stage, to_a, to_b)] == [None, None]


def test_where_a_plain_profile_is_asked_for_the_legs_go_their_own_ways() -> None:
    stage = Stage()
    (to_b,) = stage.offered(sdp(A, media=KEYED), dtls="off", transport_protocol="RTP/AVP")
    assert to_b.attribute("crypto") is None
    (to_a,) = stage.answered(sdp(B, media=("m=audio 5000 RTP/AVP 0",)), dtls="off")
    assert [flow.srtp is not None for flow in flows(stage, to_a, to_b)] == [True, False]


def test_fax_has_no_keys() -> None:
    stage = Stage()
    media = ("m=audio 4000 RTP/AVP 0", "m=image 4002 udptl t38")
    audio, fax = stage.offered(sdp(A, media=media), dtls="off", osrtp=frozenset({"offer"}))
    assert audio.attribute("crypto") is not None
    assert fax.attribute("crypto") is None
