"""WebRTC to SIP as it is run: browsers register over WebSockets at Kamailio, phones over UDP, and its stock rtpengine
module asks the relay for media.

    Chromium == SRTP ==> west [ relay ] east == RTP ==> party at the callee
    SIP over a WebSocket --> Kamailio -- SIP over UDP --> sipp at the callee
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.kamailio import Kamailio
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Party
from tests.e2e.harness.sdp import describe, section
from tests.e2e.harness.sipp import Sipp
from tests.e2e.harness.stage import Stage
from tests.e2e.harness.ws_phone import WebSocketPhone

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="not installed: chromium (see `make build`)")


@pytest.fixture(scope="session")
def browser(stage: Stage, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not stage.relay.ours:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    with Browser(stage.lab.caller.namespace, tmp_path_factory.mktemp(f"sip-browser-{kind}") / "log") as browser:
        yield browser


@pytest.fixture
def proxy(scene: Stage) -> Kamailio:
    defines = ("WITH_WEBSOCKET",) if scene.lab.on_loopback else ("WITH_WEBSOCKET", "WITH_BRIDGING")
    return scene.proxy(*defines)


@pytest.fixture
def web(scene: Stage, proxy: Kamailio) -> Iterator[WebSocketPhone]:
    with WebSocketPhone("alice", scene.lab.caller, (proxy.address(4), proxy.port)) as phone:
        yield phone


def talk(browser: Browser, phone: Party, target: tuple[str, int]) -> None:
    """Both ways, heard on both sides."""

    def heard() -> bool:
        phone.send(target, 25, spacing=0.02)
        arrived = browser.stats("sip").get("in_audio", {})
        return len(phone.collect()) >= 50 and arrived.get("packets", 0) >= 50 and arrived.get("energy", 0) > 0.001

    until(heard, "audio both ways", 30)
    assert {seen.data[1] & 0x7F for seen in phone.received} == {0}


def test_a_browser_calls_a_phone_over_sip(scene: Stage, proxy: Kamailio, web: WebSocketPhone, browser: Browser) -> None:
    call_id = f"web-{scene.relay.kind}"
    with Sipp("callee", scene.lab.callee, 7800, scene.workdir) as callee, scene.party(scene.lab.callee) as phone:
        proxy.register("desk", scene.lab.callee, 7800)
        browser.make("sip", "audio")
        web.invite("desk", call_id, browser.offer("sip"))
        offer = callee.gets(call_id, "INVITE").body
        for foreign in ("ice-", "candidate", "fingerprint", "SAVPF", "BUNDLE"):
            assert foreign not in offer
        callee.tell(call_id, "answer", describe(phone.address, [phone.port]))
        browser.accept("sip", web.answered())
        talk(browser, phone, section(offer).rtp)
        web.hang_up()
        scene.assert_gone(call_id)
        browser.close("sip")


def test_a_phone_calls_a_browser_over_sip(scene: Stage, proxy: Kamailio, web: WebSocketPhone, browser: Browser) -> None:
    call_id = f"desk-{scene.relay.kind}"
    target = (proxy.address(4), proxy.port)
    with (
        Sipp("caller", scene.lab.callee, 7900, scene.workdir, target=target, user="alice") as caller,
        scene.party(scene.lab.callee) as phone,
    ):
        caller.tell(call_id, "invite", describe(phone.address, [phone.port]))
        browser.make("sip", "audio")
        web.answer(browser.answer("sip", web.rings().body))
        answer = caller.gets(call_id, "200 INVITE").body
        assert "m=audio" in answer
        assert "fingerprint" not in answer
        talk(browser, phone, section(answer).rtp)
        caller.tell(call_id, "bye")
        web.is_hung_up()
        caller.gets(call_id, "200 BYE")
        scene.assert_gone(call_id)
        browser.close("sip")
