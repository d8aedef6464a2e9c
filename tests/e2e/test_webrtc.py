"""Browsers: a real Chromium with ICE, DTLS-SRTP and BUNDLE, against a phone with plain RTP and against another browser.

caller namespace: Chromium == STUN, DTLS, SRTP ==> west [ relay ] east == RTP ==> phone in the callee namespace
                                                                      == SRTP ==> Chromium in the callee namespace
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Party
from tests.e2e.harness.sdp import describe, section
from tests.e2e.harness.stage import Stage
from tests.e2e.ng import Value

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
_NOISE = random.Random(7).randbytes(160)


@pytest.fixture(scope="session")
def browsers(stage: Stage, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Browser]]:
    """One in the caller's namespace, one in the callee's."""
    if not stage.relay.ours:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    logs = tmp_path_factory.mktemp(f"browser-{kind}")
    with ExitStack() as stack:
        yield (
            stack.enter_context(Browser(stage.lab.caller.namespace, logs / "caller.log")),
            stack.enter_context(Browser(stage.lab.callee.namespace, logs / "callee.log")),
        )


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


def in_kernel(scene: Stage) -> Callable[[], None]:
    """To be called at the end: what the daemon has read of media meanwhile is next to nothing."""
    if not scene.relay.in_kernel:
        return lambda: None
    before = scene.relay.rtp_read()

    def check() -> None:
        assert scene.relay.rtp_read() - before <= 20, scene.relay.reasons()

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


def test_a_browser_publishes_and_another_subscribes(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video")
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
        grows(
            other,
            "rtc",
            ("in_audio", "packets", 100),
            ("in_audio", "energy", 0.01),
            ("in_video", "frames", 20),
            during=lambda: None,
        )
        one.close("rtc")
        other.close("rtc")
        ng.delete("room")
