"""Packets of different flows that pass the kernel in one batch do not mix.

      caller 1 --+                    +-- callee 1      one output
                 +-- relay (one poll) +
      caller 2 --+                    +-- callees 2, 3  two outputs (broadcast)

The kernel sends what one poll redirected to a device in bulk, and runs one program over all of it. Which copy is whose
it knows by a place for each device, and devices 256 apart want the same one:

      caller --- relay +-- to-b   (ifindex n)        callees 1, 2
                       +-- to-far (ifindex n + 256)  callees 3, 4
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rtprelay.plan.flow import Flow, Output
from rtprelay.values import Endpoint, Family
from rtprelay.wire import rtp
from tests.backend.namespaces import KernelRig, cable
from tests.backend.packets import audio
from tests.backend.rig import datas, put
from tools.netns import Namespace, run

PACKETS = 400


@pytest.fixture
def batching(kernel: KernelRig) -> Iterator[KernelRig]:
    """A thread polls the relay's device: while it wakes up packets gather, and are taken in one go."""
    if kernel.name == "lo":
        pytest.skip("the loopback device is not polled")
    control = "/sys/class/net/to-a/threaded"
    inside = ("ip", "netns", "exec", kernel.lab.relay.name, "sh", "-c")
    run(*inside, f"echo 1 > {control}")
    yield kernel
    run(*inside, f"echo 0 > {control}")


def test_single_and_broadcast_packets_of_one_batch_keep_their_receivers(batching: KernelRig) -> None:
    rig = batching
    callers = [rig.caller(), rig.caller()]
    callees = [rig.callee() for _ in range(3)]
    outputs = [Output(rig.source(), callee.endpoint, ssrc=100 + i) for i, callee in enumerate(callees)]
    single = put(rig, Flow(rig.local(), callers[0].endpoint, outputs=tuple(outputs[:1])))
    fan_out = put(rig, Flow(rig.local(), callers[1].endpoint, outputs=tuple(outputs[1:])))
    received: list[list[bytes]] = [[], [], []]
    for start in range(0, PACKETS, 20):
        for n in range(start, start + 20):
            callers[0].send(single.local, audio(n))
            callers[1].send(fan_out.local, audio(n))
        for i, callee in enumerate(callees):
            received[i] += datas(callee.receive(20))
    for i, packets in enumerate(received):
        seen = [(packet.ssrc, packet.sequence) for packet in map(rtp.parse, packets)]
        assert seen == [(100 + i, n) for n in range(PACKETS)]
    assert rig.handled == 0


def test_devices_that_want_the_same_place_keep_their_receivers(batching: KernelRig) -> None:
    rig, relay = batching, batching.lab.relay
    index = relay.call(lambda: socket.if_nametoindex("to-b"))
    with Namespace("far") as namespace:
        far = cable(relay, namespace, "to-far", 3, index + 256)
        rig.rest()
        caller = rig.caller()
        callees = [rig.callee(), rig.callee(), rig.party(far, Family.IP4), rig.party(far, Family.IP4)]
        sources = [rig.source(), rig.source(), *(Endpoint(far.relay[Family.IP4], next(rig.ports)) for _ in range(2))]
        outputs = [Output(sources[i], callees[i].endpoint, ssrc=100 + i) for i in (0, 2, 1, 3)]
        flow = put(rig, Flow(rig.local(), caller.endpoint, outputs=tuple(outputs)))
        received: list[list[bytes]] = [[] for _ in callees]
        for start in range(0, PACKETS, 20):
            caller.send(flow.local, *map(audio, range(start, start + 20)))
            for i, callee in enumerate(callees):
                received[i] += datas(callee.receive(20))
        for i, packets in enumerate(received):
            seen = [(packet.ssrc, packet.sequence) for packet in map(rtp.parse, packets)]
            assert seen == [(100 + i, n) for n in range(PACKETS)]
        assert rig.handled == 0
