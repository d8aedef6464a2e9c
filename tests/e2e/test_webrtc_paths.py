"""A WebRTC party that moves in the middle of a call: media follows it, and nothing is lost on the way; one that falls
silent; and a relay that dies in the middle of a call.

caller namespace: peer, first socket  ==+
                        second socket ==+== SRTP ==> west [ relay ] east == RTP ==> phone in the callee namespace
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from rtprelay.ice.agent import CONSENT_CHECKS
from tests.e2e.harness.browser import CHROMIUM, Browser
from tests.e2e.harness.moving_peer import MovingPeer
from tests.e2e.harness.polling import until
from tests.e2e.harness.relay import OWN
from tests.e2e.harness.rtp import Party
from tests.e2e.harness.sdp import describe, section
from tests.e2e.harness.stage import Stage, open_stage
from tests.e2e.ng import NgClient
from tools.bencode import Value

TO_PHONE: dict[str, Value] = {
    "ICE": "remove",
    "transport-protocol": "RTP/AVP",
    "rtcp-mux": ["demux"],
    "direction": ["west", "east"],
}


def connect(ng: NgClient, peer: MovingPeer, phone: Party) -> tuple[str, int]:
    """Where the phone sends to, once peer and relay are connected by the peer's first socket."""
    offer = ng.offer("rtc", "a", peer.offer(), **TO_PHONE)
    peer.accept(ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), ICE="force").sdp)

    def up() -> bool:
        peer.nominate(peer.at)
        peer.work()
        time.sleep(0.02)
        return peer.connected

    def forwarded() -> bool:
        """The last flight of the handshake is the peer's: the relay has its keys a little later."""
        peer.say()
        time.sleep(0.02)
        return bool(phone.collect())

    until(up, "the peer to connect", 20)
    until(forwarded, "the relay to have its keys")
    until(lambda: int.from_bytes(phone.collect()[-1].data[2:4]) == peer.said, "what was said until then")
    peer.forget()
    phone.forget()
    return section(offer.sdp).rtp


def exchange(peer: MovingPeer, phone: Party, target: tuple[str, int], packets: int, spacing: float = 0.01) -> None:
    """Both ways."""
    for _ in range(packets):
        phone.send(target, spacing=spacing)
        peer.say()
        peer.work()


def arrived(peer: MovingPeer, phone: Party) -> bool:
    """All that was said."""
    peer.work()
    phone.collect()
    return len(peer.heard) == len(phone.sent) and len(phone.received) == peer.said


@pytest.mark.parametrize("speaking", [True, False])
def test_a_peer_that_moves_is_followed_without_loss(scene: Stage, speaking: bool) -> None:
    """Its packets tell where it is, or its nomination alone; the old socket stays open for what is under way."""
    if not scene.relay.ours:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    lab = scene.lab
    with (
        scene.relay.client() as ng,
        scene.party(lab.callee) as phone,
        MovingPeer(lab.caller.namespace, lab.caller.ip4) as peer,
    ):
        target = connect(ng, peer, phone)
        exchange(peer, phone, target, 150)
        peer.nominate(1)
        for _ in range(10 if speaking else 60):
            phone.send(target, spacing=0.01)
            peer.work()
        assert speaking or {number for number, _ in peer.heard[-30:]} == {1}
        peer.at = 1
        # At the pace of a call: so many the kernel hands up, however long the daemon takes to follow.
        exchange(peer, phone, target, 20, spacing=0.02)
        read = scene.relay.rtp_read() if scene.relay.in_kernel else 0
        exchange(peer, phone, target, 150)
        until(lambda: arrived(peer, phone), "all packets of both to arrive")
        assert [number for number, _ in peer.heard[-100:]] == [1] * 100
        if scene.relay.in_kernel:
            assert scene.relay.rtp_read() - read <= 5, "the new path is the kernel's as well"
        ng.delete("rtc")


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_peer_that_consents_no_more_is_sent_nothing_until_it_does_again(
    kind: str, seconds: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if kind not in OWN:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    option = f"--ice-consent-timeout={seconds}"
    with (
        open_stage(kind, tmp_path_factory.mktemp("consent"), option) as scene,
        scene.relay.client() as ng,
        scene.party(scene.lab.callee) as phone,
        MovingPeer(scene.lab.caller.namespace, scene.lab.caller.ip4) as peer,
    ):
        target = connect(ng, peer, phone)

        def consents() -> bool:
            flags = ng.query("rtc").at("tags", "a", "medias", 0, "streams", 0, "flags")
            return isinstance(flags, list) and "confirmed" in flags

        def heard_of_phone() -> int:
            return ng.query("rtc").number("tags", "b", "medias", 0, "streams", 0, "stats", "packets")

        def talk_until(condition: Callable[[], bool], what: str) -> None:
            def true_by_now() -> bool:
                exchange(peer, phone, target, 2)
                return condition()

            until(true_by_now, what, 2 * seconds + 20)

        answered = peer.answered
        talk_until(lambda: peer.answered >= answered + CONSENT_CHECKS + 2, "more checks than there are in that time")
        assert consents()
        until(lambda: arrived(peer, phone), "all packets of both to arrive")

        peer.answering = False
        talk_until(lambda: not consents(), "consent to expire")
        peer.work()
        heard, known = len(peer.heard), heard_of_phone()
        phone.send(target, 50)
        until(lambda: heard_of_phone() >= known + 50, "the relay to have taken all packets of the phone")
        peer.work()
        assert len(peer.heard) == heard

        peer.answering = True
        peer.nominate(peer.at)
        talk_until(consents, "consent to be given again")
        peer.forget()
        phone.forget()
        read = scene.relay.rtp_read() if scene.relay.in_kernel else 0
        exchange(peer, phone, target, 50)
        until(lambda: arrived(peer, phone), "all packets of both to arrive")
        assert not scene.relay.in_kernel or scene.relay.rtp_read() == read, "the kernel forwards again"
        ng.delete("rtc")


@pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="not installed: chromium (see `make build`)")
def test_a_data_channel_goes_on_after_a_restart_and_a_new_offer(
    scene: Stage, browsers: tuple[Browser, Browser]
) -> None:
    """DTLS dies with the process, SCTP within it lives on at both ends: it needs another DTLS association."""
    one, other = browsers
    with scene.relay.client() as ng:
        one.make("rtc", "data")
        other.make("rtc")
        offer = ng.offer("rtc", "a", one.offer("rtc"), direction=["west", "east"])
        one.accept("rtc", ng.answer("rtc", "a", "b", other.answer("rtc", offer.sdp)).sdp)
        one.say("rtc", "before")
        until(lambda: other.heard("rtc") == ["before"], "the first message", 20)
    scene.relay.kill()
    scene.relay.start()
    with scene.relay.client() as ng:
        offer = ng.offer("rtc", "a", one.offer("rtc"), **{"to-tag": "b"})
        one.accept("rtc", ng.answer("rtc", "a", "b", other.answer("rtc", offer.sdp)).sdp)
        one.say("rtc", "after")
        until(lambda: other.heard("rtc") == ["before", "after"], "the second message", 20)
        for browser in browsers:
            browser.close("rtc")
        ng.delete("rtc")
