"""Descriptions made from scratch."""

from __future__ import annotations

import pytest

from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.build import MediaSpec, SessionSpec, build
from rtprelay.sdp.codecs import STATIC, Codec
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import read

SESSION = SessionSpec(address="192.0.2.116", session_id="157199773", version="118290456", name="rtprelay-0.1")
OPUS = Codec(96, "opus", 48000, 2, "useinbandfec=1")


def test_a_publish_answer_has_the_shape_of_the_wire_example() -> None:
    media = MediaSpec(
        kind="audio",
        port=33860,
        protocol="RTP/AVP",
        address="192.0.2.116",
        codecs=(STATIC[0],),
        direction=Direction.RECVONLY,
        rtcp_port=33861,
    )
    assert build(SESSION, (media,)) == (
        "v=0\r\no=- 157199773 118290456 IN IP4 192.0.2.116\r\ns=rtprelay-0.1\r\nt=0 0\r\n"
        "m=audio 33860 RTP/AVP 0\r\nc=IN IP4 192.0.2.116\r\na=rtpmap:0 PCMU/8000\r\na=recvonly\r\na=rtcp:33861\r\n"
    )


def test_a_browsers_subscribe_offer_has_the_shape_of_the_wire_example() -> None:
    media = MediaSpec(
        kind="audio",
        port=30232,
        protocol="UDP/TLS/RTP/SAVPF",
        address="2001:db8::1",
        codecs=(OPUS, STATIC[8]),
        attributes=("mid:0",),
        direction=Direction.SENDONLY,
        rtcp_port=30232,
        rtcp_mux=True,
        rtcp_full=True,
        append=("ice-ufrag:u", "ice-pwd:p", "setup:actpass", "fingerprint:sha-256 AA"),
        bandwidth=("AS:64",),
        ptime=20,
    )
    assert build(SESSION, (media,)).partition("m=")[2].splitlines() == [
        "audio 30232 UDP/TLS/RTP/SAVPF 96 8",
        "c=IN IP6 2001:db8::1",
        "b=AS:64",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:8 PCMA/8000",
        "a=mid:0",
        "a=sendonly",
        "a=rtcp:30232 IN IP6 2001:db8::1",
        "a=rtcp-mux",
        "a=setup:actpass",
        "a=fingerprint:sha-256 AA",
        "a=ptime:20",
        "a=ice-ufrag:u",
        "a=ice-pwd:p",
    ]


def test_what_is_built_reads_back() -> None:
    media = [
        MediaSpec(kind=kind, port=port, protocol="RTP/AVP", address="192.0.2.1", codecs=(OPUS,), rtcp_port=port + 1)
        for kind, port in (("audio", 30000), ("video", 30002))
    ]
    view = read(SessionDescription.parse(build(SESSION, media)))
    assert [(m.kind, m.port, m.codecs) for m in view.media] == [("audio", 30000, (OPUS,)), ("video", 30002, (OPUS,))]
    assert view.name == "rtprelay-0.1"
    assert view.origin.session_id == "157199773"


def test_a_rejected_section_is_an_m_line_with_an_address_only() -> None:
    media = MediaSpec(kind="image", port=0, protocol="udptl", address="192.0.2.1", formats=("t38",))
    assert build(SESSION, (media,)).endswith("t=0 0\r\nm=image 0 udptl t38\r\nc=IN IP4 192.0.2.1\r\n")


def test_text_that_would_forge_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="one SDP line"):
        SessionSpec(address="192.0.2.1", session_id="1", version="1", name="x\r\na=forged")
    with pytest.raises(ValueError, match="one SDP line"):
        MediaSpec(kind="audio", port=1, protocol="RTP/AVP\r\na=forged", address="192.0.2.1")
