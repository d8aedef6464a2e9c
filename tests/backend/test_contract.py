"""What every data plane promises (`rtprelay.plan.flow`), said once and asked of all of them.

      caller --------------- relay --------------- callee
                         local   source

Virtual where the data plane has no sockets; namespaces and veth pairs (XDP, tc), or all on `lo` (tc), in the kernel.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from rtprelay.errors import BackendFault
from rtprelay.plan.flow import (
    DropFlow,
    DropOutput,
    Flow,
    FlowReport,
    Mismatch,
    Output,
    OutputReport,
    PayloadRule,
    PutFlow,
    PutOutput,
    SsrcReport,
)
from rtprelay.values import Endpoint, Family
from rtprelay.wire import rtcp, rtp
from tests.backend.packets import DTLS, SSRC, STUN, audio, sender_report
from tests.backend.rig import Party, Received, Rig, datas, drop, put, report

PCMU = PayloadRule(0, 8000)


def one_way(rig: Rig, caller: Party, *outputs: Output, **fields: object) -> Flow:
    """A flow from the caller, who sends from where the SDP said."""
    flow = Flow(local=rig.local(caller.endpoint.family), expected=caller.endpoint, payloads=(PCMU,), outputs=outputs)
    return put(rig, msgspec.structs.replace(flow, **fields))


def to(rig: Rig, callee: Party, **fields: int) -> Output:
    output = Output(source=rig.source(callee.endpoint.family), destination=callee.endpoint)
    return msgspec.structs.replace(output, **fields)


def fence(rig: Rig, flow: Flow, caller: Party, *callees: Party) -> None:
    """Everything sent before has been dealt with, and nothing more has arrived than was received."""
    packet = audio(9999, ssrc=0xFE4CE)
    caller.send(flow.local, packet)
    for callee in callees:
        (received,) = callee.receive(1)
        assert rtp.parse(received.data).sequence == 9999, f"{received} has come unasked"


@pytest.mark.parametrize("into", list(Family), ids=lambda family: f"from-{family.value}")
@pytest.mark.parametrize("out", list(Family), ids=lambda family: f"to-{family.value}")
def test_rtp_of_the_expected_source_reaches_the_output(rig: Rig, into: Family, out: Family) -> None:
    caller, callee = rig.caller(into), rig.callee(out)
    output = to(rig, callee)
    flow = one_way(rig, caller, output)
    packets = [audio(i) for i in range(50)]
    caller.send(flow.local, *packets)
    assert callee.receive(50) == [Received(data, output.source) for data in packets]
    seen = report(rig, flow.local)
    assert (seen.packets, seen.bytes, seen.dropped, seen.punted) == (50, 50 * 172, 0, 0)
    assert seen.spoken
    assert seen.last_packet > 0
    assert seen.outputs == (OutputReport(output.source, 50, 50 * 172, 0),)
    assert rig.punted(0) == []
    if rig.in_kernel:
        assert (rig.handled, seen.kernel_packets, seen.kernel_bytes, seen.in_kernel) == (0, 50, 50 * 172, True)


def test_an_output_may_lead_back_to_where_packets_come_from(rig: Rig) -> None:
    """`media-echo`: out of the port they came in at, as a stream of its own."""
    caller = rig.caller()
    local = rig.local()
    back = Output(source=local, destination=caller.endpoint, ssrc=7)
    put(rig, Flow(local, caller.endpoint, payloads=(PCMU,), outputs=(back,)))
    caller.send(local, *(audio(i) for i in range(20)))
    echo = caller.receive(20)
    assert {packet.source for packet in echo} == {local}
    assert [(rtp.parse(packet.data).ssrc, rtp.parse(packet.data).sequence) for packet in echo] == [
        (7, i) for i in range(20)
    ]
    assert report(rig, local).outputs[0].packets == 20


def test_an_output_substitutes_ssrc_sequence_and_timestamp(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee, ssrc=7, sequence_offset=65500, timestamp_offset=0xFFFFFF00))
    caller.send(flow.local, audio(30), audio(40, timestamp=0x200))
    first, second = (rtp.parse(data) for data in datas(callee.receive(2)))
    assert (first.ssrc, first.sequence, first.timestamp) == (7, 65530, (30 * 160 + 0xFFFFFF00) & 0xFFFFFFFF)
    assert (second.ssrc, second.sequence, second.timestamp) == (7, 4, 0x100)
    assert first.payload == rtp.parse(audio(30)).payload


def test_another_source_is_dropped(rig: Rig) -> None:
    caller, stranger, callee = rig.caller(), rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), on_mismatch=Mismatch.DROP)
    stranger.send(flow.local, audio(1), audio(2))
    fence(rig, flow, caller, callee)
    assert report(rig, flow.local).dropped == 2
    assert rig.backend.counters()["drop_source_mismatch"] == 2


def test_another_source_is_judged_until_the_expected_one_has_spoken(rig: Rig) -> None:
    caller, stranger, callee = rig.caller(), rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), on_mismatch=Mismatch.PUNT)
    stranger.send(flow.local, audio(1))
    (punt,) = rig.punted(1)
    assert (punt.local, punt.source, punt.data, punt.reason) == (
        flow.local,
        stranger.endpoint,
        audio(1),
        "unknown_source",
    )
    assert not report(rig, flow.local).spoken
    fence(rig, flow, caller, callee)
    assert report(rig, flow.local).spoken
    stranger.send(flow.local, audio(2))
    fence(rig, flow, caller, callee)
    rig.punted(1)
    seen = report(rig, flow.local)
    assert (seen.punted, seen.dropped) == (1, 1)
    assert rig.backend.counters()["drop_source_locked"] == 1


def test_without_lock_another_source_is_judged_whoever_has_spoken(rig: Rig) -> None:
    caller, stranger, callee = rig.caller(), rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), on_mismatch=Mismatch.PUNT, lock=False)
    fence(rig, flow, caller, callee)
    stranger.send(flow.local, audio(2))
    rig.punted(1)


def test_another_source_is_accepted_where_the_flow_says_so(rig: Rig) -> None:
    caller, stranger, callee = rig.caller(), rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), on_mismatch=Mismatch.ACCEPT)
    stranger.send(flow.local, audio(1))
    assert datas(callee.receive(1)) == [audio(1)]
    seen = report(rig, flow.local)
    assert (seen.packets, seen.spoken) == (1, False)


@pytest.mark.parametrize("policy", list(Mismatch))
def test_the_signalled_source_is_always_judged(rig: Rig, policy: Mismatch) -> None:
    learned, signalled, callee = rig.caller(), rig.caller(), rig.callee()
    flow = one_way(rig, learned, to(rig, callee), on_mismatch=policy, signalled=signalled.endpoint)
    fence(rig, flow, learned, callee)
    signalled.send(flow.local, audio(1))
    (punt,) = rig.punted(1)
    assert (punt.source, punt.reason) == (signalled.endpoint, "signalled_source")


def test_a_new_expected_source_has_to_speak_for_itself(rig: Rig) -> None:
    first, second, stranger, callee = rig.caller(), rig.caller(), rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, first, output, on_mismatch=Mismatch.PUNT)
    fence(rig, flow, first, callee)
    moved = Flow(flow.local, second.endpoint, on_mismatch=Mismatch.PUNT, payloads=(PCMU,), outputs=(output,))
    put(rig, moved)
    assert not report(rig, flow.local).spoken
    stranger.send(flow.local, audio(1))
    rig.punted(1)
    fence(rig, moved, second, callee)
    assert report(rig, flow.local).spoken


def test_without_an_expected_source_nothing_is_accepted(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), expected=None, on_mismatch=Mismatch.PUNT)
    caller.send(flow.local, audio(1), audio(2))
    assert [punt.data for punt in rig.punted(2)] == [audio(1), audio(2)]
    assert report(rig, flow.local).packets == 0


def test_a_blocked_payload_type_is_dropped_and_an_unknown_one_is_not(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee), payloads=(PCMU, PayloadRule(101, 8000, drop=True)))
    caller.send(flow.local, audio(1), audio(2, payload_type=101), audio(3, payload_type=77))
    assert datas(callee.receive(2)) == [audio(1), audio(3, payload_type=77)]
    fence(rig, flow, caller, callee)
    seen = report(rig, flow.local)
    assert (seen.packets, seen.dropped) == (3, 1)
    assert rig.backend.counters()["drop_payload_type"] == 1


def test_a_flow_without_outputs_counts_and_forwards_nothing(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller)
    caller.send(flow.local, audio(1), audio(2))
    resumed = Flow(flow.local, caller.endpoint, payloads=(PCMU,), outputs=(to(rig, callee),))
    seen = settled(rig, flow.local, 2)
    assert (seen.packets, seen.bytes) == (2, 344)
    assert rig.backend.counters()["drop_hold"] == 2
    put(rig, resumed)
    caller.send(flow.local, audio(3))
    assert datas(callee.receive(1)) == [audio(3)]
    assert report(rig, flow.local).packets == 3


def settled(rig: Rig, local: Endpoint, packets: int) -> FlowReport:
    """The report once so many packets are counted: where nothing arrives there is nothing else to wait for."""
    for _ in range(1000):
        seen = report(rig, local)
        if seen.packets + seen.dropped >= packets:
            return seen
        rig.rest()
    raise AssertionError(f"{report(rig, local)} instead of {packets} packets")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(STUN, "stun"), (DTLS, "dtls"), (b"\x80\x00" + bytes(5), "not_rtp"), (b"\xff" * 40, "not_rtp")],
    ids=["stun", "dtls", "short", "noise"],
)
def test_what_is_not_rtp_is_handed_up(rig: Rig, data: bytes, reason: str) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee))
    caller.send(flow.local, data)
    (punt,) = rig.punted(1)
    assert (punt.local, punt.source, punt.data, punt.reason) == (flow.local, caller.endpoint, data, reason)
    assert rig.backend.counters()[f"punt_{reason}"] >= 1
    assert report(rig, flow.local).punted == 1


def test_loss_reordering_and_duplicates_are_counted_across_the_wrap(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee))
    # 65534 and 0 are missing, 65533 and 1 come twice: lost is 9 expected less 9 received.
    sequence = [65530, 65531, 65533, 65532, 65533, 65535, 2, 1, 1]
    caller.send(flow.local, *(audio(n) for n in sequence))
    callee.receive(len(sequence))
    (stream,) = report(rig, flow.local).ssrcs
    assert stream == SsrcReport(
        ssrc=SSRC,
        packets=9,
        bytes=9 * 172,
        highest_sequence=65536 + 2,
        lost=0,
        reordered=2,
        duplicates=2,
        jitter=stream.jitter,
        last_timestamp=160,
        payload_type=0,
    )
    assert 0 <= stream.jitter < 1


def test_each_ssrc_has_its_own_statistics(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = one_way(rig, caller, to(rig, callee))
    caller.send(
        flow.local, audio(1, ssrc=1), audio(100, ssrc=2), audio(4, ssrc=1), audio(101, ssrc=2), audio(9, ssrc=3)
    )
    callee.receive(5)
    streams = {stream.ssrc: (stream.packets, stream.lost) for stream in report(rig, flow.local).ssrcs}
    assert streams == {1: (2, 2), 2: (2, 0), 3: (1, 0)}


def test_rtcp_goes_to_its_output_and_is_read(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output, rtcp_expected=caller.endpoint, rtcp_outputs=(output,))
    block = rtcp.ReportBlock(0x777, 64, 9, 1000, 80, 0, 0)
    packet = sender_report(blocks=(block,))
    caller.send(flow.local, packet)
    assert callee.receive(1) == [Received(packet, output.source)]
    fence(rig, flow, caller, callee)
    seen = report(rig, flow.local)
    assert (seen.packets, seen.rtcp_packets, seen.rtcp_bytes) == (2, 1, len(packet))
    assert len(seen.ssrcs) == 1
    rig.handle(1)
    (reception,) = rig.backend.forwarder.receptions(flow.local).values()
    assert (reception.fraction_lost, reception.lost, reception.jitter) == (0.25, 9, 80)


def test_rtcp_names_streams_as_each_side_knows_them(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    there, back = rig.local(), rig.source()
    to_callee = Output(back, callee.endpoint, ssrc=7, timestamp_offset=100)
    to_caller = Output(there, caller.endpoint)
    put(rig, Flow(there, caller.endpoint, None, caller.endpoint, outputs=(to_callee,), rtcp_outputs=(to_callee,)))
    put(rig, Flow(back, callee.endpoint, None, callee.endpoint, outputs=(to_caller,), rtcp_outputs=(to_caller,)))
    caller.send(there, sender_report(SSRC))
    report_there = rtcp.parse(callee.receive(1)[0].data)[0]
    assert isinstance(report_there, rtcp.SenderReport)
    assert (report_there.ssrc, report_there.rtp_timestamp) == (7, 8100)
    callee.send(back, rtcp.build((rtcp.ReceiverReport(9, (rtcp.ReportBlock(7, 0, 0, 5, 0, 0, 0),)),)))
    report_back = rtcp.parse(caller.receive(1)[0].data)[0]
    assert isinstance(report_back, rtcp.ReceiverReport)
    assert report_back.blocks[0].ssrc == SSRC


def test_a_receivers_report_tells_how_the_stream_sounds(rig: Rig) -> None:
    """Whichever data plane has heard the stream: its payload type says what a tick of the reported jitter is."""
    caller, callee = rig.caller(), rig.callee()
    there, back = rig.local(), rig.source()
    codec = (PayloadRule(9, 16_000),)
    for local, party, output in ((there, caller, Output(back, callee.endpoint)), (back, callee, None)):
        outputs = (output,) if output is not None else ()
        flow = Flow(local, party.endpoint, rtcp_expected=party.endpoint, outputs=outputs, rtcp_outputs=outputs)
        put(rig, msgspec.structs.replace(flow, payloads=codec))
    caller.send(there, audio(1, payload_type=9), sender_report(SSRC, ntp=0x0011223344556677))
    callee.receive(2)
    rig.handle(1)
    block = rtcp.ReportBlock(SSRC, 64, 9, 1000, 160, 0x22334455, 0)
    callee.send(back, rtcp.build((rtcp.ReceiverReport(77, (block,)),)))
    rig.handle(2)
    (heard,) = report(rig, back).hearings
    assert (heard.ssrc, heard.lost, heard.highest.loss, heard.highest.jitter) == (77, 9, 25.0, 10.0)
    assert heard.highest.leg > 0


def test_rtcp_from_elsewhere_is_judged_like_rtp(rig: Rig) -> None:
    caller, stranger, callee = rig.caller(), rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output, rtcp_expected=None, rtcp_outputs=(output,), on_mismatch=Mismatch.PUNT)
    stranger.send(flow.local, sender_report())
    (punt,) = rig.punted(1)
    assert punt.reason == "unknown_source"
    fence(rig, flow, caller, callee)


@pytest.mark.parametrize("receivers", [2, 3, 32, 256])
def test_every_output_of_many_gets_its_own_copy(rig: Rig, receivers: int) -> None:
    # On both sides, every other one here and there: a veth takes 256 frames at once, no more.
    caller = rig.caller()
    members = [rig.callee() if i % 2 else rig.caller() for i in range(receivers)]
    outputs = [
        Output(
            source=rig.source() if i % 2 else rig.local(),
            destination=member.endpoint,
            ssrc=1000 + i,
            sequence_offset=i,
        )
        for i, member in enumerate(members)
    ]
    flow = one_way(rig, caller, *outputs)
    for n in range(3):
        caller.send(flow.local, audio(n))
        for i, member in enumerate(members):
            (received,) = member.receive(1)
            packet = rtp.parse(received.data)
            assert (received.source, packet.ssrc, packet.sequence) == (outputs[i].source, 1000 + i, n + i)
    seen = report(rig, flow.local)
    assert seen.packets == 3
    assert {output.source: output.packets for output in seen.outputs} == {output.source: 3 for output in outputs}
    if rig.in_kernel:
        assert rig.handled == 0


def test_receivers_of_both_families_join_and_leave_without_touching_the_others(rig: Rig) -> None:
    caller = rig.caller()
    callees = [rig.callee(Family.IP6 if i % 3 == 2 else Family.IP4) for i in range(12)]
    outputs = [to(rig, callee, ssrc=1000 + i) for i, callee in enumerate(callees)]
    flow = one_way(rig, caller)
    present: set[int] = set()
    steps = [*range(12), 3, 0, 7, 3, 0, 11, 1, 2, 4, 5, 6, 8, 9, 10, 7]
    for n, i in enumerate(steps):
        if i in present:
            present.discard(i)
            rig.apply(DropOutput(flow.local, outputs[i].source))
        else:
            present.add(i)
            rig.apply(PutOutput(flow.local, outputs[i]))
        caller.send(flow.local, audio(n))
        for member in sorted(present):
            packet = rtp.parse(callees[member].receive(1)[0].data)
            assert (packet.ssrc, packet.sequence) == (1000 + member, n)
    assert len(steps) == report(rig, flow.local).packets
    everybody = Flow(flow.local, caller.endpoint, payloads=(PCMU,), outputs=tuple(outputs))
    put(rig, everybody)
    fence(rig, everybody, caller, *callees)


def test_an_output_replaced_by_its_source_sends_elsewhere_and_counts_on(rig: Rig) -> None:
    caller, before, after, bystander = rig.caller(), rig.callee(), rig.callee(), rig.callee()
    output, other = to(rig, before), to(rig, bystander)
    flow = one_way(rig, caller, output, other)
    fence(rig, flow, caller, before, bystander)
    rig.apply(PutOutput(flow.local, Output(output.source, after.endpoint, ssrc=5)))
    caller.send(flow.local, audio(1))
    assert rtp.parse(after.receive(1)[0].data).ssrc == 5
    assert datas(bystander.receive(1)) == [audio(1)]
    rig.apply(PutOutput(flow.local, output))
    fence(rig, flow, caller, before, bystander)
    counts = {seen.source: seen.packets for seen in report(rig, flow.local).outputs}
    assert counts == {output.source: 3, other.source: 3}


def test_a_replaced_flow_counts_on(rig: Rig) -> None:
    caller, callee, other = rig.caller(), rig.callee(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output)
    caller.send(flow.local, audio(1), audio(2))
    callee.receive(2)
    longer = Flow(flow.local, caller.endpoint, payloads=(PCMU,), outputs=(output, to(rig, other)))
    put(rig, longer)
    caller.send(flow.local, audio(4))
    callee.receive(1)
    other.receive(1)
    seen = report(rig, flow.local)
    assert (seen.packets, seen.ssrcs[0].packets, seen.ssrcs[0].lost) == (3, 3, 1)
    assert [sent.packets for sent in seen.outputs] == [3, 1]


def test_every_packet_arrives_once_while_the_flow_is_replaced(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output)
    others = [to(rig, rig.callee()) for _ in range(3)]
    for n in range(60):
        caller.send(flow.local, audio(n))
        put(rig, Flow(flow.local, caller.endpoint, payloads=(PCMU,), outputs=(output, *others[: n % 4])))
    assert datas(callee.receive(60)) == [audio(n) for n in range(60)]
    fence(rig, flow, caller, callee)
    assert report(rig, flow.local).packets == 61


def test_a_dropped_flow_forwards_nothing_and_leaves_nothing_behind(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output)
    caller.send(flow.local, audio(1), audio(5, ssrc=2))
    callee.receive(2)
    drop(rig, flow.local, flow.local, rig.local())
    assert rig.backend.read([flow.local]) == []
    put(rig, flow)
    assert (report(rig, flow.local).packets, report(rig, flow.local).ssrcs) == (0, ())
    fence(rig, flow, caller, callee)
    assert [sent.packets for sent in report(rig, flow.local).outputs] == [1]


def test_ops_are_idempotent(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    output = to(rig, callee)
    flow = one_way(rig, caller, output)
    rig.apply(PutFlow(flow), PutOutput(flow.local, output), DropOutput(flow.local, rig.source()), PutFlow(flow))
    assert rig.backend.adopt() == {flow.local: flow}
    fence(rig, flow, caller, callee)


def test_adopt_tells_what_is_installed(rig: Rig) -> None:
    caller, callee, third = rig.caller(), rig.callee(Family.IP6), rig.callee()
    full = Flow(
        local=rig.local(),
        expected=caller.endpoint,
        signalled=callee.endpoint,
        rtcp_expected=caller.endpoint.with_port(1),
        on_mismatch=Mismatch.PUNT,
        lock=False,
        payloads=(PCMU, PayloadRule(96, 90000), PayloadRule(97, 0), PayloadRule(101, 8000, drop=True)),
        outputs=(
            to(rig, callee, ssrc=0, sequence_offset=3, timestamp_offset=4, tos=184),
            to(rig, third, ssrc=0xFFFFFFFF),
            to(rig, third),
        ),
        rtcp_outputs=(to(rig, callee, ssrc=5), to(rig, third, tos=16)),
    )
    empty = Flow(local=rig.local(Family.IP6), expected=None)
    rig.apply(PutFlow(full), PutFlow(empty))
    assert rig.backend.adopt() == {full.local: full, empty.local: empty}
    rig.apply(DropOutput(full.local, full.outputs[1].source), DropFlow(empty.local))
    (left,) = rig.backend.adopt().values()
    assert left.outputs == (full.outputs[0], full.outputs[2])


def test_more_outputs_than_possible_are_refused_and_change_nothing(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    outputs = [Output(rig.source(), callee.endpoint) for _ in range(256)]
    flow = one_way(rig, caller, *outputs)
    one_too_many = Output(rig.source(), callee.endpoint)
    with pytest.raises(BackendFault):
        rig.apply(PutOutput(flow.local, one_too_many))
    with pytest.raises(BackendFault):
        put(rig, Flow(flow.local, caller.endpoint, outputs=(*outputs, one_too_many)))
    assert rig.backend.adopt() == {flow.local: flow}


def test_an_output_needs_its_flow(rig: Rig) -> None:
    with pytest.raises(BackendFault):
        rig.apply(PutOutput(rig.local(), to(rig, rig.callee())))


def test_only_flows_with_new_packets_have_changed(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    quiet = one_way(rig, rig.caller(), to(rig, callee))
    busy = one_way(rig, caller, to(rig, callee))
    assert [*itertools.chain(*rig.backend.changed())] == []
    caller.send(busy.local, audio(1))
    callee.receive(1)
    assert [(seen.local, seen.packets) for seen in itertools.chain(*rig.backend.changed())] == [(busy.local, 1)]
    assert [*itertools.chain(*rig.backend.changed())] == []
    assert report(rig, quiet.local).packets == 0
