"""A browser (ICE, DTLS-SRTP, BUNDLE) and a phone (plain RTP) on either side of the core; every packet by hand.

Browser --- STUN, DTLS, SRTP ---> Relay --- RTP ---> phone at B
"""

from __future__ import annotations

import msgspec
import pytest

from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg
from rtprelay.ice.agent import CONSENT_EXPIRY, Credentials
from rtprelay.plan.flow import Mismatch
from rtprelay.security.certificate import generate
from rtprelay.signalling.command import Body, CommandName, IceOption
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import (
    INTERFACES,
    RELAY,
    RELAY6,
    WALL,
    B,
    Section,
    Stage,
    at,
    receiver_report,
    rtp,
    sdp,
    sections,
)
from tests.unit.webrtc_stage import (
    BROWSER,
    FINGERPRINT,
    PHONE,
    STRANGER,
    Browser,
    browser_calls_phone,
    run,
    two_browsers,
)


def test_a_browser_calls_a_phone() -> None:
    stage, browser = Stage(), Browser()
    to_browser, to_phone = browser_calls_phone(stage, browser)
    ((source, data, destination),) = stage.receive(to_browser, BROWSER, browser.protect(rtp(1)))
    assert (source, data, destination) == (to_phone, rtp(1), PHONE)
    ((source, data, destination),) = stage.receive(to_phone, PHONE, rtp(1, ssrc=9))
    assert (source, browser.unprotect(data), destination) == (to_browser, rtp(1, ssrc=9), BROWSER)


def test_the_phone_sees_a_plain_sdp() -> None:
    stage, browser = Stage(), Browser()
    body = stage.offer(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    for foreign in ("ice-", "candidate", "fingerprint", "setup", "extmap", "mid", "BUNDLE", "SAVPF"):
        assert foreign not in body["sdp"]


def test_a_phone_calls_a_browser() -> None:
    stage, browser = Stage(), Browser()
    (facing_browser,) = stage.offered(
        sdp(B, 4002), ice=IceOption.FORCE, transport_protocol="UDP/TLS/RTP/SAVPF", rtcp_mux=frozenset({"require"})
    )
    assert facing_browser.attribute("setup") == "actpass"
    (facing_phone,) = stage.answered(browser.sdp("active"))
    browser.learn(facing_browser, setup="active", controlling=False)
    run(stage, browser)
    ((_, data, destination),) = stage.receive(facing_browser.local, BROWSER, browser.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)
    assert facing_phone.protocol == "RTP/AVP"
    assert facing_phone.attribute("fingerprint") is None


def test_media_before_the_keys_goes_nowhere() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert stage.receive(facing_browser.local, BROWSER, rtp(1)) == []
    assert stage.outputs(facing_browser.local) == []


def test_we_are_lite_where_it_is_wished() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP", ice_lite="backward")
    body = stage.answer(sdp(B, 4002))
    assert "\r\na=ice-lite\r\n" in body["sdp"].split("m=")[0]
    (facing_browser,) = sections(body["sdp"])
    facing_browser.lines.append("a=ice-lite")
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    assert browser.connected is not None


def test_a_strangers_hello_before_the_real_one_changes_nothing() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp("active"), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert facing_browser.attribute("setup") == "passive"
    attacker = Browser(endpoint=STRANGER, seed=8)
    attacker.transport.update(
        Media(
            index=0,
            kind="audio",
            protocol="",
            local=STRANGER,
            remote=facing_browser.local,
            dtls=DtlsLeg(setup="active", fingerprints=("sha-256 00",)),
        ),
        (),
    )
    hello = attacker.outcomes()
    assert hello
    for datagram in hello:
        assert stage.receive(facing_browser.local, STRANGER, datagram.data) == []
    browser.learn(facing_browser, setup="active", controlling=True)
    run(stage, browser)
    assert browser.connected is not None
    assert stage.receive(facing_browser.local, STRANGER, browser.protect(rtp(1))) == []


def _another_certificate(stage: Stage, browser: Browser) -> Section:
    """The browser shows another one than was signalled; its leg in the relay, when it has tried."""
    wrong = browser.sdp().replace(FINGERPRINT, FINGERPRINT[:-2] + ("00" if FINGERPRINT[-2:] != "00" else "01"))
    stage.offered(wrong, ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    return facing_browser


def test_another_certificate_than_the_signalled_one_gets_no_keys() -> None:
    stage = Stage()
    facing_browser = _another_certificate(stage, Browser())
    assert stage.flow(facing_browser.local).srtp is None
    assert stage.outputs(facing_browser.local) == []


def test_nobody_is_expected_before_there_are_keys() -> None:
    """A kernel hands up what comes behind the end of the handshake; by the time it is read, the keys are there."""
    stage, browser = Stage(), Browser()
    facing_browser = _another_certificate(stage, browser)
    assert browser.remote == facing_browser.local
    flow = stage.flow(facing_browser.local)
    assert (flow.expected, flow.on_mismatch) == (None, Mismatch.PUNT)


def test_unauthenticated_stun_is_not_answered() -> None:
    stage, browser = Stage(), Browser()
    to_browser, _ = browser_calls_phone(stage, browser)
    assert stage.receive(to_browser, STRANGER, bytes.fromhex("000100002112a442") + bytes(12)) == []


def test_without_consent_nothing_is_sent() -> None:
    stage, browser = Stage(), Browser()
    to_browser, to_phone = browser_calls_phone(stage, browser)
    stage.wait(CONSENT_EXPIRY + 10)
    assert stage.outputs(to_phone) == []
    assert stage.flow(to_browser).expected is None


def test_an_ice_restart_keeps_media_until_the_new_path_is_there() -> None:
    stage, browser = Stage(), Browser()
    to_browser, to_phone = browser_calls_phone(stage, browser)
    before = stage.flow(to_browser)
    browser.credentials, browser.endpoint = Credentials("again", "another-password-of-22"), at("198.51.100.10:50010")
    stage.offered(browser.sdp(), to_tag="b", ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing,) = stage.answered(sdp(B, 4002))
    assert stage.outputs(to_phone) == [(to_browser, BROWSER)]
    assert stage.flow(to_browser).srtp == before.srtp
    browser.learn(facing, setup="passive", controlling=True)
    run(stage, browser)
    assert stage.outputs(to_phone) == [(to_browser, browser.endpoint)]
    assert stage.flow(to_browser).srtp == before.srtp


def test_a_restarted_relay_goes_on_with_keys_and_path() -> None:
    stage, browser = Stage(), Browser()
    to_browser, to_phone = browser_calls_phone(stage, browser)
    before = stage.flows()
    stage.restart()
    assert stage.flows() == before
    ((_, data, _),) = stage.receive(to_browser, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)
    run(stage, browser, seconds=8)
    assert stage.outputs(to_phone) == [(to_browser, BROWSER)]


def test_two_browsers_share_nothing_but_the_media() -> None:
    stage, one = Stage(), Browser(("audio", "video"))
    other = Browser(("audio", "video"), at("198.51.100.11:50011"), seed=9)
    facing_other, second = stage.offered(one.sdp())
    assert facing_other.local != second.local
    facing_one, bundled = stage.answered(other.sdp("active"))
    assert facing_one.local == bundled.local
    one.learn(facing_one, setup="passive", controlling=True)
    other.learn(facing_other, setup="active", controlling=False)
    run(stage, one, other)
    for payload_type in (111, 96):
        packet = rtp(payload_type, payload_type=payload_type)
        ((_, data, destination),) = stage.receive(facing_one.local, BROWSER, one.protect(packet))
        assert (other.unprotect(data), destination) == (packet, other.endpoint)


def test_a_bundle_is_taken_apart_for_a_video_phone() -> None:
    stage, browser = Stage(), Browser(("audio", "video"))
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    media = ("m=audio 4002 RTP/AVP 0", "m=video 4004 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    facing_browser, bundled = stage.answered(sdp(B, media=media))
    assert bundled.local == facing_browser.local
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    for payload_type, port in ((0, 4002), (96, 4004)):
        packet = rtp(payload_type, payload_type=payload_type)
        ((_, data, destination),) = stage.receive(facing_browser.local, BROWSER, browser.protect(packet))
        assert (data, destination) == (packet, PHONE.with_port(port))


def test_the_answer_names_the_bundle_and_the_mids_of_the_offer() -> None:
    stage, browser = Stage(), Browser(("audio", "video"))
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    media = ("m=audio 4002 RTP/AVP 0", "m=video 4004 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    body = stage.answer(sdp(B, media=media))
    assert "\r\na=group:BUNDLE 0 1\r\n" in body["sdp"]
    assert [section.attribute("mid") for section in sections(body["sdp"])] == ["0", "1"]


def test_ports_of_bundled_sections_are_given_back() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    used = stage.ports_used()
    stage.answer(sdp(B, media=("m=audio 4002 RTP/AVP 0", "m=video 4004 RTP/AVP 96")))
    assert stage.ports_used() == used - 2


def test_a_browser_publishes_to_a_phone() -> None:
    stage, browser = Stage(), Browser()
    (facing_browser,) = sections(stage.ask(CommandName.PUBLISH, browser.sdp(), from_tag=Tag("p"))["sdp"])
    browser.learn(facing_browser, setup="passive", controlling=True)
    request = stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("p"), to_tag=Tag("s"), transport_protocol="RTP/AVP")
    (facing_phone,) = sections(request["sdp"])
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(B, 4002), to_tag=Tag("s"))
    run(stage, browser)
    packet = rtp(1, payload_type=111)
    ((source, data, destination),) = stage.receive(facing_browser.local, BROWSER, browser.protect(packet))
    assert (source, destination) == (facing_phone.local, PHONE)
    assert (data[:8], data[12:]) == (packet[:8], packet[12:])


def test_a_browser_subscribes_to_a_phone() -> None:
    stage, browser = Stage(), Browser()
    (facing_phone,) = sections(stage.ask(CommandName.PUBLISH, sdp(B, 4002), from_tag=Tag("p"))["sdp"])
    request = stage.ask(
        CommandName.SUBSCRIBE_REQUEST,
        from_tag=Tag("p"),
        to_tag=Tag("s"),
        transport_protocol="UDP/TLS/RTP/SAVPF",
        ice=IceOption.FORCE,
        rtcp_mux=frozenset({"require"}),
    )
    (facing_browser,) = sections(request["sdp"])
    assert facing_browser.attribute("setup") == "actpass"
    stage.ask(CommandName.SUBSCRIBE_ANSWER, browser.sdp("active"), to_tag=Tag("s"))
    browser.learn(facing_browser, setup="active", controlling=False)
    run(stage, browser)
    ((source, data, destination),) = stage.receive(facing_phone.local, PHONE, rtp(1))
    assert (source, destination) == (facing_browser.local, BROWSER)
    assert browser.unprotect(data)[12:] == rtp(1)[12:]


def test_no_address_is_no_hold_where_ice_will_tell() -> None:
    stage, one = Stage(), Browser(("audio", "video"))
    other = Browser(("audio", "video"), at("198.51.100.11:50011"), seed=9)
    unknown = one.sdp().replace(f" {BROWSER.port} ", " 9 ").replace(f"c=IN IP4 {BROWSER.address}", "c=IN IP4 0.0.0.0")
    facing_other, _ = stage.offered(unknown)
    assert facing_other.direction == "sendrecv"
    assert facing_other.address != "0.0.0.0"
    facing_one, _ = stage.answered(other.sdp("active"))
    one.learn(facing_one, setup="passive", controlling=True)
    other.learn(facing_other, setup="active", controlling=False)
    run(stage, one, other)
    assert stage.outputs(facing_other.local) == [(facing_one.local, BROWSER)]


def fragment(browser: Browser, *, ufrag: str | None = None) -> str:
    lines = (
        f"a=ice-ufrag:{ufrag or browser.credentials.ufrag}",
        f"a=ice-pwd:{browser.credentials.pwd}",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        "a=mid:0",
        *(f"a=candidate:{candidate}" for candidate in (browser.candidate(),)),
        "a=end-of-candidates",
    )
    return "".join(f"{line}\r\n" for line in lines)


def trickling(browser: Browser) -> str:
    """Its SDP before it has gathered anything."""
    lines = browser.sdp().splitlines(keepends=True)
    gone = ("a=candidate", "a=end-of-candidates")
    return "".join(line for line in lines if not line.startswith(gone)) + "a=ice-options:trickle\r\n"


def remote_candidates(stage: Stage) -> list[Endpoint]:
    (call,) = stage.relay.registry.calls.values()
    leg = call.parties[1].medias[0].ice
    assert leg is not None
    return [candidate.endpoint for candidate in leg.candidates]


def test_candidates_trickle_in_by_fragments() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(trickling(browser), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert remote_candidates(stage) == []
    assert stage.offer(fragment(browser), fragment=True) == {"result": "ok"}
    assert remote_candidates(stage) == [BROWSER]
    # Only our own checks can find the way: it does none itself.
    browser.learn(facing_browser, setup="passive", controlling=False, remote_lite=True)
    stage.wait(0.1)
    assert {destination for _, _, destination in stage.sent} == {BROWSER}


def test_a_fragment_of_before_a_restart_says_nothing() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(trickling(browser), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    assert stage.offer(fragment(browser, ufrag="older"), fragment=True) == {"result": "ok"}
    assert remote_candidates(stage) == []


def test_a_fragment_that_overtakes_its_answer_is_kept_for_it() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(sdp(B, 4002), ice=IceOption.FORCE, transport_protocol="UDP/TLS/RTP/SAVPF", generate_mid=True)
    early = fragment(browser).replace("a=mid:0", "a=mid:1")
    assert stage.offer(early, from_tag="b", to_tag="a", fragment=True) == {"result": "ok"}
    stage.answered(trickling(browser).replace("actpass", "active"))
    (call,) = stage.relay.registry.calls.values()
    leg = call.parties[2].medias[0].ice
    assert leg is not None
    assert [candidate.endpoint for candidate in leg.candidates] == [BROWSER]


def test_a_trickled_candidate_is_no_way_around_the_address_policy() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(trickling(browser), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    forged = fragment(browser).replace(BROWSER.address, "169.254.1.1")
    assert stage.offer(forged, fragment=True) == {"result": "ok"}
    assert remote_candidates(stage) == []


def test_a_fragment_of_an_unknown_call_is_refused() -> None:
    stage, browser = Stage(), Browser()
    assert stage.offer(fragment(browser), fragment=True)["result"] == "error"
    assert stage.relay.registry.calls == {}


@pytest.mark.parametrize("kinds", [("application",), ("audio", "application"), ("application", "audio")])
def test_data_channels_go_from_browser_to_browser(kinds: tuple[str, ...]) -> None:
    stage, one, other = two_browsers(kinds)
    one.transport.send(b"INIT")
    strays = run(stage, one, other, seconds=0.1)
    assert other.messages == [b"INIT"]
    other.transport.send(b"INIT ACK")
    strays += run(stage, one, other, seconds=0.1)
    assert one.messages == [b"INIT ACK"]
    assert strays == []


def test_media_flows_in_a_bundle_that_a_data_channel_carries() -> None:
    stage, one, other = two_browsers(("application", "audio"))
    (call,) = stage.relay.registry.calls.values()
    facing_one = call.parties[1].medias[0].local
    assert facing_one is not None
    packet = rtp(1, payload_type=111)
    ((_, data, destination),) = stage.receive(facing_one, one.endpoint, one.protect(packet))
    assert (other.unprotect(data), destination) == (packet, other.endpoint)
    ((_, _, destination),) = stage.receive(facing_one, one.endpoint, one.protect_rtcp(receiver_report()))
    assert destination == other.endpoint


def test_a_phone_is_offered_no_data_channel() -> None:
    stage, browser = Stage(), Browser(("audio", "application"))
    body = stage.offer(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    assert [section.port for section in sections(body["sdp"])][1:] == [0]
    answer = stage.answer(sdp(B, media=("m=audio 4002 RTP/AVP 0", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel")))
    facing_browser, refused = sections(answer["sdp"])
    assert refused.port == 0
    assert "\r\na=group:BUNDLE 0\r\n" in answer["sdp"]
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    ((_, data, _),) = stage.receive(facing_browser.local, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)


def test_data_channels_go_on_after_a_restart_once_the_parties_were_told_of_it() -> None:
    """The association died with the process; the next offer and answer ask for another one."""
    certificate = generate(WALL)
    stage, one, other = two_browsers(("application",), certificate)
    told = (fingerprints(stage.offer(one.sdp(), to_tag="b")), fingerprints(stage.answer(other.sdp("active"))))
    stage.restart()
    stage.relay.registry.transports.identity.add([certificate])
    assert stage.events().count("data channel waits for the next offer or answer") == 2
    offer, answer = stage.offer(one.sdp(), to_tag="b"), stage.answer(other.sdp("active"))
    assert fingerprints(offer) != told[0]
    assert fingerprints(answer) != told[1]
    again = stage.offer(one.sdp(), to_tag="b"), stage.answer(other.sdp("active"))
    assert [fingerprints(body) for body in again] == [fingerprints(offer), fingerprints(answer)]
    renewed = Browser(("application",), seed=21), Browser(("application",), other.endpoint, seed=22)
    renewed[0].credentials, renewed[1].credentials = one.credentials, other.credentials
    renewed[0].learn(sections(answer["sdp"])[0], setup="passive", controlling=True)
    renewed[1].learn(sections(offer["sdp"])[0], setup="active", controlling=False)
    run(stage, *renewed)
    renewed[0].transport.send(b"DATA")
    run(stage, *renewed, seconds=0.1)
    assert renewed[1].messages == [b"DATA"]


def fingerprints(body: Body) -> list[str | None]:
    return [section.attribute("fingerprint") for section in sections(body["sdp"])]


def test_what_a_stranger_says_is_no_message() -> None:
    stage, one, other = two_browsers(("application",))
    stranger = Browser(("application",), STRANGER, seed=11)
    (call,) = stage.relay.registry.calls.values()
    facing_one = call.parties[1].medias[0].local
    assert facing_one is not None
    one.transport.send(b"stolen")
    (record,) = one.outcomes()
    assert stage.receive(facing_one, stranger.endpoint, record.data) == []
    assert other.messages == []


def bundle_only(browser: Browser) -> str:
    """As `max-bundle` offers it: what comes second has no port of its own."""
    return browser.sdp().replace(f"m=video {browser.endpoint.port} ", "m=video 0 ") + "a=bundle-only\r\n"


def test_a_publisher_that_insists_on_its_bundle_gets_it() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    body = stage.ask(CommandName.PUBLISH, bundle_only(browser), from_tag=Tag("p"))
    assert "\r\na=group:BUNDLE 0 1\r\n" in body["sdp"]
    facing_browser, bundled = sections(body["sdp"])
    assert bundled.local == facing_browser.local
    assert bundled.attribute("candidate") is None
    assert stage.ports_used() == 2
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    request = stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("p"), to_tag=Tag("s"), transport_protocol="RTP/AVP")
    audio, video = sections(request["sdp"])
    media = ("m=audio 4002 RTP/AVP 111", "m=video 4004 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(B, media=media), to_tag=Tag("s"))
    for payload_type, facing, port in ((111, audio, 4002), (96, video, 4004)):
        packet = rtp(payload_type, payload_type=payload_type)
        ((source, _, destination),) = stage.receive(facing_browser.local, BROWSER, browser.protect(packet))
        assert (source, destination) == (facing.local, PHONE.with_port(port))


def apart(browser: Browser) -> str:
    """As `balanced` offers it: audio and video may be bundled, but each has candidates of its own."""
    head, audio, video = browser.sdp().split("m=")
    return f"{head}m={audio}m={video.replace(str(browser.endpoint.port), '50002')}"


def test_a_publishers_sections_have_ports_of_their_own_where_it_leaves_the_choice() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    body = stage.ask(CommandName.PUBLISH, apart(browser), from_tag=Tag("p"))
    assert "BUNDLE" not in body["sdp"]
    assert stage.ports_used() == 4
    bundled = Stage().ask(CommandName.PUBLISH, apart(browser), from_tag=Tag("p"), bundle=frozenset({"accept"}))
    assert "BUNDLE 0 1" in bundled["sdp"]


@pytest.mark.parametrize(
    ("options", "answer"),
    [(frozenset(), None), (frozenset({"accept"}), "BUNDLE 0 1"), (frozenset({"offer"}), "BUNDLE 0 1")],
)
def test_a_bundle_is_taken_beside_a_video_phone_only_where_it_must_be(
    options: frozenset[str], answer: str | None
) -> None:
    stage, browser = Stage(), Browser(("audio", "video"))
    stage.offer(apart(browser), ice=IceOption.REMOVE, transport_protocol="RTP/AVP", bundle=options)
    media = ("m=audio 4002 RTP/AVP 0", "m=video 4004 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    body = stage.answer(sdp(B, media=media))
    assert [line for line in body["sdp"].splitlines() if "BUNDLE" in line] == ([f"a=group:{answer}"] if answer else [])


def test_a_bundle_may_be_refused() -> None:
    stage, one = Stage(), Browser(("audio", "video"))
    offer = stage.offer(apart(one), bundle=frozenset({"reject"}))
    assert "BUNDLE" not in offer["sdp"]


def test_a_publisher_hears_that_we_are_lite() -> None:
    stage, browser = Stage(), Browser()
    body = stage.ask(CommandName.PUBLISH, browser.sdp(), from_tag=Tag("p"), ice_lite="backward")
    assert "\r\na=ice-lite\r\n" in body["sdp"].split("m=")[0]


MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"


def extensions(section: Section) -> list[str]:
    return [line.split()[1] for line in section.lines if line.startswith("a=extmap:")]


def test_header_extensions_are_taken_off_by_name_and_all_at_once() -> None:
    browser = Browser()
    offer = browser.sdp() + f"a=extmap:2/sendonly {LEVEL}\r\n"
    (section,) = Stage().offered(offer, extmap_strip=(LEVEL.upper(),))
    assert extensions(section) == [MID]
    (section,) = Stage().offered(offer, extmap_strip=("all",))
    assert extensions(section) == []


def test_a_masked_header_extension_is_answered_though_the_other_side_never_saw_it() -> None:
    stage, one, other = Stage(), Browser(), Browser(endpoint=at("198.51.100.11:50011"), seed=9)
    offer = one.sdp() + f"a=extmap:2/sendonly {LEVEL}\r\n"
    (section,) = stage.offered(offer, extmap_mask=(LEVEL,))
    assert extensions(section) == [MID]
    (section,) = stage.answered(other.sdp("active"))
    assert sorted(extensions(section)) == [MID, LEVEL]


def test_a_renewed_certificate_is_for_those_who_come_later() -> None:
    stage, browser = Stage(), Browser()
    to_browser, _ = browser_calls_phone(stage, browser)
    identity = stage.relay.registry.transports.identity
    told = identity.newest()
    identity.add((generate(WALL),))
    stage.offered(browser.sdp(), to_tag="b", ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (again,) = stage.answered(sdp(B, 4002))
    assert again.attribute("fingerprint") == f"sha-256 {told}"
    (other,) = stage.offered(
        sdp(B, 4002), call_id=CallId("d"), ice=IceOption.FORCE, transport_protocol="UDP/TLS/RTP/SAVPF"
    )
    assert other.attribute("fingerprint") == f"sha-256 {identity.newest()}" != f"sha-256 {told}"
    ((_, data, _),) = stage.receive(to_browser, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)


def test_a_relay_that_lost_its_certificate_asks_for_a_new_association() -> None:
    stage, browser = Stage(), Browser()
    browser_calls_phone(stage, browser)
    stage.restart()
    stage.offered(browser.sdp(), to_tag="b", ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert facing_browser.attribute("fingerprint") == f"sha-256 {stage.relay.registry.transports.identity.newest()}"
    renewed = Browser(seed=12)
    renewed.credentials = browser.credentials
    renewed.learn(facing_browser, setup="passive", controlling=True)
    run(stage, renewed, seconds=12)
    ((_, data, destination),) = stage.receive(facing_browser.local, BROWSER, renewed.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)


def test_a_relay_that_kept_its_certificate_is_taken_for_who_it_was() -> None:
    stage, browser, certificate = Stage(), Browser(), generate(WALL)
    stage.relay.registry.transports.identity.add([certificate])
    to_browser, _ = browser_calls_phone(stage, browser)
    stage.restart()
    stage.relay.registry.transports.identity.add([certificate])
    stage.offered(browser.sdp(), to_tag="b", ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert facing_browser.attribute("fingerprint") == f"sha-256 {certificate.fingerprint('sha-256')}"
    ((_, data, _),) = stage.receive(to_browser, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)


def test_a_publisher_whose_certificate_was_lost_is_told_of_another_in_an_answer() -> None:
    """Which no offer of its own comes before."""
    stage, browser = Stage(), Browser()
    stage.ask(CommandName.OFFER, sdp(B, media=()), call_id=CallId("c"), from_tag=Tag("a"))
    stage.ask(CommandName.PUBLISH, browser.sdp(), call_id=CallId("c"), from_tag=Tag("a"))
    stage.restart()
    (facing,) = stage.answered(sdp(B, 4002))
    assert facing.attribute("fingerprint") == f"sha-256 {stage.relay.registry.transports.identity.newest()}"


def test_a_second_device_answers_the_same_offer() -> None:
    stage, first = Stage(), Browser()
    second = Browser(endpoint=at("198.51.100.11:50011"), seed=9)
    (facing,) = stage.offered(
        sdp(B, 4002), ice=IceOption.FORCE, transport_protocol="UDP/TLS/RTP/SAVPF", rtcp_mux=frozenset({"require"})
    )
    stage.answered(first.sdp("active"), to_tag="b1")
    stage.answered(second.sdp("active"), to_tag="b2")
    second.learn(facing, setup="active", controlling=False)
    run(stage, second)
    ((_, data, destination),) = stage.receive(facing.local, second.endpoint, second.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)


def test_dtls_without_ice() -> None:
    stage, browser = Stage(), Browser()
    offer = "".join(
        line
        for line in browser.sdp("active").splitlines(keepends=True)
        if not line.startswith(("a=ice-", "a=candidate", "a=end-of"))
    )
    (facing_phone,) = stage.offered(offer, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    fingerprint = facing_browser.attribute("fingerprint")
    assert facing_browser.attribute("ice-ufrag") is None
    assert fingerprint is not None
    media = Media(
        index=0,
        kind="audio",
        protocol=facing_browser.protocol,
        local=BROWSER,
        remote=facing_browser.local,
        rtcp_mux=True,
        dtls=DtlsLeg(setup="active", fingerprints=(fingerprint,), certificate=FINGERPRINT),
    )
    # Without keys nobody's packets tell where the party is.
    for sequence in range(100):
        assert stage.receive(facing_browser.local, STRANGER, rtp(sequence)) == []
        stage.wait(0.02)
    stranger = Browser(endpoint=STRANGER, seed=8)
    stranger.transport.update(msgspec.structs.replace(media, local=STRANGER), ())
    for datagram in stranger.outcomes():
        assert stage.receive(facing_browser.local, STRANGER, datagram.data) == []
    browser.transport.update(media, ())
    run(stage, browser)
    assert stage.outputs(facing_phone.local) == [(facing_browser.local, BROWSER)]
    ((_, data, destination),) = stage.receive(facing_browser.local, BROWSER, browser.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)


BROWSER6 = at("[2001:db8:9::9]:50000")


def candidate_addresses(section: Section) -> list[str]:
    """Those of RTP."""
    found = (line.split() for line in section.lines if line.startswith("a=candidate:"))
    return [fields[4] for fields in found if fields[1] == "1"]


def calls_over_ip6(stage: Stage, browser: Browser) -> tuple[Endpoint, Endpoint]:
    """The browser has no IPv4. Returns the relay's ports facing it and the phone."""
    offer = browser.sdp().replace(f"IP6 {BROWSER6.address}", f"IP4 {BROWSER.address}")
    (facing_phone,) = stage.offered(offer, ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert facing_browser.address == RELAY
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    assert browser.remote is not None
    assert browser.remote.address == RELAY6
    return browser.remote, facing_phone.local


def test_every_address_of_the_interface_is_a_candidate() -> None:
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    (facing_browser,) = stage.answered(sdp(B, 4002))
    assert candidate_addresses(facing_browser) == [RELAY, RELAY6]
    assert stage.ports_used() == 6  # two pairs facing the browser, one the phone


def test_a_browser_takes_the_address_it_can_reach() -> None:
    stage, browser = Stage(), Browser(endpoint=BROWSER6)
    to_browser, to_phone = calls_over_ip6(stage, browser)
    ((_, data, destination),) = stage.receive(to_browser, BROWSER6, browser.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)
    ((source, data, destination),) = stage.receive(to_phone, PHONE, rtp(1, ssrc=9))
    assert (source, browser.unprotect(data), destination) == (to_browser, rtp(1, ssrc=9), BROWSER6)


def test_the_address_taken_stays_when_the_call_is_negotiated_again() -> None:
    stage, browser = Stage(), Browser(endpoint=BROWSER6)
    to_browser, to_phone = calls_over_ip6(stage, browser)
    offer = browser.sdp().replace(f"IP6 {BROWSER6.address}", f"IP4 {BROWSER.address}")
    stage.offered(offer, to_tag="b", ice=IceOption.REMOVE, transport_protocol="RTP/AVP")
    stage.answered(sdp(B, 4002))
    assert stage.outputs(to_phone) == [(to_browser, BROWSER6)]
    stage.restart()
    assert stage.outputs(to_phone) == [(to_browser, BROWSER6)]


def test_what_comes_to_the_other_address_unasked_goes_nowhere() -> None:
    stage, browser = Stage(), Browser(endpoint=BROWSER6)
    _, to_phone = calls_over_ip6(stage, browser)
    (call,) = stage.relay.registry.calls.values()
    (idle,) = call.parties[1].medias[0].others
    before = stage.outputs(to_phone)
    assert idle.address == RELAY
    assert stage.receive(idle, STRANGER, browser.protect(rtp(1))) == []
    assert stage.outputs(to_phone) == before


def test_all_ports_come_back() -> None:
    stage, browser = Stage(delete_delay=0.0), Browser(endpoint=BROWSER6)
    calls_over_ip6(stage, browser)
    stage.ask(CommandName.DELETE, from_tag=Tag("a"))
    assert (stage.ports_used(), stage.open) == (0, {})


def test_no_second_address_is_no_reason_to_refuse_a_call() -> None:
    narrow = (INTERFACES[0], msgspec.structs.replace(INTERFACES[1], port_min=30000, port_max=30001))
    stage, one, other = Stage(interfaces=narrow), Browser(), Browser(endpoint=at("198.51.100.11:50011"), seed=9)
    stage.offered(one.sdp())
    (facing_one,) = stage.answered(other.sdp("active"))
    assert candidate_addresses(facing_one) == [RELAY, RELAY6]
    (section,) = stage.offered(one.sdp(), call_id=CallId("d"))
    assert candidate_addresses(section) == [RELAY]
