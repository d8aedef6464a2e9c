"""What holds for every SDP: it comes back, hostile ones fail in one way only, rewriting touches what it owns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from rtprelay.errors import MalformedSdp
from rtprelay.sdp import document as documents_module
from rtprelay.sdp.attributes import DIRECTIONS, ICE_ATTRIBUTES
from rtprelay.sdp.build import MediaSpec, SessionSpec, build
from rtprelay.sdp.codecs import STATIC, Codec, choose, common, select
from rtprelay.sdp.document import Line, SessionDescription
from rtprelay.sdp.edit import Bundle, MediaEdit, SessionEdit, rewrite
from rtprelay.sdp.view import MediaView, SessionView, read

second_opinion: Callable[[str], dict[str, Any]] = importlib.import_module("sdp_transform").parse
"""An independent parser; it has no type annotations, hence not by an import statement."""

DATA = Path(__file__).parents[1] / "data" / "sdp"
CORPUS = [path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(DATA.glob("*.sdp"))]
CORPUS_LINES = sorted({line for text in CORPUS for line in text.splitlines(keepends=True)})

OWNED = {
    *("rtpmap", "fmtp", "rtcp-fb", "imageattr", "framesize", "rtcp", "rtcp-mux", "rtcp-mux-only", "bundle-only", "mid"),
    *("crypto", "setup", "fingerprint", "tls-id", "ptime"),
    *DIRECTIONS,
    *ICE_ATTRIBUTES,
}

text_of_a_line = st.text(st.characters(exclude_characters="\r\n\0"), max_size=40)
endings = st.sampled_from(["\r\n", "\n"])


@st.composite
def odd_lines(draw: st.DrawFn) -> str:
    """Anything that may stand between two line ends."""
    kind = draw(st.sampled_from(["", "a=", "b=", "c=", "i=", "k=", "m=", "o=", "X=", "m=audio 4000 RTP/AVP "]))
    return kind + draw(text_of_a_line) + draw(endings)


documents = st.lists(st.one_of(odd_lines(), st.sampled_from(CORPUS_LINES)), max_size=25).map(
    lambda lines: "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n" + "".join(lines)
)
addresses = st.sampled_from(["203.0.113.1", "2001:db8::1", "0.0.0.0"])
media_edits = st.builds(
    MediaEdit,
    port=st.none() | st.sampled_from([0, 30000]),
    address=addresses,
    rtcp_port=st.none() | st.just(30001),
    rtcp_full=st.booleans(),
    rtcp_mux=st.booleans(),
    direction=st.none() | st.sampled_from(sorted(DIRECTIONS)),
    protocol=st.none() | st.sampled_from(["RTP/AVP", "UDP/TLS/RTP/SAVPF"]),
    formats=st.none() | st.lists(st.sampled_from(["0", "8", "96", "101"]), unique=True, min_size=1).map(tuple),
    remove_ice=st.booleans(),
    remove_attributes=st.frozensets(st.sampled_from(["ssrc", "extmap", "label"])),
    mid=st.none() | st.just("7"),
    append=st.lists(st.sampled_from(["setup:actpass", "candidate:x", "ice-ufrag:u"]), unique=True).map(tuple),
)


def session_edit(data: st.DataObject, view: SessionView, strategy: st.SearchStrategy[MediaEdit]) -> SessionEdit:
    """An edit that fits: what is not RTP does not become it."""
    media = []
    for before in view.media:
        change = data.draw(strategy)
        media.append(change if before.is_rtp else msgspec.structs.replace(change, protocol=None))
    return SessionEdit(
        media=tuple(media),
        origin_address=data.draw(st.none() | addresses),
        session_name=data.draw(st.none() | st.just("rtprelay")),
        bundle=data.draw(st.sampled_from(Bundle)),
    )


def understood(document: SessionDescription) -> SessionView | None:
    try:
        return read(document)
    except MalformedSdp:
        return None


@given(st.text(max_size=300) | st.text(st.sampled_from("amcv=: \r\n\t0/1\udcff"), max_size=300))
def test_any_text_comes_back_or_is_malformed(text: str) -> None:
    for candidate in (text, "v=0\r\n" + text):
        try:
            document = SessionDescription.parse(candidate)
        except MalformedSdp:
            continue
        assert str(document) == candidate
        understood(document)


@given(documents)
def test_any_lines_come_back(text: str) -> None:
    assert str(SessionDescription.parse(text)) == text


@settings(max_examples=300)
@given(st.sampled_from(CORPUS), st.data())
def test_damaged_offers_fail_as_malformed_and_in_no_other_way(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        junk = data.draw(
            st.sampled_from(["", " ", "/", ":", "=", "\r\n", "\n", "-1", "99999999999", "\udc80", "٣", "a=rtcp:", "m="])
        )
        text = text[:start] + junk + text[end:]
    try:
        document = SessionDescription.parse(text)
        view = read(document)
        edit = MediaEdit(port=30000, address="203.0.113.1", rtcp_port=30001, remove_ice=True)
        result = rewrite(document, SessionEdit(media=(edit,) * len(document.media), origin_address="203.0.113.1"))
    except MalformedSdp:
        return
    again = read(SessionDescription.parse(result))
    assert [m.formats for m in again.media] == [m.formats for m in view.media]
    assert all(m.endpoint is not None and m.endpoint.port == 30000 for m in again.media)


@settings(max_examples=300)
@given(documents, st.data())
def test_rewriting_twice_is_rewriting_once(text: str, data: st.DataObject) -> None:
    document = SessionDescription.parse(text)
    view = understood(document)
    if view is None:
        return
    edit = session_edit(data, view, media_edits)
    once = rewrite(document, edit)
    assert rewrite(SessionDescription.parse(once), edit) == once


@settings(max_examples=300)
@given(documents, st.data())
def test_rewriting_keeps_every_line_it_does_not_own_in_order(text: str, data: st.DataObject) -> None:
    document = SessionDescription.parse(text)
    view = understood(document)
    if view is None:
        return
    edit = session_edit(data, view, media_edits | st.just(MediaEdit(keep=True)))
    result = SessionDescription.parse(rewrite(document, edit))
    assert len(result.media) == len(document.media)
    for before, after, change in zip(document.media, result.media, edit.media, strict=True):
        if change.keep:
            assert str(before) == str(after)
            continue
        for group in ("i", "not i"):
            foreign = (line for line in before.lines[1:] if (line.type == "i") == (group == "i"))
            written = iter([str(line) for line in after.lines[1:]])
            for line in foreign:
                if line.type != "c" and not owned(line, change):
                    assert str(line) in written, f"{line} is gone or out of order"


def owned(line: Line, change: MediaEdit) -> bool:
    name = line.name
    return line.type == "a" and (name in OWNED or name in change.remove_attributes or line.value in change.append)


def inherits(session: SessionView, media: MediaView) -> bool:
    """It muxes because the section that carries its bundle does (RFC 9143 section 7.1.3)."""
    return media.rtcp_mux and any(media.mid in bundle for bundle in session.bundles)


@settings(max_examples=200)
@given(documents, st.data())
def test_what_was_understood_is_understood_after_rewriting(text: str, data: st.DataObject) -> None:
    document = SessionDescription.parse(text)
    before = understood(document)
    if before is None:
        return
    edit = session_edit(data, before, media_edits)
    after = read(SessionDescription.parse(rewrite(document, edit)))
    for old, new, change in zip(before.media, after.media, edit.media, strict=True):
        assert new.port == (old.port if change.port is None else change.port)
        assert new.formats == (change.formats or old.formats)
        if new.port:
            assert new.direction == (change.direction or old.direction)
            assert new.connection_host == change.address
            assert new.rtcp_mux == change.rtcp_mux or inherits(after, new)
            if change.formats is None and change.protocol is None:
                assert new.codecs == old.codecs


@settings(max_examples=300)
@given(documents, st.data())
def test_what_is_remembered_is_what_would_be_found_anew(text: str, data: st.DataObject) -> None:
    with mock.patch.object(documents_module, "LONGEST", -1):
        fresh = SessionDescription.parse(text)
    view = understood(fresh)
    if view is None:
        return
    for edit in [session_edit(data, view, media_edits) for _ in range(2)]:
        expected = view, rewrite(fresh, edit)
        for _ in range(2):
            document = SessionDescription.parse(text)
            assert (read(document), rewrite(document, edit)) == expected


PLAIN = [text for text in CORPUS if "\n" not in text.replace("\r\n", "") and "\r\n\r\n" not in text]
"""The independent parser knows neither mixed line endings nor blank lines."""


@given(st.sampled_from(PLAIN), st.data())
def test_an_independent_parser_reads_the_same_meaning(text: str, data: st.DataObject) -> None:
    document = SessionDescription.parse(text)
    result = rewrite(document, session_edit(data, read(document), media_edits))
    ours, theirs = read(SessionDescription.parse(result)), second_opinion(result)
    assert theirs["origin"]["address"] == ours.origin.address
    assert len(theirs["media"]) == len(ours.media)
    for mine, other in zip(ours.media, theirs["media"], strict=True):
        assert (other["type"], other["port"], other["protocol"]) == (mine.kind, mine.port, mine.protocol)
        assert str(other["payloads"]) == " ".join(mine.formats)
        assert other["connection"]["ip"] == mine.connection_host
        assert str(other.get("mid", "")) == (mine.mid or "")
        if mine.port:
            assert other["direction"] == mine.direction
            assert ("rtcpMux" in other) == mine.rtcp_mux or inherits(ours, mine)
            named = [(c["payload"], c["codec"], c.get("rate"), c.get("encoding", 1)) for c in other["rtp"]]
            assert named == [(c.payload_type, c.name, c.clock_rate, c.channels) for c in mine.codecs if c.name]
            assert {f["payload"] for f in other["fmtp"]} == {c.payload_type for c in mine.codecs if c.fmtp}


codecs = st.lists(
    st.builds(
        Codec,
        payload_type=st.integers(96, 127),
        name=st.sampled_from(["opus", "VP8", "L16", "telephone-event"]),
        clock_rate=st.sampled_from([8000, 48000, 90000]),
        channels=st.integers(1, 2),
        fmtp=st.sampled_from(["", "a=1; b=2"]),
        feedback=st.sampled_from([(), ("nack", "nack pli")]),
    )
    | st.sampled_from(list(STATIC.values())),
    unique_by=lambda codec: codec.payload_type,
    max_size=6,
).map(tuple)
patterns = st.lists(st.sampled_from(["opus", "opus/48000/2", "L16/8000", "PCMU", "8", "all", "full", "x"]), max_size=3)


@given(codecs, st.sampled_from(["sendonly", "recvonly"]), addresses, st.booleans())
def test_what_is_built_reads_back(offered: tuple[Codec, ...], direction: str, address: str, mux: bool) -> None:
    spec = MediaSpec(
        kind="audio",
        port=30000,
        protocol="RTP/AVP",
        address=address,
        codecs=offered,
        direction=DIRECTIONS[direction],
        rtcp_port=30001,
        rtcp_mux=mux,
    )
    session = SessionSpec(address=address, session_id="1", version="2")
    (media,) = read(SessionDescription.parse(build(session, [spec]))).media
    assert media.codecs == offered
    assert media.direction == direction
    assert media.rtcp_mux is mux
    assert media.connection_host == address


@given(codecs, patterns, patterns, patterns, patterns)
def test_selecting_never_invents_and_never_repeats(
    offered: tuple[Codec, ...], strip: list[str], mask: list[str], offer: list[str], except_: list[str]
) -> None:
    left = select(offered, strip=strip, mask=mask, offer=offer, except_=except_)
    assert len(left) == len(set(left))
    assert set(left) <= set(offered)
    assert common(offered, left) == left
    chosen = choose(left, offer)
    assert chosen is None or chosen in left
