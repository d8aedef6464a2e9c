"""Flows that are beyond the programs are forwarded by userspace, and never in part by the kernel.

caller --- relay --- callee
             +-- every packet of the flow goes up
"""

from __future__ import annotations

import msgspec
import pytest

from rtprelay.plan.flow import DropFlow, DropOutput, Flow, Mismatch, Output, PayloadRule, PutFlow, PutOutput
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio
from tests.backend.rig import datas, put, report

SUITE = SUITES["AES_CM_128_HMAC_SHA1_80"]


def keys() -> SrtpParameters:
    return SrtpParameters(SUITE, MasterKey(bytes(range(SUITE.key_length)), bytes(range(SUITE.salt_length))))


def test_a_flow_for_userspace_is_not_touched_by_the_kernel_and_its_counters_go_on(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    output = Output(kernel.source(), callee.endpoint)
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, payloads=(PayloadRule(0, 8000),), outputs=(output,)))
    caller.send(flow.local, audio(1))
    callee.receive(1)
    assert kernel.handled == 0

    assert report(kernel, flow.local).spoken
    put(kernel, msgspec.structs.replace(flow, userspace=True))
    assert report(kernel, flow.local).spoken
    caller.send(flow.local, audio(2), audio(4))
    assert datas(callee.receive(2)) == [audio(2), audio(4)]
    assert kernel.handled == 2
    seen = report(kernel, flow.local)
    assert (seen.packets, seen.kernel_packets, seen.ssrcs[0].packets, seen.ssrcs[0].lost) == (3, 1, 3, 1)
    assert [sent.packets for sent in seen.outputs] == [3]
    assert [(moved.local, moved.packets) for moved in kernel.backend.changed()] == [(flow.local, 3)]

    put(kernel, flow)
    caller.send(flow.local, audio(5))
    assert datas(callee.receive(1)) == [audio(5)]
    assert kernel.handled == 2
    assert report(kernel, flow.local).packets == 4
    kernel.apply(DropFlow(flow.local))
    assert kernel.backend.read([flow.local]) == []
    put(kernel, flow)
    assert report(kernel, flow.local).packets == 0


def test_the_lock_holds_when_userspace_takes_over_and_not_for_a_new_source(kernel: KernelRig) -> None:
    caller, stranger, callee = kernel.caller(), kernel.caller(), kernel.callee()
    output = Output(kernel.source(), callee.endpoint)
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, on_mismatch=Mismatch.PUNT, outputs=(output,)))
    caller.send(flow.local, audio(1))
    callee.receive(1)
    put(kernel, msgspec.structs.replace(flow, userspace=True))
    stranger.send(flow.local, audio(2))
    kernel.handle(1)
    assert kernel.punts == []
    put(kernel, msgspec.structs.replace(flow, userspace=True, expected=callee.endpoint))
    assert not report(kernel, flow.local).spoken
    stranger.send(flow.local, audio(2))
    kernel.punted(1)


@pytest.mark.parametrize("where", ["flow", "output", "rtcp", "join"])
def test_the_kernel_never_forwards_in_plain_what_is_to_be_protected(kernel: KernelRig, where: str) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    plain = Output(kernel.source(), callee.endpoint)
    protected = msgspec.structs.replace(plain, srtp=keys())
    flow = Flow(kernel.local(), caller.endpoint, rtcp_expected=caller.endpoint, outputs=(plain,))
    put(kernel, flow)
    match where:
        case "flow":
            put(kernel, msgspec.structs.replace(flow, srtp=keys()))
        case "output":
            put(kernel, msgspec.structs.replace(flow, outputs=(protected,)))
        case "rtcp":
            put(kernel, msgspec.structs.replace(flow, rtcp_outputs=(protected,)))
        case _:
            kernel.apply(PutOutput(flow.local, msgspec.structs.replace(protected, source=kernel.source())))
    caller.send(flow.local, audio(1))
    kernel.handle(1)
    assert report(kernel, flow.local).kernel_packets == 0


def test_receivers_join_and_leave_a_flow_of_userspace(kernel: KernelRig) -> None:
    caller, callees = kernel.caller(), [kernel.callee(), kernel.callee()]
    outputs = [Output(kernel.source(), callee.endpoint) for callee in callees]
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=(outputs[0],), userspace=True))
    kernel.apply(PutOutput(flow.local, outputs[1]), DropOutput(flow.local, outputs[0].source))
    caller.send(flow.local, audio(1))
    assert datas(callees[1].receive(1)) == [audio(1)]
    assert kernel.handled == 1
    kernel.apply(PutFlow(flow), DropFlow(flow.local))
    assert kernel.backend.adopt() == {}
