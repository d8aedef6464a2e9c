"""BUNDLE with a real Chromium: subscribers that insist on one transport, phones that know of none.

caller namespace: Chromium == STUN, DTLS, SRTP ==> west [ relay ] east == one transport ==> Chromium in the callee
                  or a phone with plain RTP                                                namespace
"""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.polling import until
from tests.e2e.harness.sdp import describe, section, sections
from tests.e2e.harness.stage import Stage
from tests.e2e.test_webrtc import connected, grows, talk
from tools.bencode import Value

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="not installed: chromium (see `make build`)")

WEBRTC: dict[str, Value] = {"flags": ["WebRTC"], "interface": "east"}


def groups(sdp: str) -> list[str]:
    return [line for line in sdp.splitlines() if line.startswith("a=group:BUNDLE")]


def hears_and_sees(browser: Browser, name: str) -> None:
    grows(
        browser,
        name,
        ("in_audio", "packets", 50),
        ("in_audio", "energy", 0.01),
        ("in_video", "frames", 20),
        during=lambda: None,
    )


@pytest.mark.parametrize("publisher", ["balanced", "max-bundle"])
@pytest.mark.parametrize("bundle", ["offer", "require", "strict"])
def test_a_subscriber_of_audio_and_video_insists_on_one_transport(
    scene: Stage, browsers: tuple[Browser, Browser], publisher: str, bundle: str
) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video", policy=publisher)
        one.accept("rtc", ng.publish("room", "p", one.offer("rtc"), interface="west").sdp)
        connected(one, "rtc")
        other.make("rtc", policy="max-bundle")
        request = ng.subscribe("room", "p", **WEBRTC, bundle=[bundle])
        answer = other.answer("rtc", request.sdp)
        assert groups(request.sdp) == groups(answer) == ["a=group:BUNDLE 1 2"]
        ng.subscribed("room", request.text("to-tag"), answer)
        connected(other, "rtc")
        hears_and_sees(other, "rtc")
        one.close("rtc")
        other.close("rtc")
        ng.delete("room")


def test_a_subscriber_hears_two_publishers_of_one_codec_on_one_transport(
    scene: Stage, browsers: tuple[Browser, Browser]
) -> None:
    """Their payload types are the same: it tells them apart by the SSRCs in the offer."""
    one, other = browsers
    with scene.relay.client() as ng:
        for name in ("p", "q"):
            one.make(name, "audio")
            one.accept(name, ng.publish("room", name, one.offer(name), interface="west").sdp)
            connected(one, name)
        other.make("rtc", policy="max-bundle")
        sources: dict[str, Value] = {"call-id": "room", "from-tags": ["p", "q"]}
        request = ng.command("subscribe request", {**sources, **WEBRTC}).ok()
        ng.subscribed("room", request.text("to-tag"), other.answer("rtc", request.sdp))
        connected(other, "rtc")
        until(lambda: other.audible("rtc") == 2, "two streams to be heard", 20)
        for name in ("p", "q"):
            one.close(name)
        other.close("rtc")
        ng.delete("room")


def test_a_phone_calls_a_browser_that_insists_on_a_bundle(scene: Stage, browsers: tuple[Browser, Browser]) -> None:
    browser, _ = browsers
    with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
        described = describe(phone.address, [phone.port])
        offer = ng.offer("rtc", "a", described, flags=["WebRTC"], direction=["east", "west"])
        browser.make("rtc", "audio", policy="max-bundle")
        answer = ng.answer("rtc", "a", "b", browser.answer("rtc", offer.sdp))
        assert groups(answer.sdp) == []
        connected(browser, "rtc")
        say = talk(phone, section(answer.sdp).rtp)
        grows(browser, "rtc", ("in_audio", "packets", 50), ("out_audio", "packets", 50), during=say)
        browser.close("rtc")
        ng.delete("rtc")


def test_video_goes_on_when_audio_which_carried_the_bundle_ends(
    scene: Stage, browsers: tuple[Browser, Browser]
) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video", policy="max-bundle")
        other.make("rtc", "audio", "video", policy="max-bundle")
        offer = ng.offer("rtc", "a", one.offer("rtc"), direction=["west", "east"])
        one.accept("rtc", ng.answer("rtc", "a", "b", other.answer("rtc", offer.sdp)).sdp)
        for browser in browsers:
            connected(browser, "rtc")
        one.stop("rtc", "audio")
        again = ng.offer("rtc", "a", one.offer("rtc"), **{"to-tag": "b"})
        answer = ng.answer("rtc", "a", "b", other.answer("rtc", again.sdp))
        assert [part.port != 0 for part in sections(answer.sdp)] == [False, True]
        one.accept("rtc", answer.sdp)
        for browser in browsers:
            grows(browser, "rtc", ("in_video", "frames", 20), during=lambda: None)
        for browser in browsers:
            browser.close("rtc")
        ng.delete("rtc")
