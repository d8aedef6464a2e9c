"""Flows that are beyond the programs are forwarded by userspace, and never in part by the kernel.

caller --- relay --- callee
             +-- every packet of the flow goes up
"""

from __future__ import annotations

import functools
import itertools
import os

import msgspec
import pytest

from rtprelay.plan.flow import DropFlow, DropOutput, Flow, Mismatch, Output, PayloadRule, PutFlow, PutOutput
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio
from tests.backend.rig import datas, put, report

SUITE = SUITES["AES_CM_128_HMAC_SHA1_80"]
RECEIVER_REPORT = bytes([0x80, 201, 0, 1]) + (0x1234).to_bytes(4)


def keys() -> SrtpParameters:
    return SrtpParameters(SUITE, MasterKey(os.urandom(SUITE.key_length), os.urandom(SUITE.salt_length)))


def has_refused(kernel: KernelRig, flow: Flow, count: int) -> bool:
    """So many packets to send to its only output."""
    return report(kernel, flow.local).outputs[0].errors == count


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
    assert [(moved.local, moved.packets) for moved in itertools.chain(*kernel.backend.changed())] == [(flow.local, 3)]

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


def test_what_is_to_come_protected_is_not_taken_in_plain(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    outputs = (Output(kernel.source(), callee.endpoint),)
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=outputs, srtp=keys()))
    kernel.rest()
    caller.send(flow.local, audio(1))
    kernel.wait(lambda: kernel.backend.counters().get("drop_srtp_auth", 0) == 1, lambda: f"{kernel.backend.counters()}")
    assert not callee.waiting()
    assert not report(kernel, flow.local).spoken


@pytest.mark.parametrize("joins", [False, True])
def test_what_is_to_leave_protected_does_not_leave_in_plain(kernel: KernelRig, joins: bool) -> None:
    caller, plain, callee = kernel.caller(), kernel.callee(), kernel.callee()
    parameters = keys()
    protected = Output(kernel.source(), callee.endpoint, srtp=parameters)
    others = (Output(kernel.source(), plain.endpoint),) if joins else ()
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=others or (protected,)))
    if joins:
        kernel.apply(PutOutput(flow.local, protected))
    kernel.rest()
    receiver = SrtpContext(parameters)
    for sequence in range(65_530, 65_545):
        caller.send(flow.local, audio(sequence & 0xFFFF))
        kernel.wait(callee.waiting, lambda: f"nothing came: {kernel.backend.counters()}")
        (data,) = datas(callee.receive(1))
        assert receiver.unprotect(data) == audio(sequence & 0xFFFF)


@pytest.mark.parametrize("protected", [False, True])
def test_each_of_many_receivers_has_its_key(kernel: KernelRig, protected: bool) -> None:
    caller, callees = kernel.caller(), [kernel.callee() for _ in range(3)]
    receive, send = keys(), [keys(), None, keys()]
    outputs = tuple(
        Output(kernel.source(), callee.endpoint, srtp=key) for callee, key in zip(callees, send, strict=True)
    )
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=outputs, srtp=receive if protected else None))
    kernel.rest()
    sender = SrtpContext(receive)
    receivers = [SrtpContext(key) if key is not None else None for key in send]
    for sequence in range(10):
        caller.send(flow.local, sender.protect(audio(sequence)) if protected else audio(sequence))
        kernel.wait(lambda: all(callee.waiting() for callee in callees), lambda: f"{kernel.backend.counters()}")
        for callee, receiver in zip(callees, receivers, strict=True):
            (data,) = datas(callee.receive(1))
            assert (data if receiver is None else receiver.unprotect(data)) == audio(sequence)


def test_rtcp_is_protected_by_userspace(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    parameters = keys()
    output = Output(kernel.source(), callee.endpoint, srtp=parameters)
    flow = put(kernel, Flow(kernel.local(), None, rtcp_expected=caller.endpoint, rtcp_outputs=(output,)))
    kernel.rest()
    caller.send(flow.local, RECEIVER_REPORT)
    kernel.wait(callee.waiting, lambda: f"nothing came: {kernel.backend.counters()}")
    (data,) = datas(callee.receive(1))
    assert SrtpContext(parameters).unprotect_rtcp(data) == RECEIVER_REPORT


def test_indices_of_a_key_outlive_the_daemon_and_the_change_of_path(kernel: KernelRig) -> None:
    """Kernel, its successor, userspace, and back: always the next index, past the wrap of the sequence number."""
    caller, callee = kernel.caller(), kernel.callee()
    receive, send = keys(), keys()
    output = Output(kernel.source(), callee.endpoint, srtp=send)
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=(output,), srtp=receive))
    kernel.rest()
    sender, receiver = SrtpContext(receive), SrtpContext(send)

    def passes(first: int) -> None:
        for sequence in range(first, first + 10):
            caller.send(flow.local, sender.protect(audio(sequence & 0xFFFF)))
            kernel.wait(callee.waiting, lambda: f"nothing came: {kernel.backend.counters()}")
            (data,) = datas(callee.receive(1))
            assert receiver.unprotect(data) == audio(sequence & 0xFFFF)

    passes(65_530)
    known = kernel.backend.forwarder.srtp.export()
    kernel.replace()
    kernel.backend.forwarder.srtp.remember(known, settled=False)
    assert kernel.backend.adopt()[flow.local] == flow
    passes(65_540)
    put(kernel, msgspec.structs.replace(flow, userspace=True))
    passes(65_550)
    put(kernel, flow)
    kernel.rest()
    passes(65_560)


@pytest.mark.parametrize("patient", [False, True], ids=["at once", "once the key has been zeroed"])
def test_media_that_comes_back_with_its_keys_goes_on_with_their_indices(kernel: KernelRig, patient: bool) -> None:
    """Otherwise it would begin at the first index again, which has been used."""
    caller, callee = kernel.caller(), kernel.callee()
    parameters = keys()
    flow = Flow(kernel.local(), caller.endpoint, outputs=(Output(kernel.source(), callee.endpoint, srtp=parameters),))
    receiver = SrtpContext(parameters)
    for first in (65_530, 65_536, 65_540):
        put(kernel, flow)
        kernel.rest()
        for sequence in range(first, first + 3):
            caller.send(flow.local, audio(sequence))
            kernel.wait(callee.waiting, lambda: f"nothing came: {kernel.backend.counters()}")
            assert receiver.unprotect(datas(callee.receive(1))[0]) == audio(sequence)
        kernel.apply(DropFlow(flow.local))
        kernel.wait(lambda: not patient or not kernel.backend.occupied, lambda: "the places were not freed")


def test_no_number_leaves_twice_whichever_plane_is_asked(kernel: KernelRig) -> None:
    """What is too long for the link comes in fragments, which userspace puts together and sends."""
    caller, callee = kernel.caller(), kernel.callee()
    parameters = keys()
    output = Output(kernel.source(), callee.endpoint, srtp=parameters)
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, outputs=(output,)))
    kernel.rest()
    receiver = SrtpContext(parameters)
    fits, too_long = 160, 1600
    for count, sequence in enumerate(range(65_530, 65_542), 1):
        first, second = (fits, too_long) if sequence % 2 else (too_long, fits)
        caller.send(flow.local, audio(sequence, size=first))
        kernel.wait(callee.waiting, lambda: f"nothing came: {kernel.backend.counters()}")
        assert receiver.unprotect(datas(callee.receive(1))[0]) == audio(sequence, size=first)
        caller.send(flow.local, audio(sequence, size=second))
        refused = functools.partial(has_refused, kernel, flow, count)
        kernel.wait(refused, lambda: f"not refused: {report(kernel, flow.local)}")
    assert not callee.waiting()
    assert kernel.handled == 12


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
