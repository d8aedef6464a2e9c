"""Several relays serve the same devices, each its own flows.

caller --- [relay 1, relay 2] --- callee
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtprelay.plan.flow import Flow, Output
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio
from tests.backend.rig import datas, put, report


@pytest.fixture
def second(kernel: KernelRig) -> Iterator[KernelRig]:
    rig = KernelRig(kernel.name, kernel.lab, kernel.name == "xdp", ports=30000)
    yield rig
    rig.close()


def test_two_relays_on_the_same_devices_forward_each_its_own(kernel: KernelRig, second: KernelRig) -> None:
    flows = []
    for rig in (kernel, second):
        caller, callee = rig.caller(), rig.callee()
        flow = put(rig, Flow(rig.local(), caller.endpoint, outputs=(Output(rig.source(), callee.endpoint),)))
        flows.append((rig, caller, callee, flow))
    for rig, caller, callee, flow in flows:
        caller.send(flow.local, audio(1), audio(2))
        assert datas(callee.receive(2)) == [audio(1), audio(2)]
        assert (report(rig, flow.local).kernel_packets, rig.handled) == (2, 0)
    second.stop(flush=True)
    rig, caller, callee, flow = flows[0]
    caller.send(flow.local, audio(3))
    assert datas(callee.receive(1)) == [audio(3)]
    assert rig.handled == 0
