"""Packets of different flows that pass the kernel in one batch do not mix.

      caller 1 --+                    +-- callee 1      one output
                 +-- relay (one poll) +
      caller 2 --+                    +-- callees 2, 3  two outputs (broadcast)

The kernel sends what one poll redirected to a device in bulk, and runs one program over all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtprelay.plan.flow import Flow, Output
from rtprelay.wire import rtp
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio
from tests.backend.rig import datas, put
from tools.netns import run

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
