"""Callers whose SDP does not say where their media comes from, and strangers who would like to be taken for them.

caller 192.0.2.2 (SDP says otherwise) == RTP ==> west [ relay ] east == RTP ==> callee
stranger 192.0.2.2, another port      == RTP ==>
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Address, Party, assert_heard
from tests.e2e.harness.stage import Call, Stage, open_stage
from tests.e2e.ng import NgClient

PRIVATE = "10.23.0.5"
UNREACHABLE = "203.0.113.77"


def test_the_source_of_the_sip_message_replaces_a_private_address(scene: Stage) -> None:
    """What Kamailio's example does for RFC 1918 addresses: flag SIP-source-address; the port in the SDP is right."""
    with scene.phones(advertised=PRIVATE) as phones:
        call = phones.establish("private")
        call.talk()
        phones.hang_up("private")


def test_the_address_of_a_caller_behind_nat_is_learned(scene: Stage) -> None:
    with scene.phones("WITH_TRUST_SDP", advertised=UNREACHABLE) as phones:
        call = phones.establish("learned")
        judged = scene.relay.judged() if scene.relay.in_kernel else 0
        call.find_each_other()
        if scene.relay.in_kernel:
            assert scene.relay.judged() - judged <= 10
        call.talk()
        phones.hang_up("learned")


def call_from_behind_nat(scene: Stage, ng: NgClient, call_id: str, a: Party, b: Party) -> Call:
    """Of `a`, whose SDP names an address that is not its."""
    offered = ng.offer(call_id, "a", sdp.describe(UNREACHABLE, [a.port]))
    answered = ng.answer(call_id, "a", "b", sdp.describe(b.address, [b.port]))
    return Call(scene.relay, call_id, a, sdp.section(answered.sdp).rtp, b, sdp.section(offered.sdp).rtp)


def test_video_behind_nat_is_learned_and_none_of_it_lost(scene: Stage) -> None:
    """30 frames a second, each second a key frame of 80 packets: more than the kernel hands up of a source in doubt."""
    promised_by_ours(scene)
    with scene.relay.client() as ng, scene.party(scene.lab.caller) as a, scene.party(scene.lab.callee) as b:
        call = call_from_behind_nat(scene, ng, "video", a, b)
        for _ in range(2):
            a.send(call.a_target, 80, spacing=0)
            for _ in range(29):
                time.sleep(1 / 30)
                a.send(call.a_target, 8, spacing=0)
                b.collect()
        assert_heard(b, a)
        ng.delete("video")


def test_a_fax_of_a_caller_behind_nat_follows_its_audio_and_is_counted(scene: Stage) -> None:
    """T.38 comes from another port than the audio, of which the SDP says as little."""
    promised_by_ours(scene)
    with scene.relay.client() as ng, scene.party(scene.lab.caller) as a, scene.party(scene.lab.callee) as b:
        call_from_behind_nat(scene, ng, "fax", a, b).find_each_other()
        audio = ng.query("fax").number("totals", "RTP", "packets")
        with scene.party(scene.lab.caller) as fax:
            offered = ng.offer("fax", "a", _t38(UNREACHABLE, fax.port + 1), to_tag="b")
            answered = ng.answer("fax", "a", "b", _t38(b.address, b.port))
            to_a, to_b = sdp.section(answered.sdp).rtp, sdp.section(offered.sdp).rtp
            _exchange(fax, to_a, b)
            _exchange(b, to_b, fax)
        shown = ng.delete("fax")
        stream = ("tags", "a", "medias", 0, "streams", 0)
        assert shown.number("totals", "RTP", "packets") == audio + 12
        assert shown.number(*stream, "last user packet") > 0
        assert shown.at(*stream, "flags") == ["RTP", "filled", "confirmed", "no kernel support"]


def _t38(address: str, port: int) -> str:
    return f"v=0\r\no=- 1 2 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=image {port} udptl t38\r\n"


def _exchange(sender: Party, target: Address, receiver: Party) -> None:
    """Six packets of UDPTL (ITU-T T.38), each of which arrives."""
    packets = [number.to_bytes(2) + b"udptl" for number in range(6)]
    for packet in packets:
        sender.socket.sendto(packet, target)
    arrived: list[bytes] = []

    def all_here() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                arrived.append(receiver.socket.recv(2048))
        return len([data for data in arrived if data in packets]) == len(packets)

    until(all_here, "the fax")


def promised_by_ours(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine 10.5 lets strangers in (advisory ES2025-01)")


def test_a_stranger_is_not_heard(scene: Stage) -> None:
    """RTP injection: once a party has spoken, nobody else reaches its peer or gets what the peer says."""
    promised_by_ours(scene)
    with scene.phones() as phones:
        call = phones.establish("injected")
        call.talk(20)
        with scene.party(scene.lab.caller) as stranger:
            for party in (call.a, call.b):
                party.forget()
            for _ in range(100):
                stranger.send(call.a_target, spacing=0)
                call.a.send(call.a_target)
                call.b.send(call.b_target)
            assert_heard(call.a, call.b)
            assert_heard(call.b, call.a)
            assert not stranger.collect()
        phones.hang_up("injected")


def test_a_stranger_who_comes_first_does_not_steal_the_call(scene: Stage) -> None:
    """RTP bleed: the address the SDP named has not spoken yet, a stranger has; when it does, the call is its."""
    promised_by_ours(scene)
    with scene.phones() as phones:
        call = phones.establish("bleed")
        with scene.party(scene.lab.caller) as stranger:
            stranger.send(call.a_target, 30)
            call.find_each_other()
            call.talk(20)
            stranger.forget()
            for _ in range(50):
                stranger.send(call.a_target, spacing=0)
                call.b.send(call.b_target)
            call.talk(20)
            assert not stranger.collect()
        phones.hang_up("bleed")


def test_who_was_never_heard_is_not_flooded(kind: str, tmp_path: Path) -> None:
    """The callee's address may be that of somebody who knows nothing of the call; its first packet shows it is not."""
    if kind.startswith("rtpengine"):
        pytest.skip("rtpengine sends whatever comes in")
    with open_stage(kind, tmp_path, "--unheard-bandwidth=5000") as stage, stage.relay.client() as ng:
        call = stage.call_over_ng(ng, "flood")

        def shielded() -> bool:
            call.a.send(call.a_target, 20)
            return "too much for a party never heard" in stage.relay.log.read_text()

        until(shielded, "the way to be closed")
        call.forget()
        call.a.send(call.a_target, 20)
        unwanted = set(call.a.sent)
        call.find_each_other()
        assert not unwanted & {seen.data for seen in call.b.collect()}
        call.talk()
        call.close()
