"""The network under a running call changes: the media follows.

caller == RTP ==> west [ relay ] east == RTP ==> callee, who gets another MAC address, goes away and comes back
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Talk, assert_heard
from tests.e2e.harness.stage import Call, Stage, open_stage
from tests.e2e.harness.tap import Tap


@contextmanager
def call(stage: Stage, call_id: str) -> Iterator[Call]:
    with stage.relay.client() as ng:
        made = stage.call_over_ng(ng, call_id)
        try:
            yield made
        finally:
            made.close()
            ng.delete(call_id)


def needs_wires(scene: Stage) -> None:
    if scene.lab.on_loopback:
        pytest.skip("lo has no neighbours")


def test_a_neighbour_gets_another_mac_address(scene: Stage) -> None:
    """A phone is replaced, a gateway fails over: the address stays, the card behind it is another."""
    needs_wires(scene)
    with call(scene, "new-card") as made:
        made.talk(10)
        callee = scene.lab.callee
        callee.namespace.ip("link", "set", "wire", "address", "02:00:00:00:00:77")
        # As after any change of card: it announces itself (RFC 5227 section 3), here by asking for its gateway.
        callee.namespace.ip("neighbour", "flush", "dev", "wire")
        callee.namespace.run("ping", "-c1", "-W2", scene.lab.east.ip4)
        made.find_each_other()
        made.talk()


def test_an_interface_goes_down_and_comes_back(scene: Stage) -> None:
    needs_wires(scene)
    with call(scene, "flap") as made:
        made.talk(10)
        scene.lab.relay.ip("link", "set", "east", "down")
        made.a.send(made.a_target, 5)
        assert scene.relay.running
        scene.lab.relay.ip("link", "set", "east", "up")
        # An interface that goes down takes its global IPv6 addresses with it.
        scene.lab.relay.address("east", f"{scene.lab.east.ip6}/64")
        made.find_each_other()
        made.talk()


def test_one_address_serves_every_device(kind: str, tmp_path: Path) -> None:
    """The usual installation: one media address, and packets to it come in by any device of the host."""
    with open_stage(kind, tmp_path, sides=("west",)) as stage, call(stage, "one-address") as made:
        made.find_each_other()
        made.talk()


def test_large_packets_pass(scene: Stage) -> None:
    """Larger than a path's MTU, a datagram comes in fragments, which only the stack puts together."""
    with call(scene, "large") as made:
        for size in (1200, 1460, 3000):
            made.forget()
            for party, target in made.directions:
                party.size = size
                party.send(target, 10)
            assert_heard(made.a, made.b)
            assert_heard(made.b, made.a)


def test_the_type_of_service_is_set(scene: Stage) -> None:
    needs_wires(scene)
    with scene.relay.client() as ng, Tap(scene.lab.callee) as tap:
        a, b = scene.party(scene.lab.caller), scene.party(scene.lab.callee)
        with a, b:
            made = scene.call_over_ng(ng, "marked", a, b, TOS=184)
            made.talk(10)
            # Expedited forwarding (RFC 3246), as voice is marked.
            assert {packet.tos for packet in tap.collect() if packet.is_rtp and not packet.sent} == {184}
        ng.delete("marked")


def test_punted_packets_do_not_bounce_while_the_daemon_is_dead(scene: Stage) -> None:
    """Its sockets died with it; port unreachable messages would make phones hang up."""
    if not scene.relay.in_kernel:
        pytest.skip("media in userspace ends with the process")
    with call(scene, "quiet") as made:
        made.talk(10)
        with scene.party(scene.lab.caller) as stranger:
            scene.relay.kill()
            try:
                stranger.socket.connect(made.a_target)
                for _ in range(5):
                    # A bounced packet makes the next send fail.
                    stranger.socket.send(stranger.next_packet())
                made.a.socket.sendto(b"\x80\xc9\x00\x01\x00\x00\x00\x01", made.a_target)
                made.find_each_other()
                stranger.socket.send(stranger.next_packet())
            finally:
                scene.relay.start()
        made.talk(10)


def test_a_call_lives_as_long_as_its_media(scene: Stage) -> None:
    """The no-media timeout looks at the data plane's clock, not at the daemon's sockets."""
    console = scene.relay.console
    if not scene.relay.ours:
        pytest.skip("rtpengine's console sets no timeouts in this way")
    assert "Success" in console("set timeout 1")
    try:
        with scene.relay.client() as ng:
            made = scene.call_over_ng(ng, "lives")
            with Talk(made.directions, 20) as talk:
                talk.after(60)
                assert ng.knows("lives"), "three seconds of media are three times the timeout"
            until(lambda: not ng.knows("lives"), "the silent call to be removed", 6)
            made.close()
    finally:
        console("set timeout 60")
