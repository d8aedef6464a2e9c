"""SDPs that come again with other addresses and ports: what they mean is what the rules say of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import MalformedSdp
from rtprelay.sdp import description
from rtprelay.sdp.description import understand
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import SessionView, read
from rtprelay.sdp.wording import LONGEST, take_apart

PHONE = (
    "v=0\r\no=- 3879102 1 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:4001 IN IP4 192.0.2.1\r\na=sendrecv\r\n"
    "m=video 4002 RTP/AVP 96\r\nc=IN IP6 2001:db8::1\r\na=rtpmap:96 H264/90000\r\n"
)
DATA = Path(__file__).parent.parent / "data" / "sdp"
TEXTS = (PHONE, *(path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(DATA.glob("*.sdp"))))


def by_the_rules(text: str) -> SessionView | str:
    try:
        return read(SessionDescription.parse(text))
    except MalformedSdp as error:
        return error.reason


def understood(text: str) -> SessionView | str:
    try:
        described = understand(text)
    except MalformedSdp as error:
        return error.reason
    assert str(described.document) == text
    return described.view


@pytest.fixture
def read_by_rules(monkeypatch: pytest.MonkeyPatch) -> list[SessionDescription]:
    seen: list[SessionDescription] = []

    def noted(document: SessionDescription) -> SessionView:
        seen.append(document)
        return read(document)

    monkeypatch.setattr(description, "read", noted)
    return seen


def test_a_wording_is_read_once(read_by_rules: list[SessionDescription]) -> None:
    text = PHONE.replace("a=sendrecv", "a=sendonly")
    understand(text)
    assert len(read_by_rules) == 1
    again = text.replace("3879102 1", "7 8").replace("192.0.2.1", "198.51.100.77").replace("4000", "65534")
    again = again.replace("2001:db8::1", "2001:DB8:0::2").replace("rtcp:4001 IN IP4 198.51.100.77", "rtcp:5555")
    assert understood(again) == by_the_rules(again)
    assert len(read_by_rules) == 1


CHANGES = {
    "port 0": ("audio 4000", "audio 0"),
    "no port": ("audio 4000", "audio 65536"),
    "the last port": ("audio 4000", "audio 65535"),
    "several ports": ("audio 4000", "audio 4000/2"),
    "leading zero": ("audio 4000", "audio 04000"),
    "no address": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call\r\nc=IN IP4 192.0.2.300"),
    "a name of hexadecimal digits": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call\r\nc=IN IP4 cafe.de"),
    "a name": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call\r\nc=IN IP4 gateway.example.org"),
    "a name in a section": ("c=IN IP6 2001:db8::1", "c=IN IP4 gateway.example.org"),
    "an address with a TTL": ("c=IN IP6 2001:db8::1", "c=IN IP4 192.0.2.9/127"),
    "lower case": ("c=IN IP6 2001:db8::1", "c=in ip6 2001:db8::2"),
    "more space": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call\r\nc=IN IP4  192.0.2.1"),
    "hold": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call\r\nc=IN IP4 0.0.0.0"),
    "no c=": ("s=call\r\nc=IN IP4 192.0.2.1", "s=call"),
    "c= further down": ("c=IN IP4 192.0.2.1\r\nt=0 0", "t=0 0\r\nc=IN IP4 192.0.2.2"),
    "c= below others in a section": ("a=sendrecv", "a=sendrecv\r\nc=IN IP4 192.0.2.3"),
    "another o=": ("t=0 0", "t=0 0\r\no=- 1 1 IN IP4 192.0.2.9"),
    "five fields": ("o=- ", "o="),
    "rtcp 0": ("rtcp:4001 IN IP4 192.0.2.1", "rtcp:0"),
    "no rtcp port": ("rtcp:4001", "rtcp:70000"),
    "no rtcp address": ("rtcp:4001 IN IP4 192.0.2.1", "rtcp:4001 IN IP4 192.0.2"),
    "rtcp of two fields": ("rtcp:4001 IN IP4 192.0.2.1", "rtcp:4001 IN"),
    "rtcp said twice": ("a=sendrecv", "a=rtcp:77\r\na=sendrecv"),
    "rtcp within another line": ("a=rtpmap:101", "a=fmtp:0 a=rtcp:9\r\na=rtpmap:101"),
    "multiplexed": ("a=sendrecv", "a=rtcp-mux"),
    "line feeds alone": ("\r\n", "\n"),
    "line feeds here and there": ("call\r\n", "call\n"),
    "NUL in o=": ("3879102", "38\x00102"),
    "NUL in a line": ("s=call", "s=ca\x00ll"),
    "carriage return in a line": ("a=sendrecv", "a=sendrecv\rx"),
    "bundled": ("t=0 0", "t=0 0\r\na=group:BUNDLE 0 1"),
    "streams": ("a=sendrecv", "a=ssrc:7 cname:x\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid"),
    "no line below m=": ("a=rtpmap:96 H264/90000\r\n", ""),
    "no end of line": ("H264/90000\r\n", "H264/90000"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_text_means_what_the_rules_say_whatever_was_understood_before(change: tuple[str, str]) -> None:
    assert change[0] in PHONE
    text = PHONE.replace(*change)
    other = text.replace("audio 4000", "audio 6000").replace("192.0.2.1", "198.51.100.1").replace("4001", "6001")
    for each in (PHONE, other, text, other, PHONE):
        assert understood(each) == by_the_rules(each)


@pytest.mark.parametrize("more", ["a=x:" + "y" * LONGEST, "a=crypto:1 AES_CM_128_HMAC_SHA1_80", "a=ice-ufrag:8hhY"])
def test_texts_that_are_long_or_have_keys_have_no_wording(more: str) -> None:
    assert take_apart(PHONE) is not None
    assert take_apart(PHONE + more) is None


@given(st.sampled_from(TEXTS), st.data())
def test_mutated_texts_mean_what_the_rules_say(text: str, data: st.DataObject) -> None:
    understood(text)
    places = [found.span() for found in re.finditer(r"[0-9]+|[a-z]=|\r?\n|:", text)]
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = data.draw(st.sampled_from(places))
        text = (
            text[:start] + data.draw(st.sampled_from(["", "0", "9", "65535", ".", ":", "\r", "\n", "\0"])) + text[end:]
        )
    assert understood(text) == by_the_rules(text)
    assert understood(text) == by_the_rules(text)
