"""BUNDLE (RFC 9143): who is offered one, what becomes of sections that join, leave or carry it.

Browser === one port for all sections ===> Relay --- a port for each section ---> phone at B
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rtprelay.call.call import Call, Party
from rtprelay.signalling.command import CommandName, IceOption
from rtprelay.values import Endpoint, Tag
from tests.unit.core_stage import INTERFACES, A, B, Section, Stage, at, rtp, sdp, sections
from tests.unit.webrtc_stage import BROWSER, Browser, run

TO_BROWSER: dict[str, Any] = {
    "ice": IceOption.FORCE,
    "transport_protocol": "UDP/TLS/RTP/SAVPF",
    "rtcp_mux": frozenset({"require"}),
}
AUDIO = ("m=audio {port} RTP/AVP 0 8",)
VIDEO = ("m=video {port} RTP/AVP 96", "a=rtpmap:96 VP8/90000")


def phone(address: str = A, port: int = 4000, kinds: Sequence[Sequence[str]] = (AUDIO, VIDEO)) -> str:
    """Plain RTP, a port for each section; its sections have no mids."""
    media = [line.format(port=port + 10 * index) for index, lines in enumerate(kinds) for line in lines]
    return sdp(address, media=media)


def words(*bundle: str) -> frozenset[str]:
    return frozenset(bundle)


def group(text: str) -> str | None:
    found = [line.removeprefix("a=group:") for line in text.split("m=")[0].splitlines() if line.startswith("a=group:")]
    assert len(found) <= 1
    return found[0] if found else None


def call_of(stage: Stage) -> Call:
    (call,) = stage.relay.registry.calls.values()
    return call


def callee(stage: Stage) -> Party:
    return call_of(stage).parties[2]


def carried(party: Party) -> list[int | None]:
    return [media.transport for media in party.medias]


def subscribe(stage: Stage, *tags: str, to_tag: str = "s", **flags: Any) -> str:
    body = stage.ask(
        CommandName.SUBSCRIBE_REQUEST,
        from_tags=tuple(map(Tag, tags)),
        to_tag=Tag(to_tag),
        **{**TO_BROWSER, **flags},
    )
    assert body["result"] == "ok", body
    return str(body["sdp"])


def ports(text: str) -> list[int]:
    return [section.port for section in sections(text)]


# --- offers to the answerer ---


def test_sections_of_an_offered_bundle_have_ports_of_their_own_until_it_is_taken() -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    offer = stage.offer(phone(), bundle=words("offer"), **TO_BROWSER)["sdp"]
    assert group(offer) == "BUNDLE 1 2"
    assert [section.attribute("mid") for section in sections(offer)] == ["1", "2"]
    assert len(set(ports(offer))) == 2
    assert stage.ports_used() == 8


@pytest.mark.parametrize("strict", [False, True])
def test_a_required_bundle_is_on_one_port_from_the_start(strict: bool) -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    bundle = words("require", "strict") if strict else words("require")
    offer = stage.offer(phone(), bundle=bundle, **TO_BROWSER)["sdp"]
    audio, video = sections(offer)
    assert group(offer) == "BUNDLE 1 2"
    assert stage.ports_used() == 6
    assert audio.port != 0
    assert (video.port, video.attribute("bundle-only")) == ((0, "") if strict else (audio.port, None))
    assert audio.attribute("candidate") is not None
    assert video.attribute("candidate") is None
    assert video.attribute("rtcp-mux") == ""


def answering_browser(kinds: Sequence[str] = ("audio", "video")) -> Browser:
    return Browser(kinds, at("198.51.100.11:50011"), seed=9)


def named(browser: Browser, setup: str = "active") -> str:
    """Its answer to an offer whose sections are called 1 and 2."""
    text = browser.sdp(setup).replace("a=mid:1", "a=mid:2").replace("a=mid:0", "a=mid:1")
    return text.replace("BUNDLE 0 1", "BUNDLE 1 2")


@pytest.mark.parametrize("bundle", [words("offer"), words("require"), words("strict")])
def test_a_browser_takes_the_bundle_a_phone_knows_nothing_of(bundle: frozenset[str]) -> None:
    stage, browser = Stage(), answering_browser()
    audio, _ = stage.offered(phone(), bundle=bundle, **TO_BROWSER)
    answer = stage.answer(named(browser))["sdp"]
    assert group(answer) is None
    assert "a=mid" not in answer
    browser.learn(audio, setup="active", controlling=False)
    run(stage, browser)
    for payload_type, facing, port in zip((0, 96), sections(answer), (4000, 4010), strict=True):
        packet = rtp(payload_type, payload_type=payload_type)
        ((source, data, destination),) = stage.receive(audio.local, browser.endpoint, browser.protect(packet))
        assert (source, data, destination) == (facing.local, packet, Endpoint(A, port))
        back = rtp(payload_type, payload_type=payload_type, ssrc=7)
        ((source, data, destination),) = stage.receive(facing.local, Endpoint(A, port), back)
        assert (source, browser.unprotect(data), destination) == (audio.local, back, browser.endpoint)


def test_a_section_that_has_a_port_of_its_own_may_stay_out_of_the_bundle() -> None:
    stage, browser = Stage(), answering_browser()
    stage.offer(phone(), bundle=words("offer"), **TO_BROWSER)
    answer = stage.answer(named(browser).replace("BUNDLE 1 2", "BUNDLE 1"))["sdp"]
    assert carried(callee(stage)) == [None, None]
    assert 0 not in ports(answer)


def test_a_section_that_shares_a_port_may_not() -> None:
    stage, browser = Stage(), answering_browser()
    stage.offer(phone(), bundle=words("require"), **TO_BROWSER)
    stage.answer(named(browser).replace("BUNDLE 1 2", "BUNDLE 1"))
    assert [media.rejected for media in callee(stage).medias] == [False, True]
    assert "media 1: offered in a bundle only and not bundled, rejected" in stage.events()


def test_an_answerer_without_bundles_keeps_the_first_section_of_a_required_one() -> None:
    stage, browser = Stage(), answering_browser()
    stage.offer(phone(), bundle=words("require"), **TO_BROWSER)
    answer = stage.answer(named(browser).replace("a=group:BUNDLE 1 2\r\n", ""))["sdp"]
    first, second = ports(answer)
    assert first != 0
    assert second == 0


def test_the_answerer_says_which_section_carries_the_bundle() -> None:
    stage, browser = Stage(), answering_browser()
    _, video = stage.offered(phone(), bundle=words("offer"), **TO_BROWSER)
    stage.answer(named(browser).replace("BUNDLE 1 2", "BUNDLE 2 1"))
    party = callee(stage)
    assert carried(party) == [1, None]
    assert party.medias[1].local == video.local


def test_an_agreed_bundle_is_offered_again_on_its_port() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), answering_browser()
    first = stage.offer(phone(), bundle=words("offer"), **TO_BROWSER)["sdp"]
    stage.answer(named(browser))
    again = stage.offer(phone(), to_tag="b")["sdp"]
    assert group(again) == "BUNDLE 1 2"
    assert set(ports(again)) == {ports(first)[0]}
    assert stage.ports_used() == 6


def test_a_bundle_that_is_not_wanted_any_more_is_taken_apart() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), answering_browser()
    stage.offer(phone(), bundle=words("offer"), **TO_BROWSER)
    stage.answer(named(browser))
    again = stage.offer(phone(), to_tag="b", bundle=words("reject"))["sdp"]
    assert group(again) is None
    assert len(set(ports(again))) == 2
    assert stage.ports_used() == 8


def test_another_device_may_answer_the_bundle_too() -> None:
    stage, first = Stage(), answering_browser()
    second = Browser(("audio", "video"), at("198.51.100.12:50012"), seed=10)
    audio, _ = stage.offered(phone(), bundle=words("offer"), **TO_BROWSER)
    stage.answer(named(first), to_tag="b1")
    facing = stage.answered(named(second), to_tag="b2")
    second.learn(audio, setup="active", controlling=False)
    run(stage, second)
    for payload_type, section, port in zip((0, 96), facing, (4000, 4010), strict=True):
        packet = rtp(payload_type, payload_type=payload_type)
        ((_, data, destination),) = stage.receive(audio.local, second.endpoint, second.protect(packet))
        assert (data, destination) == (packet, Endpoint(A, port))
        assert section.port != 0


# --- the offerer's bundle ---

PLAIN: dict[str, Any] = {"ice": IceOption.REMOVE, "transport_protocol": "RTP/AVP"}


def connected(stage: Stage, browser: Browser) -> list[Section]:
    stage.offer(browser.sdp(), **PLAIN)
    facing = stage.answered(phone(B, 4002))
    browser.learn(facing[0], setup="passive", controlling=True)
    run(stage, browser)
    assert browser.connected is not None
    return facing


def without(kind: str, text: str) -> str:
    """The section of that kind is rejected, and out of the group."""
    return "".join(
        f"m={section}" if number else section
        for number, section in enumerate(
            part if not part.startswith(kind) else f"{kind} 0 UDP/TLS/RTP/SAVPF 0\r\n" for part in text.split("m=")
        )
    ).replace("BUNDLE 0 1", "BUNDLE 1" if kind == "audio" else "BUNDLE 0")


def test_the_bundle_goes_on_where_it_is_when_its_carrier_ends() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    audio, _ = connected(stage, browser)
    before = stage.flow(audio.local)
    stage.offer(without("audio", browser.sdp()), to_tag="b", **PLAIN)
    media = ("m=audio 0 RTP/AVP 0", "m=video 4012 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    answer = stage.answer(sdp(B, media=media))["sdp"]
    assert ports(answer) == [0, audio.port]
    assert group(answer) == "BUNDLE 1"
    assert stage.flow(audio.local).srtp == before.srtp
    packet = rtp(1, payload_type=96)
    ((_, data, destination),) = stage.receive(audio.local, BROWSER, browser.protect(packet))
    assert (data, destination) == (packet, Endpoint(B, 4012))
    strays = run(stage, browser, seconds=8)
    assert strays == []
    assert stage.flow(audio.local).expected == BROWSER


def test_the_bundle_goes_on_when_the_phone_rejects_its_carrier() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    audio, _ = connected(stage, browser)
    stage.offer(browser.sdp(), to_tag="b", **PLAIN)
    media = ("m=audio 0 RTP/AVP 0", "m=video 4012 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    answer = stage.answer(sdp(B, media=media))["sdp"]
    assert ports(answer) == [0, audio.port]
    packet = rtp(1, payload_type=96)
    ((_, data, _),) = stage.receive(audio.local, BROWSER, browser.protect(packet))
    assert data == packet


def test_a_section_that_leaves_the_bundle_gets_a_port_and_the_others_keep_theirs() -> None:
    stage, browser = Stage(interfaces=INTERFACES[:1]), Browser(("audio", "video"))
    audio, _ = connected(stage, browser)
    head, first, second = browser.sdp().replace("BUNDLE 0 1", "BUNDLE 0").split("m=")
    apart = f"{head}m={first}m={second.replace(str(browser.endpoint.port), '50002')}"
    stage.offer(apart, to_tag="b", **PLAIN)
    answer = stage.answer(phone(B, 4002))["sdp"]
    first_port, second_port = ports(answer)
    assert first_port == audio.port
    assert second_port not in (0, audio.port)


def tagged_only(text: str) -> str:
    """What belongs to the port is said in the first section alone (RFC 9143 section 7.1.3)."""
    head, first, second = text.split("m=")
    names = ("a=setup", "a=fingerprint", "a=ice-", "a=candidate", "a=end-of", "a=rtcp-mux")
    bare = "".join(line for line in second.splitlines(keepends=True) if not line.startswith(names))
    return f"{head}m={first}m={bare}"


def test_keys_and_path_may_be_named_in_the_carrying_section_alone() -> None:
    stage, browser = Stage(), Browser(("audio", "video"))
    stage.offer(tagged_only(browser.sdp()), **PLAIN)
    audio, video = stage.answered(phone(B, 4002))
    assert audio.port == video.port
    browser.learn(audio, setup="passive", controlling=True)
    run(stage, browser)
    packet = rtp(1, payload_type=96)
    ((_, data, destination),) = stage.receive(audio.local, BROWSER, browser.protect(packet))
    assert (data, destination) == (packet, Endpoint(B, 4012))


def test_answers_too() -> None:
    stage, browser = Stage(), answering_browser()
    stage.offer(phone(), bundle=words("offer"), **TO_BROWSER)
    answer = stage.answer(tagged_only(named(browser)))["sdp"]
    assert 0 not in ports(answer)


# --- subscribers ---


def published(stage: Stage, browser: Browser, tag: str = "p") -> Section:
    body = stage.ask(CommandName.PUBLISH, browser.sdp(), from_tag=Tag(tag), bundle=words("accept"))
    facing, *_ = sections(body["sdp"])
    browser.learn(facing, setup="passive", controlling=True)
    run(stage, browser)
    return facing


@pytest.mark.parametrize("bundle", [words("offer"), words("require"), words("strict")])
def test_a_subscriber_is_offered_a_bundle_where_it_is_asked_for(bundle: frozenset[str]) -> None:
    stage, one, other = Stage(), Browser(("audio", "video")), answering_browser()
    facing = published(stage, one)
    request = subscribe(stage, "p", bundle=bundle)
    assert group(request) == "BUNDLE 1 2"
    audio, _ = sections(request)
    stage.ask(CommandName.SUBSCRIBE_ANSWER, named(other), to_tag=Tag("s"))
    other.learn(audio, setup="active", controlling=False)
    run(stage, one, other)
    for payload_type in (111, 96):
        packet = rtp(payload_type, payload_type=payload_type)
        ((source, data, destination),) = stage.receive(facing.local, one.endpoint, one.protect(packet))
        assert (source, other.unprotect(data), destination) == (audio.local, packet, other.endpoint)


def test_a_subscriber_is_offered_no_bundle_unasked() -> None:
    stage, one = Stage(), Browser(("audio", "video"))
    published(stage, one)
    request = subscribe(stage, "p")
    assert group(request) is None
    assert len(set(ports(request))) == 2


def test_streams_of_several_publishers_are_told_apart_by_the_ssrcs_in_the_offer() -> None:
    stage, other = Stage(), answering_browser(("audio", "audio"))
    for tag, address in (("p", A), ("q", B)):
        stage.ask(CommandName.PUBLISH, sdp(address, 4000), from_tag=Tag(tag))
    request = subscribe(stage, "p", "q", bundle=words("require"))
    told = [str(section.attribute("ssrc")).split()[0] for section in sections(request)]
    stage.ask(CommandName.SUBSCRIBE_ANSWER, named(other), to_tag=Tag("s"))
    (call,) = stage.relay.registry.calls.values()
    assert [str(s.ssrc) for s in call.subscriptions] == told
    assert len(set(told)) == 2


def test_payload_types_that_contradict_each_other_share_no_port() -> None:
    stage = Stage()
    stage.ask(
        CommandName.PUBLISH,
        phone(A, kinds=(("m=audio 4000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2"),)),
        from_tag=Tag("p"),
    )
    stage.ask(CommandName.PUBLISH, phone(B, kinds=(VIDEO,)), from_tag=Tag("q"))
    request = subscribe(stage, "p", "q", bundle=words("require"))
    assert group(request) == "BUNDLE 1"
    assert len(set(ports(request))) == 2


def test_a_renewed_request_keeps_port_and_bundle() -> None:
    stage, one, other = Stage(), Browser(("audio", "video")), answering_browser()
    published(stage, one)
    first = subscribe(stage, "p", bundle=words("offer"))
    stage.ask(CommandName.SUBSCRIBE_ANSWER, named(other), to_tag=Tag("s"))
    again = subscribe(stage, "p")
    assert group(again) == "BUNDLE 1 2"
    assert set(ports(again)) == {ports(first)[0]}


def test_a_subscriber_without_bundles_hears_each_section_on_its_own_port() -> None:
    stage, one = Stage(), Browser(("audio", "video"))
    facing = published(stage, one)
    subscribe(stage, "p", bundle=words("offer"), transport_protocol="RTP/AVP", ice=IceOption.REMOVE)
    media = ("m=audio 4002 RTP/AVP 111", "m=video 4012 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
    stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp(B, media=media), to_tag=Tag("s"))
    for payload_type, port in ((111, 4002), (96, 4012)):
        packet = rtp(payload_type, payload_type=payload_type)
        leaving = stage.receive(facing.local, one.endpoint, one.protect(packet))
        assert Endpoint(B, port) in {destination for _, _, destination in leaving}


# --- several groups (RFC 9143 section 7) ---

TWO_GROUPS = "BUNDLE a v", "BUNDLE b w"


def two_bundles(address: str, *ports: int, groups: Sequence[str] = TWO_GROUPS) -> str:
    """Audio and video of a room, and of another one; each group's sections share the port of its first, as ICE-less
    parties do it."""
    payload_types = {"a": 0, "v": 96, "b": 8, "w": 97}
    shared = dict(zip("avbw", ports, strict=True))
    lines = [f"a=group:{each}" for each in groups]
    for mid, payload_type in payload_types.items():
        kind = "audio" if mid in "ab" else "video"
        lines += [f"m={kind} {shared[mid]} RTP/AVPF {payload_type}", f"a=mid:{mid}", "a=rtcp-mux"]
        lines += [f"a=rtpmap:{payload_type} VP8/90000"] if kind == "video" else []
    return sdp(address, media=lines)


def groups_of(text: str) -> list[str]:
    return [line.removeprefix("a=group:") for line in text.splitlines() if line.startswith("a=group:")]


def test_each_group_of_an_offer_is_a_bundle_of_its_own() -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    offer = stage.offer(two_bundles(A, 4000, 4000, 4010, 4010), transport_protocol="RTP/AVP")["sdp"]
    assert groups_of(offer) == []
    answer = stage.answer(phone(B, 4002, (AUDIO, VIDEO, ("m=audio {port} RTP/AVP 8",), VIDEO)))["sdp"]
    assert groups_of(answer) == list(TWO_GROUPS)
    assert [media.transport for media in call_of(stage).parties[1].medias] == [None, 0, None, 2]
    one, _, two, _ = sections(answer)
    assert [section.port for section in sections(answer)] == [one.port, one.port, two.port, two.port]
    assert one.port != two.port
    for facing, payload_type, here, there in ((one, 0, 4000, 4002), (one, 96, 4000, 4012), (two, 8, 4010, 4022)):
        packet = rtp(payload_type, payload_type=payload_type)
        ((_, data, destination),) = stage.receive(facing.local, Endpoint(A, here), packet)
        assert (data, destination) == (packet, Endpoint(B, there))
    facing_phone = sections(offer)[3]
    back = rtp(9, payload_type=97, ssrc=7)
    ((source, data, destination),) = stage.receive(facing_phone.local, Endpoint(B, 4032), back)
    assert (source, data, destination) == (two.local, back, Endpoint(A, 4010))


def test_groups_are_offered_on_and_each_is_answered_by_itself() -> None:
    """The answerer takes the second bundle, and leaves the first."""
    stage = Stage(interfaces=INTERFACES[:1])
    offer = stage.offer(two_bundles(A, 4000, 4000, 4010, 4010))["sdp"]
    assert groups_of(offer) == list(TWO_GROUPS)
    assert len(set(ports(offer))) == 4
    answer = stage.answer(two_bundles(B, 4002, 4012, 4022, 4022, groups=("BUNDLE b w",)))["sdp"]
    assert [media.transport for media in call_of(stage).parties[2].medias] == [None, None, None, 2]
    assert groups_of(answer) == list(TWO_GROUPS)
    audio = sections(answer)[0]
    for payload_type, there in ((0, 4002), (96, 4012)):
        packet = rtp(payload_type, payload_type=payload_type)
        ((_, _, destination),) = stage.receive(audio.local, Endpoint(A, 4000), packet)
        assert destination == Endpoint(B, there)
    packet = rtp(97, payload_type=97)
    ((_, _, destination),) = stage.receive(sections(answer)[2].local, Endpoint(A, 4010), packet)
    assert destination == Endpoint(B, 4022)


def test_groups_that_were_agreed_on_are_offered_again_as_they_were() -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    stage.offer(two_bundles(A, 4000, 4000, 4010, 4010))
    stage.answer(two_bundles(B, 4002, 4002, 4022, 4022))
    before = [(media.local, media.transport) for _, media in call_of(stage).medias()]
    again = stage.offer(two_bundles(A, 4000, 4000, 4010, 4010), to_tag="b")["sdp"]
    assert groups_of(again) == list(TWO_GROUPS)
    assert len(set(ports(again))) == 2
    stage.answer(two_bundles(B, 4002, 4002, 4022, 4022))
    assert [(media.local, media.transport) for _, media in call_of(stage).medias()] == before


def test_a_publishers_groups_are_bundles_of_their_own() -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    body = stage.ask(CommandName.PUBLISH, two_bundles(A, 4000, 4000, 4010, 4010), from_tag=Tag("p"))
    assert groups_of(str(body["sdp"])) == list(TWO_GROUPS)
    assert [media.transport for media in call_of(stage).parties[1].medias] == [None, 0, None, 2]


def test_a_section_that_two_groups_name_belongs_to_the_first() -> None:
    stage = Stage(interfaces=INTERFACES[:1])
    offer = two_bundles(A, 4000, 4000, 4010, 4010, groups=("BUNDLE a v", "BUNDLE v b w"))
    body = stage.ask(CommandName.PUBLISH, offer, from_tag=Tag("p"))
    assert groups_of(str(body["sdp"])) == list(TWO_GROUPS)


def test_sections_of_different_groups_are_not_bundled_by_an_answer() -> None:
    """RFC 9143 section 7.3: the answerer moves no section to another group."""
    stage = Stage(interfaces=INTERFACES[:1])
    stage.offer(two_bundles(A, 4000, 4000, 4010, 4010))
    stage.answer(two_bundles(B, 4002, 4002, 4022, 4022, groups=("BUNDLE a w",)))
    assert [media.transport for media in call_of(stage).parties[2].medias] == [None] * 4
