"""Several media on one port (BUNDLE, RFC 9143) that go different ways, and media whose sender is muted.

                          +-- lane 0 (audio) --> callee, or many
      caller --- relay ---+
      both on one port    +-- lane 1 (video) --> another

Asked of every data plane; those of the kernel may not have handed up a single packet.
"""

from __future__ import annotations

import os

import msgspec
import pytest

from rtprelay.errors import BackendFault
from rtprelay.plan.flow import DropOutput, Flow, LaneSource, Output, OutputReport, PayloadRule, PutOutput
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES
from rtprelay.values import Family
from rtprelay.wire import rtcp, rtp
from tests.backend.namespaces import KernelRig
from tests.backend.packets import audio, sender_report
from tests.backend.rig import Party, Received, Rig, datas, drop, put, report

AUDIO, VIDEO = 0, 96
LANES = (
    PayloadRule(AUDIO, 8000, lane=0),
    PayloadRule(VIDEO, 90000, lane=1),
    PayloadRule(97, 90000, lane=1),
    PayloadRule(101, 8000, drop=True, lane=0),
)
PCMU_MUTED = PayloadRule(AUDIO, 8000, silence=0xFF)
SUITE = SUITES["AES_CM_128_HMAC_SHA1_80"]


def keys() -> SrtpParameters:
    return SrtpParameters(SUITE, MasterKey(os.urandom(SUITE.key_length), os.urandom(SUITE.salt_length)))


def video(sequence: int, payload_type: int = VIDEO) -> bytes:
    return audio(sequence, ssrc=0x71DE0, payload_type=payload_type, size=900)


def bundle(rig: Rig, caller: Party, *outputs: Output, **fields: object) -> Flow:
    flow = Flow(local=rig.local(), expected=caller.endpoint, payloads=LANES, outputs=outputs)
    return put(rig, msgspec.structs.replace(flow, **fields))


def lane(rig: Rig, number: int | None, callee: Party, **fields: object) -> Output:
    output = Output(source=rig.source(callee.endpoint.family), destination=callee.endpoint, lane=number)
    return msgspec.structs.replace(output, **fields)


def untouched(rig: Rig) -> bool:
    """By the relay's own sockets."""
    return not rig.in_kernel or rig.handled == 0


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
def test_each_medium_reaches_its_own_receiver(rig: Rig, family: Family) -> None:
    caller, hears, sees = rig.caller(), rig.callee(family), rig.callee()
    outputs = lane(rig, 0, hears), lane(rig, 1, sees)
    flow = bundle(rig, caller, *outputs)
    for n in range(20):
        caller.send(flow.local, audio(n), video(n), video(n, payload_type=97))
    assert hears.receive(20) == [Received(audio(n), outputs[0].source) for n in range(20)]
    assert len(sees.receive(40)) == 40
    seen = report(rig, flow.local)
    assert (seen.packets, seen.dropped) == (60, 0)
    assert {stream.ssrc: stream.packets for stream in seen.ssrcs} == {0x11223344: 20, 0x71DE0: 40}
    assert seen.outputs == (
        OutputReport(outputs[0].source, 20, 20 * 172, 0),
        OutputReport(outputs[1].source, 40, 40 * 912, 0),
    )
    assert untouched(rig)


def test_what_is_of_no_lane_reaches_nobody_and_what_is_blocked_is_dropped(rig: Rig) -> None:
    caller, hears, sees = rig.caller(), rig.callee(), rig.callee()
    flow = bundle(rig, caller, lane(rig, 0, hears), lane(rig, 1, sees))
    caller.send(flow.local, audio(1, payload_type=77), audio(2, payload_type=101), audio(3), video(4))
    assert datas(hears.receive(1)) == [audio(3)]
    assert datas(sees.receive(1)) == [video(4)]
    seen = report(rig, flow.local)
    assert (seen.packets, seen.dropped) == (3, 1)
    assert {stream.payload_type for stream in seen.ssrcs} == {AUDIO, VIDEO}
    counted = rig.backend.counters()
    assert (counted["drop_hold"], counted["drop_payload_type"]) == (1, 1)
    assert untouched(rig)


def test_receivers_of_each_medium_join_and_leave(rig: Rig) -> None:
    caller = rig.caller()
    hear, see = [rig.callee() for _ in range(6)], [rig.callee() for _ in range(6)]
    outputs = [
        *(lane(rig, 0, callee, ssrc=100 + i) for i, callee in enumerate(hear)),
        *(lane(rig, 1, callee, ssrc=200 + i) for i, callee in enumerate(see)),
    ]
    flow = bundle(rig, caller)
    present: set[int] = set()
    steps = [6, 0, 1, 2, 7, 8, 0, 3, 4, 5, 9, 10, 11, 6, 7, 1, 2, 3, 4, 5, 8, 9, 10, 11, 0, 6]
    for n, i in enumerate(steps):
        left = i in present
        present ^= {i}
        rig.apply(DropOutput(flow.local, *outputs[i].key) if left else PutOutput(flow.local, outputs[i]))
        caller.send(flow.local, audio(n), video(n))
        for member in sorted(present):
            (received,) = ([*hear, *see][member]).receive(1)
            packet = rtp.parse(received.data)
            assert (packet.ssrc, packet.sequence) == (outputs[member].ssrc, n)
            assert packet.payload_type == (AUDIO if member < 6 else VIDEO)
    assert report(rig, flow.local).packets == 2 * len(steps)
    assert untouched(rig)


def test_one_receiver_of_both_media_gets_each_under_a_name_of_its_own(rig: Rig) -> None:
    caller, callee, third = rig.caller(), rig.callee(), rig.callee()
    hears = lane(rig, 0, callee, ssrc=7)
    sees = msgspec.structs.replace(hears, lane=1, ssrc=8)
    flow = bundle(rig, caller, hears, sees, lane(rig, 1, third))
    caller.send(flow.local, audio(1), video(2))
    assert [(p.ssrc, p.payload_type) for p in map(rtp.parse, datas(callee.receive(2)))] == [(7, AUDIO), (8, VIDEO)]
    third.receive(1)
    rig.apply(DropOutput(flow.local, *sees.key))
    caller.send(flow.local, video(3), audio(4))
    assert datas(third.receive(1)) == [video(3)]
    assert [rtp.parse(data).sequence for data in datas(callee.receive(1))] == [4]


def test_each_medium_may_have_as_many_receivers_as_a_flow(rig: Rig) -> None:
    caller = rig.caller()
    members = [rig.callee() if i % 4 < 2 else rig.caller() for i in range(320)]
    sources = [rig.source() if i % 4 < 2 else rig.local() for i in range(320)]
    outputs = [Output(sources[i], member.endpoint, lane=i % 2) for i, member in enumerate(members)]
    flow = bundle(rig, caller, *outputs)
    for number, packet in enumerate((audio(1), video(2))):
        caller.send(flow.local, packet)
        for member in members[number::2]:
            assert datas(member.receive(1)) == [packet]
    put(
        rig,
        msgspec.structs.replace(flow, outputs=tuple(Output(rig.source(), caller.endpoint, lane=0) for _ in range(256))),
    )
    with pytest.raises(BackendFault):
        rig.apply(PutOutput(flow.local, Output(rig.source(), caller.endpoint, lane=0)))


def test_a_flow_that_is_divided_into_lanes_and_united_again_counts_on(rig: Rig) -> None:
    caller, callee, other = rig.caller(), rig.callee(), rig.callee()
    whole = Output(rig.source(), callee.endpoint)
    united = tuple(msgspec.structs.replace(rule, lane=None) for rule in LANES)
    flow = bundle(rig, caller, whole, payloads=united)
    caller.send(flow.local, audio(1), video(1))
    divided = msgspec.structs.replace(whole, lane=0), lane(rig, 1, other)
    put(rig, msgspec.structs.replace(flow, payloads=LANES, outputs=divided))
    caller.send(flow.local, audio(2), video(2))
    put(rig, flow)
    caller.send(flow.local, audio(3), video(3))
    assert datas(callee.receive(5)) == [audio(1), video(1), audio(2), audio(3), video(3)]
    assert datas(other.receive(1)) == [video(2)]
    (sent,) = report(rig, flow.local).outputs
    assert (sent.packets, sent.bytes) == (5, 3 * 172 + 2 * 912)


def test_an_output_is_of_a_lane_where_the_others_are(rig: Rig) -> None:
    caller, hears, sees = rig.caller(), rig.callee(), rig.callee()
    flow = bundle(rig, caller, lane(rig, 0, hears))
    with pytest.raises(BackendFault):
        rig.apply(PutOutput(flow.local, lane(rig, None, sees)))
    caller.send(flow.local, audio(1))
    assert datas(hears.receive(1)) == [audio(1)]


def test_adopt_tells_of_lanes_and_silence(rig: Rig) -> None:
    caller, callee = rig.caller(), rig.callee()
    rules = (
        *LANES[:3],
        PayloadRule(101, 8000, drop=True, silence=0xD5, lane=0),
        PayloadRule(110, 8000, False, 0, 1),
        PayloadRule(111, 8000, lane=0),
        PayloadRule(111, 90000, lane=1),
    )
    sources = (LaneSource(1, 0), LaneSource(0xFFFFFFFF, 1))
    outputs = lane(rig, 0, callee), lane(rig, 0, callee), lane(rig, 1, callee)
    flow = bundle(rig, caller, *outputs, payloads=rules, lane_sources=sources)
    assert rig.backend.adopt() == {flow.local: flow}


def test_a_report_goes_to_the_receivers_of_its_medium(rig: Rig) -> None:
    caller, hears, sees = rig.caller(), rig.callee(), rig.callee()
    outputs = lane(rig, 0, hears, ssrc=7), lane(rig, 1, sees, ssrc=8)
    rtcp_outputs = tuple(msgspec.structs.replace(output, lane=None) for output in outputs)
    flow = bundle(rig, caller, *outputs, rtcp_expected=caller.endpoint, rtcp_outputs=rtcp_outputs)
    caller.send(flow.local, audio(1), video(1))
    hears.receive(1)
    sees.receive(1)
    caller.send(flow.local, sender_report(0x71DE0))
    ((told,),) = (rtcp.parse(data)[:1] for data in datas(sees.receive(1)))
    assert isinstance(told, rtcp.SenderReport)
    assert told.ssrc == 8
    caller.send(flow.local, audio(2))
    assert [rtp.parse(data).sequence for data in datas(hears.receive(1))] == [2]


# --- two media with the same payload types: the source says which ---

CAMERA, SCREEN = 0xCA4E4A, 0x5C4EE9
SHARED = (PayloadRule(AUDIO, 8000, lane=0), PayloadRule(VIDEO, 90000, lane=1), PayloadRule(VIDEO, 90000, lane=2))
BOTH = (LaneSource(CAMERA, 1), LaneSource(SCREEN, 2))


def picture(sequence: int, ssrc: int) -> bytes:
    return audio(sequence, ssrc=ssrc, payload_type=VIDEO, size=700)


def test_two_media_of_one_payload_type_are_told_apart_by_their_sources(rig: Rig) -> None:
    caller, hears, camera, screen = rig.caller(), rig.callee(), rig.callee(), rig.callee()
    outputs = [lane(rig, number, callee) for number, callee in enumerate((hears, camera, screen))]
    flow = bundle(rig, caller, *outputs, payloads=SHARED, lane_sources=BOTH)
    for n in range(10):
        caller.send(flow.local, audio(n), picture(n, CAMERA), picture(n, SCREEN))
    assert datas(hears.receive(10)) == [audio(n) for n in range(10)]
    assert datas(camera.receive(10)) == [picture(n, CAMERA) for n in range(10)]
    assert datas(screen.receive(10)) == [picture(n, SCREEN) for n in range(10)]
    assert untouched(rig)


@pytest.mark.parametrize("secured", [False, True], ids=["rtp", "srtp"])
def test_a_source_nobody_knows_is_asked_about_once_it_is_authentic(rig: Rig, secured: bool) -> None:
    caller, camera, screen = rig.caller(), rig.callee(), rig.callee()
    receive = keys() if secured else None
    outputs = lane(rig, 1, camera), lane(rig, 2, screen)
    flow = bundle(rig, caller, *outputs, payloads=SHARED, lane_sources=BOTH[:1], srtp=receive)
    sender = SrtpContext(receive) if receive is not None else None

    def says(*packets: bytes) -> list[bytes]:
        return [sender.protect(data) if sender is not None else data for data in packets]

    first, *rest = says(picture(1, SCREEN), picture(1, CAMERA))
    if secured:
        caller.send(flow.local, picture(7, SCREEN), first[:-1] + bytes((first[-1] ^ 1,)))
    caller.send(flow.local, first, *rest)
    camera.receive(1)
    (asked,) = rig.punted(1)
    assert (asked.data, asked.reason) == (first, "lane")
    put(rig, msgspec.structs.replace(flow, lane_sources=BOTH))
    caller.send(flow.local, first, *says(picture(2, SCREEN)))
    assert datas(screen.receive(2)) == [picture(1, SCREEN), picture(2, SCREEN)]
    assert len(rig.punts) == 1


def test_a_source_may_change_its_lane_and_be_forgotten(rig: Rig) -> None:
    caller, camera, screen = rig.caller(), rig.callee(), rig.callee()
    outputs = lane(rig, 1, camera), lane(rig, 2, screen)
    flow = bundle(rig, caller, *outputs, payloads=SHARED, lane_sources=BOTH)
    caller.send(flow.local, picture(1, CAMERA))
    put(rig, msgspec.structs.replace(flow, lane_sources=(LaneSource(CAMERA, 2),)))
    caller.send(flow.local, picture(2, CAMERA), picture(3, SCREEN))
    assert datas(camera.receive(1)) == [picture(1, CAMERA)]
    assert datas(screen.receive(1)) == [picture(2, CAMERA)]
    assert [punt.data for punt in rig.punted(1)] == [picture(3, SCREEN)]
    put(rig, msgspec.structs.replace(flow, lane_sources=BOTH, payloads=LANES, outputs=()))
    drop(rig, flow.local)
    put(rig, msgspec.structs.replace(flow, lane_sources=()))
    caller.send(flow.local, picture(4, CAMERA))
    assert [punt.data for punt in rig.punted(2)] == [picture(3, SCREEN), picture(4, CAMERA)]


# --- silence ---


def packet(sequence: int, payload: bytes, *, flags: int = 0, before: bytes = b"", payload_type: int = AUDIO) -> bytes:
    """RTP with what comes between the fixed header and the payload, by hand."""
    return bytes((0x80 | flags, payload_type)) + sequence.to_bytes(2) + bytes(8) + before + payload


CSRCS, EXTENSION, PADDING = 2, 0x10, 0x20
TWO_SOURCES = b"\x01\x02\x03\x04\x05\x06\x07\x08"
ONE_WORD = b"\xbe\xde\x00\x01\x10\xff\x00\x00"


@pytest.mark.parametrize("secured", [False, True], ids=["rtp", "srtp"])
def test_of_what_a_muted_sender_says_only_the_payload_changes(rig: Rig, secured: bool) -> None:
    caller, callee = rig.caller(), rig.callee()
    receive, send = (keys(), keys()) if secured else (None, None)
    output = lane(rig, None, callee, srtp=send)
    payloads = (PCMU_MUTED, PayloadRule(8, 8000, silence=0xD5), PayloadRule(96, 8000))
    flow = bundle(rig, caller, output, payloads=payloads, srtp=receive)
    said = b"hello, this is me speaking, all of the time"
    sent, heard = [], []

    def says(spoken: bytes, silent: bytes) -> None:
        sent.append(spoken)
        heard.append(silent)

    for n, length in enumerate((0, 1, 2, 3, 7, 8, 9, 15, 16, 31, 43)):
        says(packet(n, said[:length]), packet(n, b"\xff" * length))
    says(packet(20, said, payload_type=8), packet(20, b"\xd5" * 43, payload_type=8))
    says(packet(21, said, payload_type=96), packet(21, said, payload_type=96))
    says(
        packet(22, said, flags=CSRCS | EXTENSION, before=TWO_SOURCES + ONE_WORD),
        packet(22, b"\xff" * 43, flags=CSRCS | EXTENSION, before=TWO_SOURCES + ONE_WORD),
    )
    says(packet(23, said + b"\0\0\3", flags=PADDING), packet(23, b"\xff" * 43 + b"\0\0\3", flags=PADDING))
    says(packet(24, said + b"\xf0", flags=PADDING), packet(24, b"\xff" * 44, flags=PADDING))

    sender = SrtpContext(receive) if receive is not None else None
    receiver = SrtpContext(send) if send is not None else None
    caller.send(flow.local, *(sender.protect(data) if sender is not None else data for data in sent))
    came = datas(callee.receive(len(sent)))
    assert [receiver.unprotect(data) if receiver is not None else data for data in came] == heard
    if rig.name != "tc" or not secured:
        assert untouched(rig)


def test_all_receivers_of_a_muted_sender_hear_silence_until_it_is_unmuted(rig: Rig) -> None:
    caller, callees = rig.caller(), [rig.callee() for _ in range(3)]
    outputs = [lane(rig, None, callee, ssrc=i) for i, callee in enumerate(callees)]
    flow = bundle(rig, caller, *outputs, payloads=(PCMU_MUTED,))
    caller.send(flow.local, audio(1))
    put(rig, msgspec.structs.replace(flow, payloads=(PayloadRule(AUDIO, 8000),)))
    caller.send(flow.local, audio(2))
    for callee in callees:
        muted, spoken = (rtp.parse(data) for data in datas(callee.receive(2)))
        assert muted.payload == b"\xff" * 160
        assert spoken.payload == rtp.parse(audio(2)).payload
    assert untouched(rig)


def test_a_muted_sender_has_a_lane(rig: Rig) -> None:
    caller, hears, sees = rig.caller(), rig.callee(), rig.callee()
    rules = (msgspec.structs.replace(PCMU_MUTED, lane=0), PayloadRule(VIDEO, 90000, drop=True, lane=1))
    flow = bundle(rig, caller, lane(rig, 0, hears), lane(rig, 1, sees), payloads=rules)
    caller.send(flow.local, video(1), audio(2))
    assert rtp.parse(datas(hears.receive(1))[0]).payload == b"\xff" * 160
    assert report(rig, flow.local).dropped == 1


# --- kernel ---


def test_a_bundle_is_protected_by_one_key_and_each_copy_by_its_own(kernel: KernelRig) -> None:
    """As with DTLS: one key for the transport that comes in."""
    caller, callees = kernel.caller(), [kernel.callee() for _ in range(4)]
    receive, send = keys(), [keys() for _ in callees]
    outputs = [lane(kernel, i % 2, callee, srtp=send[i]) for i, callee in enumerate(callees)]
    flow = bundle(kernel, caller, *outputs, srtp=receive)
    kernel.rest()
    sender, receivers = SrtpContext(receive), [SrtpContext(key) for key in send]
    for sequence in range(10):
        said = audio(sequence), video(sequence)
        caller.send(flow.local, *map(sender.protect, said))
        for i, callee in enumerate(callees):
            (data,) = datas(callee.receive(1))
            assert receivers[i].unprotect(data) == said[i % 2]
    assert kernel.handled == 0


def test_a_successor_finds_the_lanes_and_their_counters(kernel: KernelRig) -> None:
    caller, hears, see = kernel.caller(), kernel.callee(), [kernel.callee() for _ in range(3)]
    hearing, *seeing = lane(kernel, 0, hears, ssrc=1), *(lane(kernel, 1, callee, ssrc=2) for callee in see)
    rules, sources = (*LANES, PayloadRule(102, 8000, lane=0), PayloadRule(102, 8000, lane=1)), (LaneSource(5, 1),)
    flow = bundle(kernel, caller, hearing, *seeing, payloads=rules, lane_sources=sources)
    kernel.rest()
    caller.send(flow.local, audio(1), video(1))
    kernel.replace()
    assert kernel.backend.adopt() == {flow.local: flow}
    kernel.apply(DropOutput(flow.local, *seeing[0].key), PutOutput(flow.local, lane(kernel, 0, see[0], ssrc=3)))
    caller.send(flow.local, audio(2), video(2))
    assert [rtp.parse(data).ssrc for data in datas(see[0].receive(2))] == [2, 3]
    for callee in see[1:]:
        assert [rtp.parse(data).sequence for data in datas(callee.receive(2))] == [1, 2]
    seen = report(kernel, flow.local)
    assert (seen.packets, len(seen.ssrcs)) == (4, 2)
    assert [sent.packets for sent in seen.outputs if sent.source == hearing.source] == [2]
    assert kernel.handled == 0


def test_more_lanes_than_the_kernel_knows_are_forwarded_by_userspace(kernel: KernelRig) -> None:
    caller, callees = kernel.caller(), [kernel.callee() for _ in range(17)]
    rules = tuple(PayloadRule(96 + i, 90000, lane=i) for i in range(17))
    flow = bundle(kernel, caller, *(lane(kernel, i, callee) for i, callee in enumerate(callees)), payloads=rules)
    caller.send(flow.local, *(video(i, payload_type=96 + i) for i in range(17)))
    assert [datas(callee.receive(1)) for callee in callees] == [[video(i, payload_type=96 + i)] for i in range(17)]
    assert kernel.handled == 17


def test_of_a_blocked_sender_dtmf_goes_on_and_the_rest_is_heard_by_the_relay_alone(rig: Rig) -> None:
    """A port with one medium whose payload types are of two lanes, one of them without receivers."""
    caller, callee = rig.caller(), rig.callee()
    output = lane(rig, 0, callee)
    rules = (PayloadRule(AUDIO, 8000, lane=1), PayloadRule(101, 8000, lane=0))
    flow = Flow(rig.local(), expected=caller.endpoint, payloads=rules, outputs=(output,))
    put(rig, flow)
    caller.send(flow.local, audio(1), audio(2, payload_type=101), audio(3), audio(4, payload_type=77))
    assert datas(callee.receive(1)) == [audio(2, payload_type=101)]
    seen = report(rig, flow.local)
    assert (seen.packets, seen.dropped) == (4, 0)
    assert seen.last_packet > 0
    assert untouched(rig)
