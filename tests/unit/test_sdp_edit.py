"""Rewriting: the shape of the result, what moves, what goes and what is not touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from rtprelay.errors import MalformedSdp
from rtprelay.sdp.document import Section, SessionDescription
from rtprelay.sdp.edit import Bundle, MediaEdit, SessionEdit, rewrite
from rtprelay.sdp.view import read

DATA = Path(__file__).parents[1] / "data" / "sdp"
NAMES = sorted(path.name.removesuffix(".edit.json") for path in DATA.glob("*.edit.json"))
RECORDED = sorted(path.stem for path in (DATA / "rtpengine-10.5").glob("*.sdp"))
OURS = MediaEdit(port=30000, address="203.0.113.1", rtcp_port=30001, remove_ice=True)


def load(name: str) -> str:
    return (DATA / f"{name}.sdp").read_bytes().decode("utf-8", "surrogateescape")


def edited(text: str, *media: MediaEdit, bundle: Bundle = Bundle.KEEP) -> str:
    return rewrite(SessionDescription.parse(text), SessionEdit(media=media, bundle=bundle))


def session(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in ("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", *lines))


@pytest.mark.parametrize("name", NAMES)
def test_real_offers_are_rewritten_as_expected(name: str) -> None:
    edit = msgspec.json.decode((DATA / f"{name}.edit.json").read_bytes(), type=SessionEdit)
    text = rewrite(SessionDescription.parse(load(name)), edit)
    assert text == load(f"{name}.expected")
    assert rewrite(SessionDescription.parse(text), edit) == text


def test_the_wire_example_of_rtpengine_26_comes_out_to_the_byte() -> None:
    offer = (
        "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=t\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n"
    )
    assert edited(offer, MediaEdit(port=32268, address="203.0.113.1", rtcp_port=32269, remove_ice=True)) == (
        "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=t\r\nt=0 0\r\nm=audio 32268 RTP/AVP 0 8\r\nc=IN IP4 203.0.113.1\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\na=rtcp:32269\r\n"
    )


@pytest.mark.parametrize("name", RECORDED)
def test_the_lines_are_those_of_rtpengine(name: str) -> None:
    """10.5 writes them in another order and leaves `c=` in the session; 26.0 moved it, and so do we."""
    recorded = SessionDescription.parse(load(f"rtpengine-10.5/{name}"))
    theirs = read(recorded)
    edits = []
    for media in theirs.media:
        rtcp = media.rtcp_fallback if media.is_rtp else None
        edits.append(
            MediaEdit(port=0, formats=media.formats, remove_attributes=frozenset({"rtpmap", "fmtp"}))
            if media.rejected
            else MediaEdit(
                port=media.port,
                address=media.connection_host,
                rtcp_port=rtcp.port if rtcp else None,
                rtcp_mux=media.rtcp_mux,
                protocol=media.protocol,
                remove_ice=True,
                remove_attributes=frozenset({"crypto", "setup", "fingerprint"}),
            )
        )
    ours = SessionDescription.parse(edited(load(name), *edits, bundle=Bundle.REMOVE))
    for mine, yours in zip(ours.media, recorded.media, strict=True):
        assert lines_but_connection(mine) == lines_but_connection(yours)
    assert lines_but_connection(ours.session) == lines_but_connection(recorded.session)
    assert [media.endpoint for media in read(ours).media] == [media.endpoint for media in theirs.media]


def lines_but_connection(section: Section) -> Counter[str]:
    return Counter(line.text for line in section.lines if line.type != "c")


def test_a_kept_section_comes_back_byte_for_byte_with_what_it_takes_from_the_session() -> None:
    text = session("c=IN IP4 192.0.2.1", "a=sendonly", "m=audio 1 RTP/AVP  0 ", "m=video 2 RTP/AVP 31")
    result = edited(text, MediaEdit(keep=True), OURS)
    assert "m=audio 1 RTP/AVP  0 \r\nm=video 30000" in result
    assert "c=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio" in result
    before, after = read(SessionDescription.parse(text)).media[0], read(SessionDescription.parse(result)).media[0]
    assert before == after


def test_nothing_changes_when_all_is_kept() -> None:
    text = load("odd-lines")
    assert edited(text, MediaEdit(keep=True)) == text


def test_a_kept_rejected_section_does_not_hold_back_the_sessions_address() -> None:
    text = session("c=IN IP4 192.0.2.1", "m=audio 1 RTP/AVP 0", "m=video 0 RTP/AVP 31")
    assert "192.0.2.1\r\n" not in edited(text, OURS, MediaEdit(keep=True)).partition("\r\n")[2].partition("s=-")[2]


def test_without_an_address_the_sessions_c_line_is_copied_down() -> None:
    result = edited(session("c=IN IP4 192.0.2.1", "m=audio 1 RTP/AVP 0"), MediaEdit())
    assert result.endswith("s=-\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n")


def test_a_rejected_section_names_our_address_and_gives_away_no_key_and_no_candidate() -> None:
    text = session(
        "c=IN IP4 192.0.2.1",
        "m=audio 1 RTP/AVP 0",
        "m=video 2 RTP/SAVP 31",
        "a=crypto:1 x inline:y",
        "a=candidate:z",
        "a=foo",
    )
    assert edited(text, OURS, MediaEdit(port=0)).endswith("m=video 0 RTP/SAVP 31\r\nc=IN IP4 203.0.113.1\r\na=foo\r\n")


def test_the_sessions_ice_goes_when_no_live_section_keeps_its_own() -> None:
    text = session("a=ice-lite", "a=ice-ufrag:u", "m=audio 1 RTP/AVP 0", "c=IN IP4 192.0.2.1", "m=video 2 RTP/AVP 31")
    assert "ice" not in edited(text, OURS, MediaEdit(port=0))
    assert "a=ice-lite\r\na=ice-ufrag:u\r\n" in edited(text, OURS, MediaEdit(port=2, address="203.0.113.1"))


def test_only_the_bundle_group_goes() -> None:
    text = session("a=group:LS 0 1", "a=group:BUNDLE 0 1", "m=audio 1 RTP/AVP 0", "a=bundle-only")
    result = edited(text, OURS, bundle=Bundle.REMOVE)
    assert "a=group:LS 0 1\r\n" in result
    assert "BUNDLE" not in result
    assert "bundle-only" not in result
    assert "a=group:BUNDLE 0 1\r\n" in edited(text, OURS)


def test_formats_take_their_lines_with_them() -> None:
    text = session(
        "m=video 1 RTP/AVPF 96 97 98",
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=rtpmap:98 H264/90000",
        "a=rtcp-fb:98 nack",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:* nack pli",
        "a=imageattr:96 send *",
    )
    assert edited(text, MediaEdit(formats=("98", "8"))).partition("m=")[2] == (
        "video 1 RTP/AVPF 98 8\r\na=rtpmap:98 H264/90000\r\na=rtcp-fb:98 nack\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtcp-fb:* nack pli\r\na=sendrecv\r\n"
    )


def test_lines_of_a_payload_type_nobody_lists_are_kept() -> None:
    result = edited(session("m=audio 1 RTP/AVP 0", "a=rtpmap:99 x/1", "a=fmtp:nonsense"), MediaEdit())
    assert "a=rtpmap:0 PCMU/8000\r\na=rtpmap:99 x/1\r\na=fmtp:nonsense\r\n" in result


def test_keys_ptime_and_ice_end_the_section_in_that_order_whoever_wrote_them() -> None:
    text = session("m=audio 1 RTP/SAVP 0", "a=ptime:20", "a=candidate:1", "a=crypto:1 a", "a=foo")
    result = edited(text, MediaEdit(rtcp_port=2, rtcp_mux=True, append=("ice-ufrag:u", "setup:actpass")))
    assert result.partition("PCMU/8000\r\n")[2].split() == [
        "a=foo",
        "a=sendrecv",
        "a=rtcp:2",
        "a=rtcp-mux",
        "a=crypto:1",
        "a",
        "a=setup:actpass",
        "a=ptime:20",
        "a=candidate:1",
        "a=ice-ufrag:u",
    ]


def test_the_senders_rtcp_attributes_do_not_survive() -> None:
    text = session("m=audio 1 RTP/AVP 0", "a=rtcp:9 IN IP4 192.0.2.1", "a=rtcp-mux", "a=rtcp-mux-only")
    assert "rtcp" not in edited(text, MediaEdit())


def test_a_mid_is_replaced_in_its_place_or_added() -> None:
    text = session("m=audio 1 RTP/AVP 0", "a=mid:x", "a=foo")
    assert "a=mid:1\r\na=foo\r\n" in edited(text, MediaEdit(mid="1"))
    assert "a=foo\r\na=mid:1\r\na=sendrecv" in edited(text.replace("a=mid:x\r\n", ""), MediaEdit(mid="1"))


def test_new_lines_end_like_the_section_they_stand_in() -> None:
    text = "v=0\no=- 1 2 IN IP4 192.0.2.1\ns=-\nm=audio 1 RTP/AVP 0"
    assert edited(text, MediaEdit()) == f"{text}\na=rtpmap:0 PCMU/8000\na=sendrecv\n"


def test_an_edit_that_does_not_fit_the_document_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        edited(session("m=audio 1 RTP/AVP 0"))
    with pytest.raises(MalformedSdp, match="line 4 "):
        edited(session("m=audio"), MediaEdit())
    with pytest.raises(MalformedSdp, match="line 2 "):
        rewrite(SessionDescription.parse("v=0\r\no=-\r\n"), SessionEdit(media=(), origin_address="203.0.113.1"))


def test_text_that_would_forge_lines_is_refused() -> None:
    for forged in ("x\r\na=forged", "x\ny", "x\0"):
        with pytest.raises(ValueError, match="one SDP line"):
            MediaEdit(append=(forged,))
        with pytest.raises(ValueError, match="one SDP line"):
            MediaEdit(protocol=forged)
        with pytest.raises(ValueError, match="one SDP line"):
            SessionEdit(media=(), session_name=forged)
    with pytest.raises(ValueError, match="o= line"):
        SessionEdit(media=(), origin_username="two words")


def test_an_edit_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="address"):
        MediaEdit(rtcp_full=True)
    with pytest.raises(ValueError, match="direction"):
        MediaEdit(direction="both")
