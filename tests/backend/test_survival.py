"""The kernel goes on without a daemon, and the next daemon goes on with what is there.

caller --- relay [maps, programs] --- callee
             ^ daemon, dies            a successor finds its pins
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence

import pytest

from rtprelay.errors import BackendFault, PinsInUse
from rtprelay.kernel.ebpf import EbpfBackend
from rtprelay.kernel.flush import flush
from rtprelay.kernel.forwarder import Dropped
from rtprelay.plan.flow import DropFlow, DropOutput, Flow, LockFlow, Mismatch, Output, PayloadRule, PutFlow, PutOutput
from rtprelay.values import Family
from rtprelay.wire import rtp
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio, sender_report
from tests.backend.rig import Party, datas, put, report

PCMU = PayloadRule(0, 8000)


def relay_to(rig: KernelRig, caller: Party, *callees: Party) -> Flow:
    outputs = tuple(
        Output(rig.source(callee.endpoint.family), callee.endpoint, ssrc=100 + i) for i, callee in enumerate(callees)
    )
    return put(rig, Flow(rig.local(), caller.endpoint, payloads=(PCMU,), outputs=outputs))


def receive_each(callees: Sequence[Party], sequence: int) -> None:
    for i, callee in enumerate(callees):
        (packet,) = (rtp.parse(data) for data in datas(callee.receive(1)))
        assert (packet.ssrc, packet.sequence) == (100 + i, sequence)


def test_a_flow_that_forwards_nothing_enters_the_kernel_with_its_first_packet(kernel: KernelRig) -> None:
    caller, stranger, callee = kernel.caller(), kernel.caller(), kernel.callee()
    held = put(kernel, Flow(kernel.local(), caller.endpoint, payloads=(PCMU,)))
    output = Output(kernel.source(), callee.endpoint)
    unanswered = put(kernel, Flow(kernel.local(), None, on_mismatch=Mismatch.PUNT, outputs=(output,)))
    assert kernel.backend.occupied == 0

    caller.send(held.local, audio(1))
    stranger.send(unanswered.local, audio(1))
    assert [punt.reason for punt in kernel.punted(1)] == ["unknown_source"]
    kernel.handle(2)
    assert [report(kernel, flow.local).in_kernel for flow in (held, unanswered)] == [True, True]

    caller.send(held.local, *map(audio, range(2, 6)))
    kernel.wait(lambda: report(kernel, held.local).packets == 5, lambda: "the others did not count")
    assert (kernel.handled, kernel.backend.counters()["drop_hold"]) == (2, 5)


def test_a_flow_without_receivers_enters_the_kernel_with_the_first_one(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    flow = put(kernel, Flow(kernel.local(), caller.endpoint, payloads=(PCMU,)))
    kernel.apply(PutOutput(flow.local, Output(kernel.source(), callee.endpoint)))
    caller.send(flow.local, audio(1))
    callee.receive(1)
    assert (kernel.handled, report(kernel, flow.local).kernel_packets) == (0, 1)


def test_a_successor_finds_flows_and_counters_and_no_packet_is_lost(kernel: KernelRig) -> None:
    caller, many, six = kernel.caller(), [kernel.callee() for _ in range(5)], [kernel.callee(Family.IP6)]
    fan_out, across = relay_to(kernel, caller, *many), relay_to(kernel, caller, *six)
    rtcp_only = put(kernel, Flow(kernel.local(), None, rtcp_expected=caller.endpoint, rtcp_outputs=fan_out.outputs[:2]))
    kernel.apply(DropOutput(fan_out.local, fan_out.outputs[4].source))
    caller.send(fan_out.local, audio(1), audio(7, ssrc=9))
    for callee in many[:4]:
        callee.receive(2)
    table = kernel.backend.adopt()

    kernel.replace()
    caller.send(fan_out.local, audio(2))
    caller.send(across.local, audio(3))

    receive_each(many[:4], 2)
    receive_each(six, 3)
    assert kernel.backend.adopt() == table
    assert table.keys() == {fan_out.local, across.local, rtcp_only.local}
    seen = report(kernel, fan_out.local)
    assert (seen.packets, seen.spoken, len(seen.ssrcs)) == (3, True, 2)
    assert [sent.packets for sent in seen.outputs] == [3, 3, 3, 3]
    assert kernel.handled == 0


def test_packets_are_forwarded_while_there_is_no_daemon(kernel: KernelRig) -> None:
    caller, callees = kernel.caller(), [kernel.callee(), kernel.callee()]
    flow = relay_to(kernel, caller, *callees)
    kernel.stop()
    for n in range(10):
        caller.send(flow.local, audio(n))
        receive_each(callees, n)
    kernel.replace()
    assert report(kernel, flow.local).packets == 10
    assert [(seen.local, seen.packets) for seen in itertools.chain(*kernel.backend.changed())] == [(flow.local, 10)]


def test_a_successor_goes_on_changing_what_it_found(kernel: KernelRig) -> None:
    caller, callees = kernel.caller(), [kernel.callee() for _ in range(6)]
    flow = relay_to(kernel, caller, *callees[:3])
    kernel.replace()
    for i, callee in enumerate(callees[3:], 3):
        kernel.apply(PutOutput(flow.local, Output(kernel.source(), callee.endpoint, ssrc=100 + i)))
    caller.send(flow.local, audio(1))
    receive_each(callees, 1)
    fresh = relay_to(kernel, caller, *callees[:1])
    caller.send(fresh.local, audio(2))
    receive_each(callees[:1], 2)
    kernel.apply(DropFlow(flow.local), DropFlow(fresh.local))
    kernel.replace()
    assert kernel.backend.adopt() == {}


def test_the_lock_of_a_predecessor_holds(kernel: KernelRig) -> None:
    caller, stranger, callee = kernel.caller(), kernel.caller(), kernel.callee()
    flow = put(
        kernel,
        Flow(
            kernel.local(),
            caller.endpoint,
            on_mismatch=Mismatch.PUNT,
            outputs=(Output(kernel.source(), callee.endpoint),),
        ),
    )
    caller.send(flow.local, audio(1))
    callee.receive(1)
    kernel.replace()
    forwarder = kernel.backend.forwarder
    verdict = forwarder.forward(flow.local, audio(1), stranger.endpoint, 1.0)
    assert verdict == Dropped("source_locked")


def test_a_flow_put_over_fresh_maps_is_closed_in_the_kernel_where_its_source_is_known_to_have_spoken(
    kernel: KernelRig,
) -> None:
    caller, stranger, callee = kernel.caller(), kernel.caller(), kernel.callee()
    output = Output(kernel.source(), callee.endpoint)
    flow = Flow(kernel.local(), caller.endpoint, on_mismatch=Mismatch.PUNT, outputs=(output,))
    held = Flow(kernel.local(), caller.endpoint, on_mismatch=Mismatch.PUNT)
    for each in (flow, held):
        put(kernel, each)
        kernel.apply(LockFlow(each.local))
    stranger.send(flow.local, audio(1))
    caller.send(flow.local, audio(2))
    assert datas(callee.receive(1)) == [audio(2)]
    assert (kernel.handled, kernel.backend.counters()["drop_source_locked"]) == (0, 1)
    # A flow that forwards nothing is not in the kernel yet.
    verdict = kernel.backend.forwarder.forward(held.local, audio(1), stranger.endpoint, 1.0)
    assert verdict == Dropped("source_locked")


def test_maps_of_another_size_are_replaced_while_their_flows_go_on(kernel: KernelRig) -> None:
    caller, callees = kernel.caller(), [kernel.callee(), kernel.callee()]
    flow = relay_to(kernel, caller, *callees)
    kernel.replace(max_flows=2048)
    assert kernel.backend.adopt() == {}
    caller.send(flow.local, audio(1))
    receive_each(callees, 1)
    kernel.apply(PutFlow(flow))
    old = kernel.path / "maps-old"
    kernel.wait(lambda: not old.exists(), lambda: "the maps of the predecessor are still there")
    caller.send(flow.local, audio(2))
    receive_each(callees, 2)
    assert report(kernel, flow.local).packets == 1


def test_flush_leaves_nothing_behind(kernel: KernelRig) -> None:
    relay_to(kernel, kernel.caller(), kernel.callee(), kernel.callee())
    devices = [mode.interface for mode in kernel.backend.interfaces()]
    assert devices
    kernel.stop(flush=True)
    assert not kernel.path.exists()
    for device in devices:
        assert "bpf" not in kernel.lab.relay.run("tc", "filter", "show", "dev", device, "ingress")
        assert "xdp" not in kernel.lab.relay.ip("link", "show", "dev", device)
    kernel.replace()


def test_the_listing_in_bpffs_names_the_flows_and_is_for_root_only(kernel: KernelRig) -> None:
    flow = relay_to(kernel, kernel.caller(), kernel.callee())
    listing = kernel.path / "list"
    assert str(flow.local.port) in listing.read_text()
    assert listing.stat().st_mode & 0o077 == 0
    assert kernel.path.stat().st_mode & 0o077 == 0


def test_a_full_map_refuses_and_takes_again_what_has_become_free(kernel: KernelRig) -> None:
    kernel.stop(flush=True)
    kernel.replace(max_flows=4)
    caller, callees = kernel.caller(), [kernel.callee(), kernel.callee()]
    for _ in range(3):
        flows = [relay_to(kernel, caller, *callees) for _ in range(4)]
        with pytest.raises(BackendFault, match="no room"):
            relay_to(kernel, caller, *callees)
        assert kernel.backend.adopt() == {flow.local: flow for flow in flows}
        caller.send(flows[-1].local, audio(1))
        receive_each(callees, 1)
        kernel.apply(*(DropFlow(flow.local) for flow in flows))
        kernel.wait(lambda: not kernel.backend.occupied, lambda: f"{kernel.backend.occupied} places are still taken")


def test_without_room_for_outputs_a_flow_stays_as_it_is(kernel: KernelRig) -> None:
    kernel.stop(flush=True)
    kernel.replace(max_flows=4)
    caller, callee = kernel.caller(), kernel.callee()
    one = relay_to(kernel, caller, callee)

    def crowd() -> tuple[Output, ...]:
        return tuple(Output(kernel.source(), callee.endpoint) for _ in range(256))

    for _ in range(3):
        put(kernel, Flow(kernel.local(), caller.endpoint, outputs=crowd()))
    with pytest.raises(BackendFault, match="no room"):
        put(kernel, Flow(one.local, caller.endpoint, outputs=crowd()))
    assert kernel.backend.adopt()[one.local] == one
    caller.send(one.local, audio(1))
    receive_each([callee], 1)


def test_rtcp_goes_on_without_a_daemon(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    output = Output(kernel.source(), callee.endpoint)
    flow = put(
        kernel,
        Flow(kernel.local(), caller.endpoint, rtcp_expected=caller.endpoint, outputs=(output,), rtcp_outputs=(output,)),
    )
    kernel.stop()
    caller.send(flow.local, sender_report())
    assert datas(callee.receive(1)) == [sender_report()]
    kernel.replace()
    assert report(kernel, flow.local).rtcp_packets == 1


def test_a_directory_of_somebody_else_is_not_used(kernel: KernelRig) -> None:
    kernel.stop(flush=True)
    kernel.path.mkdir()
    (kernel.path / "links").mkdir()
    os.chown(kernel.path, 65534, 65534)
    with pytest.raises(BackendFault, match="somebody else"):
        kernel.replace()
    os.chown(kernel.path, 0, 0)
    kernel.replace()


def test_while_a_relay_runs_nobody_else_takes_its_pins_over_or_away(kernel: KernelRig) -> None:
    caller, callee = kernel.caller(), kernel.callee()
    flow = relay_to(kernel, caller, callee)
    with pytest.raises(PinsInUse, match=f"{kernel.path} is in use"):
        kernel.run(EbpfBackend(kernel.path, [flow.local.address]).start())
    with pytest.raises(PinsInUse, match=f"{kernel.path} is in use"):
        flush(kernel.path)
    caller.send(flow.local, audio(1))
    receive_each([callee], 1)
    assert report(kernel, flow.local).kernel_packets == 1


def test_when_there_is_no_room_to_change_a_flow_joins_are_refused_and_leaves_are_not(kernel: KernelRig) -> None:
    kernel.stop(flush=True)
    kernel.replace(max_flows=4)
    caller, callees = kernel.caller(), [kernel.callee() for _ in range(4)]
    flow = relay_to(kernel, caller, *callees[:3])
    fourth = Output(kernel.source(), callees[3].endpoint, ssrc=103)
    # Each version of a flow keeps its place for a grace period: without a pause, room runs out.
    with pytest.raises(BackendFault, match="no room"):
        kernel.apply(*[PutFlow(flow)] * 100)
    with pytest.raises(BackendFault, match="no room"):
        kernel.apply(PutOutput(flow.local, fourth))
    assert kernel.backend.adopt() == {flow.local: flow}
    kernel.apply(DropOutput(flow.local, flow.outputs[0].source))
    caller.send(flow.local, audio(1))
    for i in (1, 2):
        (packet,) = (rtp.parse(data) for data in datas(callees[i].receive(1)))
        assert packet.ssrc == 100 + i

    def joined() -> bool:
        with contextlib.suppress(BackendFault):
            kernel.apply(PutOutput(flow.local, fourth))
            return True
        return False

    kernel.wait(joined, lambda: "there is no room yet")
    caller.send(flow.local, audio(2))
    assert rtp.parse(callees[3].receive(1)[0].data).ssrc == 103
    assert callees[0].waiting() is False
