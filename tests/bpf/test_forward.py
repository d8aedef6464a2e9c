"""What a forwarded packet looks like, byte for byte.

sender --frame--> [ relay_xdp | relay_tc ] --data_out--> compared with a frame calculated by the book
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtprelay.kernel import abi
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import MAC_IN, MAC_OUT, Engine, Plane, Tc

IP4 = {
    "sender": Endpoint("192.0.2.1", 4000),
    "local": Endpoint("198.51.100.10", 30000),
    "source": Endpoint("203.0.113.5", 30002),
    "receiver": Endpoint("203.0.113.77", 5004),
}
IP6 = {
    "sender": Endpoint("2001:db8:1::1", 4000),
    "local": Endpoint("2001:db8:2::10", 30000),
    "source": Endpoint("2001:db8:3::5", 30002),
    "receiver": Endpoint("2001:db8:3::77", 5004),
}
FAMILIES = pytest.mark.parametrize("ends", [IP4, IP6], ids=["ip4", "ip6"])


def incoming(ends: dict[str, Endpoint], rtp: Rtp | None = None) -> Frame:
    return Frame(ends["sender"], ends["local"], bytes(rtp or Rtp()))


def forwarded(frame: Frame, ends: dict[str, Endpoint], rtp: Rtp | None = None) -> Frame:
    """What the book says becomes of it."""
    return replace(
        frame,
        source=ends["source"],
        destination=ends["receiver"],
        destination_mac=MAC_OUT,
        source_mac=MAC_IN,
        ttl=64,
        flow_label=0,
        payload=bytes(rtp or Rtp()),
        tos=0,
        udp_checksum=None,
    )


def one_flow(
    plane: Plane,
    ends: dict[str, Endpoint],
    ssrc: int | None = None,
    sequence_offset: int = 0,
    timestamp_offset: int = 0,
    tos: int = 0,
) -> None:
    plane.put_output(
        5,
        ends["source"],
        ends["receiver"],
        ssrc=ssrc,
        sequence_offset=sequence_offset,
        timestamp_offset=timestamp_offset,
        tos=tos,
    )
    plane.put_flow(ends["local"], ends["sender"], range(5, 6))


@FAMILIES
def test_a_packet_leaves_with_the_outputs_addresses_and_nothing_else_changed(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint]
) -> None:
    one_flow(plane, ends)
    run = engine.run(bytes(incoming(ends)))
    assert run.verdict == engine.sent
    assert run.data.hex() == bytes(forwarded(incoming(ends), ends)).hex()


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 32, 33, 160, 1200])
def test_payloads_of_any_length_keep_a_right_checksum(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint], size: int
) -> None:
    rtp = Rtp(payload=bytes(i * 7 & 255 for i in range(size)))
    one_flow(plane, ends, ssrc=0x01020304)
    run = engine.run(bytes(incoming(ends, rtp)))
    assert run.data == bytes(forwarded(incoming(ends, rtp), ends, replace(rtp, ssrc=0x01020304)))


@FAMILIES
def test_ssrc_sequence_timestamp_and_tos_are_the_outputs(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint]
) -> None:
    one_flow(plane, ends, ssrc=0xFEEDF00D, sequence_offset=0xFFF0, timestamp_offset=0xFFFFFFF0, tos=0xB8)
    sent = Rtp(sequence=3, timestamp=5, marker=True, payload_type=111)
    run = engine.run(bytes(incoming(ends, sent)))
    expected = replace(sent, ssrc=0xFEEDF00D, sequence=(3 + 0xFFF0) & 0xFFFF, timestamp=(5 + 0xFFFFFFF0) & 0xFFFFFFFF)
    assert run.data == bytes(replace(forwarded(incoming(ends), ends, expected), tos=0xB8))


@FAMILIES
def test_every_checksum_comes_out_right_whatever_the_words(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint]
) -> None:
    """Adapted checksums have their traps at zero and at all ones: go through all sums there are, in strides."""
    one_flow(plane, ends, ssrc=0)
    for word in range(0, 0x10000, 251):
        rtp = Rtp(payload=word.to_bytes(2, "big"))
        run = engine.run(bytes(incoming(ends, rtp)))
        assert run.data == bytes(forwarded(incoming(ends, rtp), ends, replace(rtp, ssrc=0)))


@FAMILIES
def test_a_damaged_packet_is_not_healed(plane: Plane, engine: Engine, ends: dict[str, Endpoint]) -> None:
    """RFC 1624: an adapted checksum is as wrong afterwards as it was before."""
    one_flow(plane, ends, ssrc=0x11111111)
    good = bytes(incoming(ends))
    damaged = good[:-3] + bytes([good[-3] ^ 0x10]) + good[-2:]
    right = bytes(forwarded(incoming(ends), ends, replace(Rtp(), ssrc=0x11111111)))
    run = engine.run(damaged)
    assert run.verdict == engine.sent
    assert run.data == right[:-3] + bytes([right[-3] ^ 0x10]) + right[-2:]


def test_a_damaged_ip_header_is_not_healed(plane: Plane, engine: Engine) -> None:
    one_flow(plane, IP4)
    good = bytearray(bytes(incoming(IP4)))
    good[18] ^= 0x40  # identification
    right = bytearray(bytes(forwarded(incoming(IP4), IP4)))
    right[18] ^= 0x40
    assert engine.run(bytes(good)).data == bytes(right)


def test_no_checksum_stays_none_on_ip4(plane: Plane, engine: Engine) -> None:
    one_flow(plane, IP4)
    frame = replace(incoming(IP4), udp_checksum=0)
    assert engine.run(bytes(frame)).data == bytes(replace(forwarded(frame, IP4), udp_checksum=0))


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 30, 31, 32, 33, 63, 64, 160, 1399])
def test_xdp_completes_the_checksum_of_a_local_sender(plane: Plane, ends: dict[str, Endpoint], size: int) -> None:
    """CHECKSUM_PARTIAL, as veth and virtio hand it over: the field holds the sum of the pseudo-header alone."""
    rtp = Rtp(payload=bytes(i * 11 & 255 for i in range(size)))
    one_flow(plane, ends)
    frame = incoming(ends, rtp)
    run = plane.xdp.run(bytes(replace(frame, udp_checksum=frame.pseudo_sum)))
    assert run.data == bytes(forwarded(frame, ends, rtp))
    assert plane.counts()["checksum_completed"] == 1


def test_tags_are_replaced_by_the_outputs_when_there_are_as_many(plane: Plane) -> None:
    for tags, out in (((100,), (0x2064,)), ((200, 300), (7, 8))):
        plane.put_output(5, IP4["source"], IP4["receiver"], vlan=out)
        plane.put_flow(IP4["local"], IP4["sender"], range(5, 6), slot=0)
        frame = replace(incoming(IP4), vlan=tags)
        assert plane.xdp.run(bytes(frame)).data == bytes(replace(forwarded(frame, IP4), vlan=out))


def test_xdp_leaves_a_packet_whose_frame_would_change_its_length_to_tc(plane: Plane) -> None:
    for tags, output in (((), (9,)), ((100,), ())):
        plane.put_output(5, IP4["source"], IP4["receiver"], vlan=output)
        plane.put_flow(IP4["local"], IP4["sender"], range(5, 6), slot=0)
        frame = bytes(replace(incoming(IP4), vlan=tags))
        run = plane.xdp.run(frame)
        assert (run.verdict, run.data) == (plane.xdp.passed, frame)
    assert plane.state(0).packets == 0


def test_tc_adds_the_outputs_tags(plane: Plane) -> None:
    """The outer tag is out of band until the device adds it, so the inner one alone is seen in the frame."""
    one_flow(plane, IP4)
    plane.put_output(5, IP4["source"], IP4["receiver"], vlan=(500, 600))
    run = plane.tc.run(bytes(incoming(IP4)))
    assert run.verdict == plane.tc.sent
    assert run.data == bytes(replace(forwarded(incoming(IP4), IP4), vlan=(600,)))


@pytest.mark.parametrize("size", [1, 160, 1000])
@pytest.mark.parametrize(("near", "far"), [(IP4, IP6), (IP6, IP4)], ids=["ip4-to-ip6", "ip6-to-ip4"])
def test_tc_changes_the_family(plane: Plane, near: dict[str, Endpoint], far: dict[str, Endpoint], size: int) -> None:
    rtp = Rtp(payload=bytes(i * 3 & 255 for i in range(size)))
    plane.put_output(5, far["source"], far["receiver"], ssrc=77, tos=0x20)
    plane.put_flow(near["local"], near["sender"], range(5, 6), flags=abi.FlowFlag.LOCK)
    run = plane.tc.run(bytes(incoming(near, rtp)))
    assert run.verdict == plane.tc.sent
    right = replace(forwarded(incoming(near, rtp), far, replace(rtp, ssrc=77)), tos=0x20, identification=0)
    assert run.data.hex() == bytes(right).hex()


def test_xdp_leaves_the_other_family_to_tc_even_when_told_otherwise(plane: Plane) -> None:
    plane.put_output(5, IP6["source"], IP6["receiver"])
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6))
    assert plane.xdp.run(bytes(incoming(IP4))).verdict == plane.xdp.passed
    assert plane.state(0).packets == 0


def test_xdp_leaves_alone_what_is_not_ready(plane: Plane) -> None:
    plane.put_output(5, IP4["source"], IP4["receiver"], flags=abi.OutputFlag.PRESENT)
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6))
    frame = bytes(incoming(IP4))
    run = plane.xdp.run(frame)
    assert (run.verdict, run.data) == (plane.xdp.passed, frame)


def test_a_local_destination_is_rewritten_and_goes_on_up_the_stack(plane: Plane) -> None:
    """On lo itself: the packet is there already. Test runs are on lo, whose index is 1."""
    flags = abi.OutputFlag.PRESENT | abi.OutputFlag.LOCAL
    plane.put_output(5, IP4["source"], IP4["receiver"], ifindex=1, flags=flags)
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6))
    run = plane.tc.run(bytes(incoming(IP4)))
    assert run.verdict == Tc.OK
    assert run.data == bytes(forwarded(incoming(IP4), IP4))


def test_a_packet_for_a_device_xdp_cannot_send_to_is_counted_as_lost(plane: Plane) -> None:
    plane.put_output(5, IP4["source"], IP4["receiver"], ifindex=9999)
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6))
    assert plane.xdp.run(bytes(incoming(IP4))).verdict == plane.xdp.dropped
    assert (plane.sent(5).packets, plane.sent(5).errors) == (0, 1)
    assert plane.counts()["drop_send_failed"] == 1


@FAMILIES
def test_what_was_forwarded_is_counted_at_the_flow_and_the_output(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint]
) -> None:
    one_flow(plane, ends)
    for sequence in range(7):
        engine.run(bytes(incoming(ends, Rtp(sequence=sequence))))
    state, aside, sent = plane.state(0), plane.aside(0), plane.sent(5)
    assert (state.packets, state.bytes, aside.dropped, aside.punted) == (7, 7 * 172, 0, 0)
    assert (sent.packets, sent.bytes, sent.errors) == (7, 7 * 172, 0)
    assert plane.counts() == {f"{engine.name}_forwarded": 7}


def test_ports_and_addresses_that_are_no_flows_pass_untouched(plane: Plane, engine: Engine) -> None:
    one_flow(plane, IP4)
    frame = bytes(replace(incoming(IP4), destination=IP4["local"].with_port(30001)))
    run = engine.run(frame)
    assert (run.verdict, run.data) == (engine.not_ours, frame)
    assert plane.counts() == {}
