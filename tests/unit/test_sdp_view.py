"""Reading the meaning of a session description."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtprelay.errors import MalformedSdp
from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.codecs import Codec
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import MAX_FORMATS, MediaView, Origin, SessionView, read
from rtprelay.values import Endpoint

DATA = Path(__file__).parents[1] / "data" / "sdp"
SESSION = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def view_of(name: str) -> SessionView:
    raw = (DATA / f"{name}.sdp").read_bytes()
    return read(SessionDescription.parse(raw.decode("utf-8", "surrogateescape")))


def media_of(*lines: str, session: str = SESSION) -> MediaView:
    """The first media section of a session with these lines."""
    return read(SessionDescription.parse(session + "".join(f"{line}\r\n" for line in lines))).media[0]


def test_session_fields_are_read() -> None:
    view = view_of("linphone")
    assert view.origin == Origin("alice", "3431", "1842", "IN", "IP4", "192.0.2.15")
    assert view.name == "Talk"
    assert view.connection is not None
    assert view.connection.address == "192.0.2.15"
    assert view.attribute("record") == "off"
    assert view.attribute("absent") is None
    assert len(view.attributes("rtcp-xr")) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", None),
        ("²", None),
        ("9" * 5000, None),
        ("-1", None),
    ],
)
def test_the_version_of_the_origin_is_a_number_of_64_bits_or_none(text: str, value: int | None) -> None:
    view = read(SessionDescription.parse(f"v=0\r\no=- 1 {text} IN IP4 192.0.2.1\r\n"))
    assert view.origin.version == text
    assert view.origin.version_number == value


def test_codecs_come_in_the_order_of_the_m_line_with_static_ones_filled_in() -> None:
    media = view_of("linphone").media[0]
    assert media.codecs[0] == Codec(96, "opus", 48000, 2, "useinbandfec=1")
    assert [codec.payload_type for codec in media.codecs] == [96, 97, 98, 0, 8, 18, 101, 99, 100]
    assert media.codecs[3] == Codec(0, "PCMU", 8000)
    assert media.codecs[5] == Codec(18, "G729", 8000, fmtp="annexb=yes")


def test_a_dynamic_payload_type_without_rtpmap_is_a_nameless_codec() -> None:
    assert media_of("m=audio 4000 RTP/AVP 99").codecs == (Codec(99, "", 0),)


def test_an_rtpmap_overrides_the_static_meaning_of_a_payload_type() -> None:
    media = media_of("m=audio 4000 RTP/AVP 0", "a=rtpmap:0 opus/48000/2")
    assert media.codecs == (Codec(0, "opus", 48000, 2),)


@pytest.mark.parametrize(
    ("rtpmap", "expected"),
    [
        ("99 telephone-event", Codec(99, "telephone-event", 0)),
        ("99  iLBC/8000 ", Codec(99, "iLBC", 8000)),
        ("99 L16/x/y", Codec(99, "L16", 0)),
        ("99 /8000", Codec(99, "", 0)),
        ("99", Codec(99, "", 0)),
        ("", Codec(99, "", 0)),
    ],
)
def test_a_crippled_rtpmap_is_read_as_far_as_it_goes(rtpmap: str, expected: Codec) -> None:
    assert media_of("m=audio 4000 RTP/AVP 99", f"a=rtpmap:{rtpmap}").codecs == (expected,)


def test_feedback_belongs_to_its_payload_type() -> None:
    video = view_of("video-feedback").media[1]
    assert video.codecs[0].feedback == ("nack pli",)
    assert video.attributes("rtcp-fb") == ("105 nack pli", "* ccm fir", "99 nack pli")


def test_a_payload_type_listed_twice_is_one_codec() -> None:
    assert len(media_of("m=audio 4000 RTP/AVP 0 8 0").codecs) == 2


def test_the_media_address_beats_the_sessions() -> None:
    media = media_of("m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:DB8::0:7")
    assert media.endpoint == Endpoint("2001:db8::7", 4000)
    assert media.connection_host == "2001:DB8::0:7"


def test_a_multicast_address_may_carry_ttl_and_count() -> None:
    assert media_of("m=audio 4000 RTP/AVP 0", "c=IN IP4 233.252.0.1/127/3").endpoint == Endpoint("233.252.0.1", 4000)


def test_a_host_name_has_no_endpoint_but_is_named() -> None:
    media = media_of("m=audio 4000 RTP/AVP 0", "c=IN IP4 media-1.example.com")
    assert media.endpoint is None
    assert media.rtcp is None
    assert media.connection_host == "media-1.example.com"


def test_rtcp_is_one_port_up_unless_said_otherwise() -> None:
    assert media_of("m=audio 4000 RTP/AVP 0").rtcp == Endpoint("192.0.2.1", 4001)
    assert media_of("m=audio 4000 RTP/AVP 0", "a=rtcp:5001").rtcp == Endpoint("192.0.2.1", 5001)
    media = media_of("m=audio 4000 RTP/AVP 0", "a=rtcp:5001 IN IP4 192.0.2.9")
    assert media.rtcp == Endpoint("192.0.2.9", 5001)


def test_multiplexed_rtcp_goes_with_the_rtp_and_its_fallback_is_known() -> None:
    media = media_of("m=audio 4000 RTP/AVP 0", "a=rtcp-mux", "a=rtcp:5001")
    assert media.rtcp_mux
    assert media.rtcp == Endpoint("192.0.2.1", 4000)
    assert media.rtcp_fallback == Endpoint("192.0.2.1", 5001)


def test_there_is_no_rtcp_port_after_the_last() -> None:
    assert media_of("m=audio 65535 RTP/AVP 0").rtcp is None


def test_direction_comes_from_the_media_then_the_session_then_is_both_ways() -> None:
    held = SESSION + "a=sendonly\r\n"
    assert media_of("m=audio 4000 RTP/AVP 0").direction is Direction.SENDRECV
    assert media_of("m=audio 4000 RTP/AVP 0", session=held).direction is Direction.SENDONLY
    assert media_of("m=audio 4000 RTP/AVP 0", "a=inactive ", session=held).direction is Direction.INACTIVE


def test_hold_by_zero_address_shows_in_the_endpoint() -> None:
    media = view_of("hold").media[0]
    assert media.endpoint is not None
    assert media.endpoint.unspecified
    assert media.direction is Direction.SENDONLY


def test_port_zero_is_rejected_and_needs_no_address() -> None:
    media = media_of("m=video 0 RTP/AVP 31", session="v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\n")
    assert media.rejected
    assert media.endpoint is None
    assert media.rtcp is None
    assert media.connection_host is None


def test_port_zero_of_a_bundle_only_section_is_no_rejection() -> None:
    assert not media_of("m=video 0 RTP/AVP 31", "a=bundle-only").rejected


def test_a_browsers_offer_is_read() -> None:
    view = view_of("chrome")
    assert view.bundles == (("0", "1"),)
    audio, video = view.media
    assert (audio.mid, video.mid, video.index) == ("0", "1", 1)
    assert audio.is_rtp
    assert audio.is_savp
    assert audio.is_feedback
    assert audio.endpoint == audio.rtcp == Endpoint("203.0.113.141", 54609)
    assert audio.ice is not None
    assert (audio.ice.ufrag, audio.ice.trickle, audio.ice.lite, len(audio.ice.candidates)) == ("F7gI", True, False, 2)
    assert audio.setup == "actpass"
    assert audio.fingerprints[0].startswith("sha-256 49:66")
    assert audio.codecs[0] == Codec(111, "opus", 48000, 2, "minptime=10;useinbandfec=1", ("transport-cc",))
    assert len(audio.attributes("extmap")) == 2


def test_session_level_keys_and_ice_apply_to_the_media() -> None:
    session = SESSION + "a=ice-lite\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-1 AA\r\na=setup:passive\r\n"
    media = media_of("m=audio 4000 RTP/SAVP 0", "a=end-of-candidates", session=session)
    assert media.ice is not None
    assert (media.ice.ufrag, media.ice.pwd, media.ice.lite, media.ice.ended) == ("u", "p", True, True)
    assert (media.fingerprints, media.setup, media.tls_id) == (("sha-1 AA",), "passive", None)


def test_no_ice_where_there_is_none() -> None:
    assert view_of("asterisk").media[0].ice is None


def test_sdes_keys_come_raw_in_order() -> None:
    crypto = view_of("yealink-savp").media[0].crypto
    assert [line.split()[0] for line in crypto] == ["1", "2", "3"]


def test_ptime_maxptime_and_label() -> None:
    media = media_of("m=audio 4000 RTP/AVP 0", "a=ptime:20", "a=maxptime:150", "a=label:7")
    assert (media.ptime, media.maxptime, media.label) == (20, 150, "7")
    assert media_of("m=audio 4000 RTP/AVP 0", "a=ptime:20.5").ptime is None


def test_what_is_not_rtp_has_formats_but_no_codecs() -> None:
    image = view_of("t38").media[1]
    assert (image.kind, image.protocol, image.formats, image.codecs) == ("image", "udptl", ("t38",), ())
    assert not image.is_rtp


@pytest.mark.parametrize(
    ("protocol", "rtp", "savp", "feedback"),
    [
        ("RTP/AVP", True, False, False),
        ("RTP/AVPF", True, False, True),
        ("RTP/SAVP", True, True, False),
        ("UDP/TLS/RTP/SAVPF", True, True, True),
        ("TCP/RTP/AVP", True, False, False),
        ("UDP/DTLS/SCTP", False, False, False),
    ],
)
def test_transport_protocols_are_told_apart(protocol: str, rtp: bool, savp: bool, feedback: bool) -> None:
    media = media_of(f"m=audio 4000 {protocol} 0")
    assert (media.is_rtp, media.is_savp, media.is_feedback) == (rtp, savp, feedback)


def test_a_number_of_ports_is_read() -> None:
    media = media_of("m=audio 4000/2 RTP/AVP  0 8 ")
    assert (media.port, media.port_count, media.formats) == (4000, 2, ("0", "8"))


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (6, ["m=audio"]),
        (6, ["m=audio 4000"]),
        (6, ["m=audio x RTP/AVP 0"]),
        (6, ["m=audio -1 RTP/AVP 0"]),
        (6, ["m=audio 70000 RTP/AVP 0"]),
        (6, ["m=audio ٤٠٠٠ RTP/AVP 0"]),
        (6, [f"m=audio {'9' * 5000} RTP/AVP 0"]),
        (6, ["m=audio 4000/0 RTP/AVP 0"]),
        (6, ["m=audio 4000/x RTP/AVP 0"]),
        (6, ["m=audio 4000 RTP/AVP pcmu"]),
        (6, ["m=audio 4000 RTP/AVP 128"]),
        (6, ["m=audio 4000 RTP/AVP" + " 0" * (MAX_FORMATS + 1)]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=IN IP4"]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=ATM NSAP 1234"]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.300"]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=IN IP6 fe80::1%eth0"]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=IN IP4 a..example"]),
        (7, ["m=audio 4000 RTP/AVP 0", "c=IN IP4 <script>"]),
        (7, ["m=audio 4000 RTP/AVP 0", "a=rtcp:99999"]),
        (7, ["m=audio 4000 RTP/AVP 0", "a=rtcp:5001 IN"]),
        (7, ["m=audio 4000 RTP/AVP 0", "a=rtcp:5001 IN IP4 192.0.2.999"]),
    ],
)
def test_what_would_misdirect_media_is_refused_by_its_line(line: int, lines: list[str]) -> None:
    with pytest.raises(MalformedSdp, match=f"line {line} "):
        media_of(*lines)


def test_media_without_any_address_is_refused() -> None:
    with pytest.raises(MalformedSdp, match=r"line 3 .*no c="):
        media_of("m=audio 4000 RTP/AVP 0", session="v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\n")


@pytest.mark.parametrize("origin", ["", "o=- 1\r\n", "o=a b 1 1 IN IP4 192.0.2.1\r\n"])
def test_a_session_without_a_proper_origin_is_refused(origin: str) -> None:
    with pytest.raises(MalformedSdp):
        read(SessionDescription.parse(f"v=0\r\n{origin}"))


def test_an_error_does_not_repeat_a_whole_hostile_line() -> None:
    with pytest.raises(MalformedSdp) as caught:
        media_of(f"m=audio {'9' * 5000} RTP/AVP 0")
    assert len(caught.value.reason) < 200


def test_directions_are_reversed_for_the_other_side() -> None:
    assert Direction.SENDONLY.reversed is Direction.RECVONLY
    assert Direction.RECVONLY.reversed is Direction.SENDONLY
    assert Direction.SENDRECV.reversed is Direction.SENDRECV
    assert Direction.INACTIVE.reversed is Direction.INACTIVE
