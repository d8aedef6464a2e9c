"""Calls outlive the daemon: killed, stopped or frozen, it leaves the media to the kernel and takes them up again.

200 callers == RTP ==> west [ kernel flows | daemon: kill -9, start ] east == RTP ==> 200 callees
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Talk, assert_heard, exchange
from tests.e2e.harness.stage import Call, Stage

RATE = 10
"""Packets each party sends in a second; 200 calls make 4,000."""


@contextmanager
def running_calls(stage: Stage, count: int) -> Iterator[list[Call]]:
    """Answered calls; closed at the end, and gone from the relay."""
    with ExitStack() as stack, stage.relay.client() as ng:
        calls = []
        for number in range(count):
            call = stage.call_over_ng(ng, f"survivor-{number}")
            stack.callback(call.close)
            calls.append(call)
        yield calls
        for call in calls:
            ng.delete(call.call_id)
        assert ng.calls() == []


def kill_and_start(stage: Stage) -> None:
    stage.relay.kill()
    stage.relay.start()


def stop_and_start(stage: Stage) -> None:
    stage.relay.stop()
    stage.relay.start()


@pytest.mark.parametrize("interruption", [kill_and_start, stop_and_start])
def test_no_packet_is_lost_over_a_restart(scene: Stage, interruption: Callable[[Stage], None]) -> None:
    needs_kernel(scene)
    with running_calls(scene, 200) as calls:
        with Talk([direction for call in calls for direction in call.directions], RATE) as talk:
            talk.after(RATE // 2)
            interruption(scene)
            talk.after(RATE // 2)
        for call in calls:
            assert_heard(call.b, call.a)
            assert_heard(call.a, call.b)
        with scene.relay.client() as ng:
            assert sorted(ng.calls()) == sorted(call.call_id for call in calls)
            for call in calls:
                sent = len(call.a.sent) + len(call.b.sent)
                assert ng.query(call.call_id).ok().number("totals", "RTP", "packets") == sent, "counters continue"


def test_no_packet_is_lost_when_the_maps_have_to_be_of_another_size(scene: Stage) -> None:
    """More ports, more flows; and back. What was counted in the old maps is gone with them."""
    needs_kernel(scene)
    ports = scene.relay.ports
    with running_calls(scene, 50) as calls:
        with Talk([direction for call in calls for direction in call.directions], RATE) as talk:
            for scene.relay.ports in ((ports[0], ports[1] + 2000), ports):
                talk.after(RATE // 2)
                kill_and_start(scene)
                assert "flows are installed anew" in scene.relay.log.read_text().rpartition("starting")[2]
                until(lambda: not (scene.relay.bpf_path / "maps-old").exists(), "the old maps to go")
            talk.after(RATE // 2)
        for call in calls:
            assert_heard(call.b, call.a)
            assert_heard(call.a, call.b)


def test_a_frozen_daemon_does_not_touch_media(scene: Stage) -> None:
    """SIGSTOP for three seconds, by the parties' own clock."""
    needs_kernel(scene)
    with running_calls(scene, 50) as calls:
        with Talk([direction for call in calls for direction in call.directions], RATE) as talk:
            talk.after(RATE // 2)
            assert scene.relay.program
            scene.relay.program.signal(signal.SIGSTOP)
            try:
                talk.after(3 * RATE)
            finally:
                scene.relay.program.signal(signal.SIGCONT)
            talk.after(RATE // 2)
        for call in calls:
            assert_heard(call.b, call.a)
            assert_heard(call.a, call.b)
        with scene.relay.client() as ng:
            until(ng.alive, "the daemon to answer again")


def test_an_answered_call_is_known_after_a_crash(scene: Stage) -> None:
    """The journal is written before the reply: the moment the answer is there, the call survives."""
    promised_by_ours(scene)
    with running_calls(scene, 1) as calls:
        kill_and_start(scene)
        call = calls[0]
        call.talk()
        with scene.relay.client() as ng:
            assert ng.query(call.call_id).ok().number("totals", "RTP", "packets") == 100


def test_an_offer_can_be_answered_after_a_crash(scene: Stage) -> None:
    promised_by_ours(scene)
    with scene.relay.client() as ng, scene.party(scene.lab.caller) as a, scene.party(scene.lab.callee) as b:
        offered = ng.offer("half-open", "a", sdp.describe(a.address, [a.port]))
        kill_and_start(scene)
        answered = ng.answer("half-open", "a", "b", sdp.describe(b.address, [b.port]))
        call = Call(scene.relay, "half-open", a, sdp.section(answered.sdp).rtp, b, sdp.section(offered.sdp).rtp)
        call.talk()
        ng.delete("half-open")


def test_flows_nobody_remembers_are_removed(scene: Stage) -> None:
    """Without its journal the new daemon owns no call, so what the old one left in the kernel is an orphan."""
    needs_kernel(scene)
    with ExitStack() as stack:
        ng = stack.enter_context(scene.relay.client())
        call = scene.call_over_ng(ng, "orphan")
        stack.callback(call.close)
        call.talk(10)
        scene.relay.kill()
        shutil.rmtree(scene.relay.state)
        exchange(call.a, call.a_target, call.b, call.b_target, 10)
        scene.relay.start()
        assert not ng.knows("orphan")
        until(lambda: "packets" not in scene.relay.console("list flows"), "the orphans to be removed")
        call.forget()
        call.a.send(call.a_target, 5)
        with_media = scene.call_over_ng(ng, "after")
        stack.callback(with_media.close)
        with_media.talk(10)
        assert not call.b.collect()
        ng.delete("after")


def needs_kernel(scene: Stage) -> None:
    if not scene.relay.in_kernel:
        pytest.skip("media in userspace ends with the process")


def promised_by_ours(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine keeps no calls without a Redis")
