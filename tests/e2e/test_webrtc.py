"""Browsers: a real Chromium with ICE, DTLS-SRTP and BUNDLE, against a phone with plain RTP and against another browser.

caller namespace: Chromium == STUN, DTLS, SRTP ==> west [ relay ] east == RTP ==> phone in the callee namespace
                                                                      == SRTP ==> Chromium in the callee namespace
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Party, packet
from tests.e2e.harness.sdp import describe, section, sections
from tests.e2e.harness.stage import Stage
from tools.bencode import Value

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="not installed: chromium (see `make build`)")

TO_PHONE: dict[str, Value] = {
    "ICE": "remove",
    "transport-protocol": "RTP/AVP",
    "rtcp-mux": ["demux"],
    "direction": ["west", "east"],
}
TO_BROWSER: dict[str, Value] = {
    "ICE": "force",
    "transport-protocol": "UDP/TLS/RTP/SAVPF",
    "rtcp-mux": ["offer", "require"],
    "direction": ["east", "west"],
}
PCMU_ONLY: dict[str, Value] = {"codec": {"strip": ["all"], "offer": ["PCMU"]}}


def connected(browser: Browser, name: str) -> None:
    def up() -> bool:
        stats = browser.stats(name)
        return bool(stats["connection"] == "connected" and stats["dtls"] == "connected")

    until(up, f"{name} to connect", 20)


def grows(browser: Browser, name: str, *paths: tuple[str, str, float], during: Callable[[], object]) -> None:
    """Each statistic grows by that much while `during` is repeated."""

    def value(stats: dict[str, Any], kind: str, field: str) -> float:
        return float(stats.get(kind, {}).get(field, 0))

    start = browser.stats(name)

    def grown() -> bool:
        during()
        now = browser.stats(name)
        return all(value(now, kind, field) - value(start, kind, field) >= by for kind, field, by in paths)

    until(grown, f"{name}: {paths} to grow from {start}", 30)


def talk(phone: Party, target: tuple[str, int]) -> Callable[[], None]:
    """Half a second of noise from the phone."""

    def say() -> None:
        phone.send(target, 25, spacing=0.02)
        phone.collect()

    return say


def in_kernel(scene: Stage, call: str = "rtc") -> Callable[[], None]:
    """To be called at the end: the kernel has forwarded the call's media meanwhile, the daemon next to nothing of it.

    RTCP of SRTP is the daemon's.
    """
    if not scene.relay.in_kernel:
        return lambda: None

    def media() -> dict[str, tuple[int, int]]:
        """Packets by port: forwarded by the kernel, and by the daemon."""
        flows = json.loads(scene.relay.console(f"--json list flows {call}"))
        return {
            flow["local"]: (flow["kernel_packets"], flow["packets"] - flow["kernel_packets"] - flow["rtcp_packets"])
            for flow in flows
        }

    before, read = media(), scene.relay.rtp_read()

    def check() -> None:
        by_kernel = by_daemon = 0
        for local, (kernel, daemon) in media().items():
            kernel_before, daemon_before = before.get(local, (0, 0))
            by_kernel += kernel - kernel_before
            by_daemon += max(0, daemon - daemon_before)
        seen = f"{by_kernel} by the kernel, {by_daemon} by the daemon: {scene.relay.reasons()}"
        assert by_kernel >= 100, seen
        assert by_daemon <= 20, seen
        assert scene.relay.rtp_read() - read <= 20, seen

    return check


def test_a_browser_calls_a_phone(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        browser.make("rtc", "audio")
        offer = ng.offer("rtc", "a", browser.offer("rtc"), **TO_PHONE, **PCMU_ONLY)
        for foreign in ("ice-", "candidate", "fingerprint", "SAVPF", "extmap"):
            assert foreign not in offer.sdp
        answer = ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), ICE="force")
        browser.accept("rtc", answer.sdp)
        connected(browser, "rtc")
        check = in_kernel(scene)
        grows(
            browser,
            "rtc",
            ("in_audio", "packets", 100),
            ("in_audio", "energy", 0.01),
            ("out_audio", "packets", 100),
            during=talk(phone, section(offer.sdp).rtp),
        )
        assert {seen.data[1] & 0x7F for seen in phone.received} == {0}
        assert len(phone.received) >= 100
        check()
        browser.close("rtc")
        ng.delete("rtc")


def test_a_browser_talks_opus_with_a_phone(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    """The phone says back what it hears: the browser decodes its own microphone."""
    browser, _ = browsers
    opus: dict[str, Value] = {"codec": {"strip": ["all"], "offer": ["opus"]}}
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        browser.make("rtc", "audio")
        offer = ng.offer("rtc", "a", browser.offer("rtc"), **TO_PHONE, **opus)
        (payload_type,) = section(offer.sdp).payload_types
        lines = (f"a=rtpmap:{payload_type} opus/48000/2",)
        described = describe(phone.address, [phone.port], payload=str(payload_type), extra=lines)
        browser.accept("rtc", ng.answer("rtc", "a", "b", described, ICE="force").sdp)
        connected(browser, "rtc")
        check = in_kernel(scene)
        echoed = 0

        def echo() -> None:
            nonlocal echoed
            until(lambda: len(phone.collect()) > echoed, "the browser to talk")
            for seen in phone.received[echoed:]:
                phone.socket.sendto(packet(seen.sequence, seen.timestamp, 4711, seen.payload, payload_type), target)
                echoed += 1

        target = section(offer.sdp).rtp
        grows(browser, "rtc", ("in_audio", "packets", 100), ("in_audio", "energy", 0.01), during=echo)
        assert {seen.data[1] & 0x7F for seen in phone.received} == {payload_type}
        check()
        browser.close("rtc")
        ng.delete("rtc")


def test_a_phone_calls_a_browser(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        offer = ng.offer("rtc", "a", describe(phone.address, [phone.port]), **TO_BROWSER, flags=["generate-mid"])
        browser.make("rtc", "audio")
        answer = ng.answer("rtc", "a", "b", browser.answer("rtc", offer.sdp))
        connected(browser, "rtc")
        check = in_kernel(scene)
        say = talk(phone, section(answer.sdp).rtp)
        grows(browser, "rtc", ("in_audio", "packets", 100), ("out_audio", "packets", 100), during=say)
        assert len(phone.received) >= 100
        check()
        browser.close("rtc")
        ng.delete("rtc")


@pytest.mark.parametrize("policy", ["balanced", "max-bundle", "max-compat"])
def test_a_browser_calls_a_browser_with_video(scene: Stage, browsers: tuple[Browser, Browser], policy: str) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video", policy=policy)
        other.make("rtc", "audio", "video")
        offer = ng.offer("rtc", "a", one.offer("rtc"), direction=["west", "east"])
        answer = ng.answer("rtc", "a", "b", other.answer("rtc", offer.sdp))
        one.accept("rtc", answer.sdp)
        for browser in browsers:
            connected(browser, "rtc")
        check = in_kernel(scene)
        for browser in browsers:
            grows(
                browser,
                "rtc",
                ("in_audio", "energy", 0.01),
                ("in_audio", "packets", 50),
                ("in_video", "frames", 20),
                during=lambda: None,
            )
        check()
        for browser in browsers:
            assert browser.stats("rtc")["in_audio"]["lost"] <= 5
            browser.close("rtc")
        ng.delete("rtc")


def test_an_ice_restart_keeps_the_call(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        browser.make("rtc", "audio")
        to_phone: dict[str, Value] = {**TO_PHONE, **PCMU_ONLY}
        first = ng.offer("rtc", "a", browser.offer("rtc"), **to_phone)
        browser.accept("rtc", ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), ICE="force").sdp)
        connected(browser, "rtc")
        to_phone["to-tag"] = "b"
        second = ng.offer("rtc", "a", browser.offer("rtc", restart=True), **to_phone)
        browser.accept("rtc", ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), ICE="force").sdp)
        assert section(second.sdp).rtp == section(first.sdp).rtp
        connected(browser, "rtc")
        say = talk(phone, section(second.sdp).rtp)
        grows(browser, "rtc", ("in_audio", "packets", 100), ("out_audio", "packets", 100), during=say)
        browser.close("rtc")
        ng.delete("rtc")


@pytest.mark.parametrize("policy", ["balanced", "max-bundle"])
def test_a_browser_publishes_and_another_subscribes(
    scene: Stage, browsers: tuple[Browser, Browser], policy: str
) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video", policy=policy)
        published = ng.publish("room", "p", one.offer("rtc"), interface="west")
        one.accept("rtc", published.sdp)
        connected(one, "rtc")
        other.make("rtc")
        request = ng.subscribe(
            "room",
            "p",
            **{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "rtcp-mux": ["require"], "interface": "east"},
        )
        ng.subscribed("room", request.text("to-tag"), other.answer("rtc", request.sdp))
        connected(other, "rtc")
        check = in_kernel(scene, "room")
        grows(
            other,
            "rtc",
            ("in_audio", "packets", 100),
            ("in_audio", "energy", 0.01),
            ("in_video", "frames", 20),
            during=lambda: None,
        )
        check()
        one.close("rtc")
        other.close("rtc")
        ng.delete("room")


def fragment(offer: str, mid: str, candidate: str) -> str:
    """The body of the SIP INFO that brings one candidate (RFC 8840 section 9.2)."""
    ufrag, pwd = (line for line in offer.splitlines() if line.startswith(("a=ice-ufrag:", "a=ice-pwd:")))
    lines = (ufrag, pwd, "m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{mid}", f"a={candidate}")
    return "".join(f"{line}\r\n" for line in lines)


def test_candidates_come_after_the_offer(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        browser.make("rtc", "audio")
        description = browser.offer("rtc", trickle=True)
        assert "a=candidate" not in description
        offer = ng.offer("rtc", "a", description, **TO_PHONE, **PCMU_ONLY)
        answer = ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), flags=["trickle-ICE"])
        for mid, candidate in browser.trickled("rtc"):
            reply = ng.offer("rtc", "a", fragment(description, mid, candidate), flags=["fragment"])
            assert reply.body.keys() == {"result"}
        browser.accept("rtc", answer.sdp)
        connected(browser, "rtc")
        say = talk(phone, section(offer.sdp).rtp)
        grows(browser, "rtc", ("in_audio", "packets", 50), ("out_audio", "packets", 50), during=say)
        browser.close("rtc")
        ng.delete("rtc")


@pytest.mark.parametrize("kinds", [("data",), ("audio", "data")])
def test_browsers_talk_over_a_data_channel(
    scene: Stage, browsers: tuple[Browser, Browser], kinds: tuple[str, ...]
) -> None:
    one, other = browsers
    large = "x" * 60_000
    with scene.relay.client() as ng:
        one.make("rtc", *kinds)
        other.make("rtc", *(kind for kind in kinds if kind != "data"))
        offer = ng.offer("rtc", "a", one.offer("rtc"), direction=["west", "east"])
        answer = ng.answer("rtc", "a", "b", other.answer("rtc", offer.sdp))
        one.accept("rtc", answer.sdp)
        one.say("rtc", large)
        until(lambda: other.heard("rtc") == [large], "the message to arrive", 20)
        other.say("rtc", "got it")
        until(lambda: one.heard("rtc") == ["got it"], "the reply to arrive", 20)
        for browser in browsers:
            browser.close("rtc")
        ng.delete("rtc")


def test_a_phone_is_no_end_of_a_data_channel(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        browser.make("rtc", "audio", "data")
        offer = ng.offer("rtc", "a", browser.offer("rtc"), **TO_PHONE, **PCMU_ONLY)
        refused = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        assert refused in offer.sdp
        described = describe(phone.address, [phone.port])
        facing_phone = next(part.rtp for part in sections(offer.sdp) if part.port)
        start = len(described) if sections(offer.sdp)[0].port else described.index("m=")
        answer = ng.answer("rtc", "a", "b", described[:start] + refused + described[start:], ICE="force")
        browser.accept("rtc", answer.sdp)
        connected(browser, "rtc")
        grows(
            browser, "rtc", ("in_audio", "packets", 50), ("out_audio", "packets", 50), during=talk(phone, facing_phone)
        )
        browser.close("rtc")
        ng.delete("rtc")


def test_twenty_subscribers_of_a_browser_are_all_served(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    """The relay offers and controls, Chromium controls what it offered itself: roles are not to be confused."""
    one, other = browsers
    names = [f"s{number}" for number in range(20)]
    to_browser: dict[str, Value] = {**TO_BROWSER, "interface": "east"}
    del to_browser["direction"]
    with scene.relay.client() as ng:
        one.make("rtc", "audio")
        one.accept("rtc", ng.publish("room", "p", one.offer("rtc"), interface="west").sdp)
        connected(one, "rtc")
        for name in names:
            other.make(name)
            request = ng.subscribe("room", "p", **to_browser)
            ng.subscribed("room", request.text("to-tag"), other.answer(name, request.sdp))
        for name in names:
            connected(other, name)
        for name in names:
            grows(other, name, ("in_audio", "packets", 20), during=lambda: None)
        one.close("rtc")
        for name in names:
            other.close(name)
        ng.delete("room")
