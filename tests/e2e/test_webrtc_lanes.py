"""A browser's bundle that is taken apart: its media go different ways, told apart by payload type, SSRC or MID.

caller namespace: Chromium == one port ==> west [ relay ] east == a port each ==> Chromium in the callee namespace
                  audio, camera, screen                                           audio, camera, screen
"""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.polling import until
from tests.e2e.harness.stage import Stage
from tests.e2e.test_webrtc import connected, in_kernel
from tools.bencode import Value

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="not installed: chromium (see `make build`)")

APART: dict[str, Value] = {
    "transport-protocol": "UDP/TLS/RTP/SAVPF",
    "ICE": "force",
    "rtcp-mux": ["require"],
    "interface": "east",
}


def unnamed(offer: str) -> str:
    """Without SSRCs: a browser that leaves them out has its packets carry the MID."""
    lines = offer.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("a=ssrc:", "a=ssrc-group:")))


@pytest.mark.parametrize("named", [True, False], ids=["ssrc", "mid"])
def test_a_camera_and_a_screen_with_the_same_payload_types_arrive_each_at_its_own(
    scene: Stage, browsers: tuple[Browser, Browser], named: bool
) -> None:
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "audio", "video", "screen", policy="max-bundle")
        offer = one.offer("rtc")
        published = ng.publish("room", "p", offer if named else unnamed(offer), interface="west")
        assert published.sdp.count("urn:ietf:params:rtp-hdrext:sdes:mid") == 3
        one.accept("rtc", published.sdp)
        connected(one, "rtc")
        other.make("rtc")
        request = ng.subscribe("room", "p", **APART)
        ng.subscribed("room", request.text("to-tag"), other.answer("rtc", request.sdp))
        connected(other, "rtc")
        check = in_kernel(scene, "room")

        def seen() -> bool:
            pictures = list(other.pictures("rtc").values())
            return len(pictures) == 2 and all(frames >= 20 for frames, _, _ in pictures)

        until(seen, "camera and screen to be seen", 30)
        shapes = [width == height for _, (_, width, height) in sorted(other.pictures("rtc").items())]
        assert shapes == [False, True]
        assert other.audible("rtc") == 1
        check()
        one.close("rtc")
        other.close("rtc")
        ng.delete("room")
