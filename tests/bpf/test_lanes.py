"""Lanes and silence, frame by frame: every checksum by the book.

sender --frame--> [ relay_xdp | relay_tc ] --data_out--> compared with a frame calculated by userspace
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtprelay.kernel import abi
from rtprelay.kernel._abi import SrtpLimits
from rtprelay.kernel.forwarder import silenced
from rtprelay.values import Endpoint
from tests.bpf.frames import Rtp
from tests.bpf.plane import Engine, Plane
from tests.bpf.test_forward import FAMILIES, IP4, IP6, forwarded, incoming

AUDIO, VIDEO, OTHER = 0, 96, 77
VIDEO_RECEIVER = 9
"""The video lane's output, of another port than the audio lane's."""


def bundle(plane: Plane, ends: dict[str, Endpoint], xdp: tuple[bool, bool] = (True, True)) -> None:
    plane.put_output(5, ends["source"], ends["receiver"])
    plane.put_output(VIDEO_RECEIVER, ends["source"].with_port(30004), ends["receiver"].with_port(5006))
    lanes = [
        plane.lane(ends["local"], ends["sender"], range(5, 6), {AUDIO: (8000, False)}, xdp[0]),
        plane.lane(ends["local"], ends["sender"], range(9, 10), {VIDEO: (90000, False), 101: (8000, True)}, xdp[1]),
    ]
    plane.put_bundle(ends["local"], ends["sender"], lanes, {AUDIO: 0, VIDEO: 1, 101: 1})


@FAMILIES
def test_a_payload_type_leads_to_its_lane(plane: Plane, engine: Engine, ends: dict[str, Endpoint]) -> None:
    bundle(plane, ends)
    heard, seen = Rtp(payload_type=AUDIO), Rtp(payload_type=VIDEO, ssrc=7)
    assert engine.run(bytes(incoming(ends, heard))).data == bytes(forwarded(incoming(ends, heard), ends, heard))
    elsewhere = ends | {"source": ends["source"].with_port(30004), "receiver": ends["receiver"].with_port(5006)}
    assert engine.run(bytes(incoming(ends, seen))).data == bytes(forwarded(incoming(ends, seen), elsewhere, seen))
    assert [plane.sent(i).packets for i in (5, VIDEO_RECEIVER)] == [1, 1]
    assert (plane.state().packets, plane.state().ssrc_count) == (2, 1)
    assert plane.counts() == {f"{engine.name}_forwarded": 2}


def test_the_rules_of_a_lane_are_its_own(plane: Plane, engine: Engine) -> None:
    bundle(plane, IP4)
    for payload_type in (101, OTHER):
        assert engine.run(bytes(incoming(IP4, Rtp(payload_type=payload_type)))).verdict == engine.dropped
    assert plane.counts() == {"drop_payload_type": 1, "drop_hold": 1}
    assert plane.state().packets == 1


def test_what_one_lane_needs_of_tc_does_not_keep_the_other_from_xdp(plane: Plane) -> None:
    bundle(plane, IP4, xdp=(False, True))
    assert plane.xdp.run(bytes(incoming(IP4, Rtp(payload_type=AUDIO)))).verdict == plane.xdp.passed
    assert plane.xdp.run(bytes(incoming(IP4, Rtp(payload_type=VIDEO)))).verdict == plane.xdp.sent
    assert plane.tc.run(bytes(incoming(IP4, Rtp(payload_type=AUDIO)))).verdict == plane.tc.sent


def test_a_stranger_is_judged_before_lanes_are_looked_for(plane: Plane, engine: Engine) -> None:
    bundle(plane, IP4)
    frame = replace(incoming(IP4, Rtp(payload_type=VIDEO)), source=IP4["sender"].with_port(4444))
    assert engine.run(bytes(frame)).verdict == engine.dropped
    assert plane.counts() == {"drop_source_mismatch": 1}


def test_a_type_of_several_lanes_is_the_sources(plane: Plane, engine: Engine) -> None:
    slot, ssrc = 0, 7
    bundle(plane, IP4)
    lanes = plane.flows.lanes(IP4["local"])
    plane.put_bundle(IP4["local"], IP4["sender"], list(lanes.values()), {AUDIO: 0, VIDEO: abi.Limits.LANE_BY_SSRC - 1})
    plane.maps["rtprelay_lanes"].update(bytes(abi.SsrcKey(slot, ssrc)), (2).to_bytes(4, "little"))
    assert engine.run(bytes(incoming(IP4, Rtp(payload_type=VIDEO, ssrc=ssrc)))).verdict == engine.sent
    assert plane.sent(VIDEO_RECEIVER).packets == 1
    unknown = bytes(incoming(IP4, Rtp(payload_type=VIDEO, ssrc=8)))
    assert engine.run(unknown).verdict == (engine.passed if engine.name == "xdp" else engine.dropped)
    assert plane.state().packets == 1


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flags=st.integers(0, 0x3F),
    rest=st.binary(max_size=1500 - 40),
    v6=st.booleans(),
    partial=st.booleans(),
    byte=st.sampled_from([0xFF, 0xD5, 0]),
)
def test_silence_is_what_userspace_makes_of_any_packet(
    plane: Plane, engine: Engine, flags: int, rest: bytes, v6: bool, partial: bool, byte: int
) -> None:
    """CSRCs, extension and padding as the bits say, in whatever shape."""
    ends = IP6 if v6 else IP4
    plane.reset()
    plane.put_output(5, ends["source"], ends["receiver"])
    plane.put_flow(ends["local"], ends["sender"], range(5, 6), payloads={AUDIO: (8000, False)}, silences={AUDIO: byte})
    payload = bytes((0x80 | flags, AUDIO)) + bytes(Rtp(payload=b""))[2:] + rest
    frame = replace(incoming(ends), payload=payload)
    if partial and engine.name == "xdp":
        frame = replace(frame, udp_checksum=frame.pseudo_sum)
    run = engine.run(bytes(frame))
    assert run.verdict == engine.sent
    assert run.data == bytes(replace(forwarded(frame, ends), payload=silenced(payload, byte)))


def test_what_is_too_long_to_be_silenced_goes_up(plane: Plane, engine: Engine) -> None:
    plane.put_output(5, IP4["source"], IP4["receiver"])
    payloads = {AUDIO: (44100, False)}
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6), payloads=payloads, silences={AUDIO: 0}, mtu=4000)
    frame = bytes(incoming(IP4, Rtp(payload=bytes(SrtpLimits.MAX_LENGTH))))
    assert engine.run(frame).verdict == (engine.passed if engine.name == "xdp" else plane.tc.dropped)
    assert "xdp_forwarded" not in plane.counts()
