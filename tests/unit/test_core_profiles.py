"""Every RTP profile towards every other: what each side is shown, and that packets of both find their way.

A, speaking one profile ---> Relay ---> B, speaking another
"""

from __future__ import annotations

import pytest

from rtprelay.signalling.flags import PROTOCOLS
from tests.unit.core_stage import A, B, Section, Stage, sdp
from tests.unit.webrtc_stage import FINGERPRINT

_KEY = "AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"


def dtls(protocol: str) -> bool:
    return protocol.startswith("UDP/TLS/")


def sdes(protocol: str) -> bool:
    return "SAVP" in protocol and not dtls(protocol)


def feedback(protocol: str) -> bool:
    return protocol.endswith("AVPF")


def description(address: str, protocol: str, setup: str, *, crypto_tag: str = "1") -> str:
    lines = [f"m=audio 4000 {protocol} 0"]
    if sdes(protocol):
        lines.append(f"a=crypto:{crypto_tag} {_KEY}")
    if dtls(protocol):
        lines += [f"a=setup:{setup}", f"a=fingerprint:sha-256 {FINGERPRINT}"]
    if feedback(protocol):
        lines.append("a=rtcp-fb:0 nack")
    return sdp(address, media=lines)


def shows(section: Section, protocol: str, from_protocol: str, *, offering: bool) -> None:
    """An offer leaves the choice between SDES and DTLS where the profile does; an answer has one."""
    by_dtls = "SAVP" in protocol if offering else dtls(protocol)
    assert section.protocol == protocol
    assert (section.attribute("crypto") is not None) == sdes(protocol)
    assert (section.attribute("fingerprint") is not None) == by_dtls
    assert section.attribute("setup") == (("actpass" if offering else "active") if by_dtls else None)
    assert (section.attribute("rtcp-fb") is not None) == (feedback(protocol) and feedback(from_protocol))


def tag_of(section: Section) -> str:
    """Of the offered line with the suite we answer."""
    lines = (line.removeprefix("a=crypto:").split() for line in section.lines if line.startswith("a=crypto:"))
    return next((fields[0] for fields in lines if fields[1] in _KEY), "1")


@pytest.mark.parametrize("one", PROTOCOLS)
@pytest.mark.parametrize("other", PROTOCOLS)
def test_each_profile_towards_each(one: str, other: str) -> None:
    stage = Stage()
    (facing_b,) = stage.offered(description(A, one, "actpass"), transport_protocol=other)
    shows(facing_b, other, one, offering=True)
    (facing_a,) = stage.answered(description(B, other, "active", crypto_tag=tag_of(facing_b)))
    shows(facing_a, one, other, offering=False)
    for local, protocol in ((facing_a.local, one), (facing_b.local, other)):
        assert (stage.flow(local).srtp is not None) == sdes(protocol)
    keyed = not dtls(one) and not dtls(other)
    assert bool(stage.flow(facing_a.local).outputs) == keyed, "without keys nothing leaves"
