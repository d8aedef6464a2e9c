"""SRTP in and out of the real programs, frame by frame: every checksum and length by the book.

sender --(S)RTP--> [ relay_xdp | relay_tc ] --(S)RTP--> data_out, compared with a frame calculated by userspace
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtprelay.kernel import abi
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import MAC_IN, MAC_OUT, READY, Engine, Plane, Sent, State
from tests.bpf.test_forward import FAMILIES, IP4, IP6, forwarded, incoming

CM, GCM, NULL = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "NULL_HMAC_SHA1_32"
WAYS = pytest.mark.parametrize(
    ("enters", "leaves"),
    [(None, CM), (CM, None), (CM, GCM), (GCM, CM), (CM, CM), (None, GCM), (GCM, None), (NULL, "F8_128_HMAC_SHA1_80")],
)


def keys_of(name: str | None, mki: bytes = b"") -> SrtpParameters | None:
    if name is None:
        return None
    suite = SUITES[name]
    return SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length), mki))


def some_keys(name: str = CM) -> SrtpParameters:
    keys = keys_of(name)
    assert keys is not None
    return keys


class Leg:
    """One direction with its keys: the party at the other end of the relay. Without keys it speaks RTP."""

    def __init__(self, keys: SrtpParameters | None) -> None:
        self._context = SrtpContext(keys) if keys is not None else None

    def protect(self, packet: bytes) -> bytes:
        return packet if self._context is None else self._context.protect(packet)


def relay(
    plane: Plane,
    ends: dict[str, Endpoint],
    enters: SrtpParameters | None,
    leaves: SrtpParameters | None,
    ssrc: int | None = None,
    sequence_offset: int = 0,
    timestamp_offset: int = 0,
) -> None:
    plane.put_output(
        5,
        ends["source"],
        ends["receiver"],
        ssrc=ssrc,
        sequence_offset=sequence_offset,
        timestamp_offset=timestamp_offset,
        srtp=leaves,
    )
    plane.put_flow(ends["local"], ends["sender"], range(5, 6), srtp=enters)


def sent(engine: Engine, frame: Frame) -> bytes:
    run = engine.run(bytes(frame))
    assert run.verdict == engine.sent
    return run.data


def refused(engine: Engine, plane: Plane, frame: Frame) -> str:
    """The reason."""
    before = plane.counts()
    run = engine.run(bytes(frame))
    assert run.verdict == engine.dropped
    (reason,) = [name for name, count in plane.counts().items() if "drop" in name and count != before.get(name, 0)]
    return reason


@FAMILIES
@WAYS
def test_what_leaves_is_what_userspace_would_send(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint], enters: str | None, leaves: str | None
) -> None:
    keys_in, keys_out = keys_of(enters, b"\1\2"), keys_of(leaves, b"\3")
    relay(plane, ends, keys_in, keys_out)
    sender, receiver = Leg(keys_in), Leg(keys_out)
    for sequence in (65533, 65534, 65536, 65535, 65700):
        rtp = Rtp(sequence=sequence & 0xFFFF, payload=os.urandom(sequence % 200))
        frame = replace(incoming(ends), payload=sender.protect(bytes(rtp)))
        expected = replace(forwarded(frame, ends), payload=receiver.protect(bytes(rtp)))
        assert sent(engine, frame).hex() == bytes(expected).hex()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.tuples(st.none() | st.sampled_from(list(SUITES)), st.none() | st.sampled_from(list(SUITES))),
    length=st.integers(0, 1400),
    ends=st.sampled_from([IP4, IP6]),
)
def test_every_suite_and_length_leaves_with_a_good_checksum(
    plane: Plane, engine: Engine, names: tuple[str | None, str | None], length: int, ends: dict[str, Endpoint]
) -> None:
    plane.reset()
    keys_in, keys_out = keys_of(names[0]), keys_of(names[1])
    relay(plane, ends, keys_in, keys_out)
    rtp = Rtp(payload=os.urandom(length))
    frame = replace(incoming(ends), payload=Leg(keys_in).protect(bytes(rtp)))
    expected = replace(forwarded(frame, ends), payload=Leg(keys_out).protect(bytes(rtp)))
    assert sent(engine, frame) == bytes(expected)


@FAMILIES
def test_numbers_and_ssrc_are_rewritten_before_the_packet_is_protected(
    plane: Plane, engine: Engine, ends: dict[str, Endpoint]
) -> None:
    keys = some_keys()
    relay(plane, ends, None, keys, ssrc=0x77777777, sequence_offset=40_000, timestamp_offset=0x12345678)
    receiver = Leg(keys)
    for sequence in (10, 25_000, 25_600):
        rtp = Rtp(sequence=sequence)
        changed = replace(
            rtp,
            ssrc=0x77777777,
            sequence=sequence + 40_000 & 0xFFFF,
            timestamp=rtp.timestamp + 0x12345678 & 0xFFFFFFFF,
        )
        expected = replace(forwarded(incoming(ends), ends), payload=receiver.protect(bytes(changed)))
        assert sent(engine, incoming(ends, rtp)) == bytes(expected)


def test_a_damaged_packet_leaves_damaged(plane: Plane, engine: Engine) -> None:
    """RTP with a bad checksum becomes SRTP with a bad checksum: nothing is healed by encryption."""
    keys = some_keys()
    relay(plane, IP4, None, keys)
    good = incoming(IP4)
    right = int.from_bytes(bytes(good)[40:42])
    expected = replace(forwarded(good, IP4), payload=Leg(keys).protect(bytes(Rtp())))
    leaves = int.from_bytes(bytes(expected)[40:42])
    data = sent(engine, replace(good, udp_checksum=right ^ 0x0100))
    assert int.from_bytes(data[40:42]) != leaves
    assert data[42:] == bytes(expected)[42:]


def test_no_checksum_stays_none(plane: Plane, engine: Engine) -> None:
    keys = some_keys()
    relay(plane, IP4, None, keys)
    data = sent(engine, replace(incoming(IP4), udp_checksum=0))
    assert data[40:42] == b"\0\0"
    assert data[42:] == Leg(keys).protect(bytes(Rtp()))


def test_a_frame_with_ethernet_padding_is_cut_to_measure(plane: Plane, engine: Engine) -> None:
    """Frames of less than 60 bytes come filled up."""
    keys_in, keys_out = some_keys("AES_CM_128_HMAC_SHA1_32"), some_keys(CM)
    relay(plane, IP4, keys_in, keys_out)
    rtp = Rtp(payload=b"")
    frame = replace(incoming(IP4), payload=Leg(keys_in).protect(bytes(rtp)))
    expected = replace(forwarded(frame, IP4), payload=Leg(keys_out).protect(bytes(rtp)))
    run = engine.run(bytes(frame).ljust(60, b"\xee"))
    assert run.verdict == engine.sent
    assert run.data == bytes(expected)


def test_a_local_sender_s_unfinished_checksum_is_completed_first(plane: Plane) -> None:
    """XDP only: veth hands over CHECKSUM_PARTIAL packets and says nothing."""
    keys_in, keys_out = some_keys(), some_keys(GCM)
    relay(plane, IP4, keys_in, keys_out)
    frame = replace(incoming(IP4), payload=Leg(keys_in).protect(bytes(Rtp())))
    expected = replace(forwarded(frame, IP4), payload=Leg(keys_out).protect(bytes(Rtp())))
    assert sent(plane.xdp, replace(frame, udp_checksum=frame.pseudo_sum)) == bytes(expected)


# Attacks


@pytest.fixture
def secured(plane: Plane, engine: Engine) -> tuple[SrtpParameters, SrtpContext]:
    """A flow that takes SRTP and sends RTP, after its first packet: its key, and its sender."""
    keys = some_keys()
    relay(plane, IP4, keys, None)
    sender = SrtpContext(keys)
    sent(engine, replace(incoming(IP4), payload=sender.protect(bytes(Rtp(sequence=1000)))))
    return keys, sender


def snapshot(plane: Plane, keys: SrtpParameters) -> tuple[State, list[bytes], Sent]:
    return plane.state(), [bytes(stream) for stream in plane.srtp_state(keys).values()], plane.sent(5)


def test_forged_packets_are_dropped_counted_and_leave_no_trace(
    plane: Plane, engine: Engine, secured: tuple[SrtpParameters, SrtpContext]
) -> None:
    keys, sender = secured
    before = snapshot(plane, keys)
    for sequence in (1001, 30_000, 33_000, 65_535):
        forged = replace(incoming(IP4), payload=bytes(Rtp(sequence=sequence)) + os.urandom(10))
        assert refused(engine, plane, forged) == "drop_srtp_auth"
    plain = incoming(IP4, Rtp(sequence=1001))
    assert refused(engine, plane, plain) == "drop_srtp_auth"
    stranger = replace(incoming(IP4), payload=bytes(Rtp(ssrc=99)) + os.urandom(10))
    assert refused(engine, plane, stranger) == "drop_srtp_auth"
    short = replace(incoming(IP4), payload=bytes(Rtp(payload=b"")) + os.urandom(9))
    assert refused(engine, plane, short) == "drop_srtp_malformed"
    assert snapshot(plane, keys) == before
    assert plane.aside().dropped == 7
    genuine = replace(incoming(IP4), payload=sender.protect(bytes(Rtp(sequence=1001))))
    assert sent(engine, genuine)[42:] == bytes(Rtp(sequence=1001))


def test_a_replay_is_dropped_and_counted(
    plane: Plane, engine: Engine, secured: tuple[SrtpParameters, SrtpContext]
) -> None:
    _, sender = secured
    frame = replace(incoming(IP4), payload=sender.protect(bytes(Rtp(sequence=1001))))
    sent(engine, frame)
    for _ in range(3):
        assert refused(engine, plane, frame) == "drop_srtp_replay"
    assert plane.state().packets == 2


def test_only_an_authentic_packet_makes_the_source_heard(plane: Plane, engine: Engine) -> None:
    keys = some_keys()
    relay(plane, IP4, keys, None)
    refused(engine, plane, incoming(IP4))
    control = struct.pack("!BBHI", 0x80, 200, 1, 7) + bytes(14)
    engine.run(bytes(replace(incoming(IP4), payload=control)))
    assert plane.state().confirmed == 0
    sent(engine, replace(incoming(IP4), payload=Leg(keys).protect(bytes(Rtp()))))
    assert plane.state().confirmed == 1


def test_no_key_no_packet(plane: Plane, engine: Engine) -> None:
    keys_in, keys_out = some_keys(), some_keys()
    relay(plane, IP4, keys_in, keys_out)
    sender = Leg(keys_in)
    frame = replace(incoming(IP4), payload=sender.protect(bytes(Rtp(sequence=1))))
    plane.drop_key(keys_out)
    assert refused(engine, plane, frame) == "drop_srtp_no_key"
    plane.drop_key(keys_in)
    frame = replace(incoming(IP4), payload=sender.protect(bytes(Rtp(sequence=2))))
    assert refused(engine, plane, frame) == "drop_srtp_no_key"


# What must not be sent twice


def test_a_duplicate_of_plain_rtp_is_not_protected_again(plane: Plane, engine: Engine) -> None:
    keys = some_keys(GCM)
    relay(plane, IP4, None, keys)
    sent(engine, incoming(IP4, Rtp(sequence=7)))
    assert refused(engine, plane, incoming(IP4, Rtp(sequence=7, payload=b"something else"))) == "drop_srtp_reused"
    assert (plane.sent(5).packets, plane.sent(5).errors) == (1, 1)


def test_two_sources_under_one_substituted_ssrc_never_share_an_index(plane: Plane, engine: Engine) -> None:
    """An SFU that switches its speaker: the numbers of both overlap."""
    keys = some_keys(GCM)
    relay(plane, IP4, None, keys, ssrc=0x5555)
    sent(engine, incoming(IP4, Rtp(sequence=100, ssrc=1)))
    assert refused(engine, plane, incoming(IP4, Rtp(sequence=100, ssrc=2))) == "drop_srtp_reused"
    sent(engine, incoming(IP4, Rtp(sequence=101, ssrc=2)))


def test_a_source_that_starts_anew_goes_on_where_it_had_ended(plane: Plane, engine: Engine) -> None:
    """SRTP cannot go back to lower numbers: the receiver would take them for replays."""
    keys = some_keys()
    relay(plane, IP4, None, keys)
    receiver = SrtpContext(keys)
    for sequence in (20_000, 20_001):
        receiver.unprotect(sent(engine, incoming(IP4, Rtp(sequence=sequence)))[42:])
    assert refused(engine, plane, incoming(IP4, Rtp(sequence=500))) == "drop_srtp_reused"
    numbers = []
    for sequence in (501, 502, 503):
        rtp = receiver.unprotect(sent(engine, incoming(IP4, Rtp(sequence=sequence)))[42:])
        numbers.append(int.from_bytes(rtp[2:4]))
    assert numbers == [20_002, 20_003, 20_004]


def test_a_receiver_that_joins_late_starts_in_the_first_cycle(plane: Plane, engine: Engine) -> None:
    """The sender has wrapped already; the new receiver knows of no cycles."""
    early, late = some_keys(), some_keys()
    relay(plane, IP4, None, early)
    for sequence in (65_000, 65_535, 0, 100):
        sent(engine, incoming(IP4, Rtp(sequence=sequence)))
    plane.put_output(5, IP4["source"], IP4["receiver"], srtp=late)
    data = sent(engine, incoming(IP4, Rtp(sequence=101)))
    assert SrtpContext(late).unprotect(data[42:]) == bytes(Rtp(sequence=101))


def test_seventeen_sources_have_indices_of_their_own_and_no_more(plane: Plane, engine: Engine) -> None:
    keys_in, keys_out = some_keys(), some_keys()
    relay(plane, IP4, keys_in, keys_out)
    sender, receiver = SrtpContext(keys_in), SrtpContext(keys_out)
    count = abi.Limits.MAX_SSRCS + 1
    for sequence in (65_534, 65_535, 0, 1):
        for ssrc in range(count):
            rtp = bytes(Rtp(sequence=sequence, ssrc=ssrc))
            assert sent(engine, replace(incoming(IP4), payload=sender.protect(rtp)))[42:] == receiver.protect(rtp)
    surplus = replace(incoming(IP4), payload=sender.protect(bytes(Rtp(ssrc=1000))))
    assert refused(engine, plane, surplus) == "drop_srtp_exhausted"
    assert len(plane.srtp_state(keys_in)) == len(plane.srtp_state(keys_out)) == count


# tc can do more


@pytest.mark.parametrize(("enters", "leaves"), [(IP4, IP6), (IP6, IP4)], ids=["4to6", "6to4"])
@pytest.mark.parametrize("suites", [(None, CM), (GCM, None), (CM, GCM)])
def test_tc_changes_the_family_as_well(
    plane: Plane,
    enters: dict[str, Endpoint],
    leaves: dict[str, Endpoint],
    suites: tuple[str | None, str | None],
) -> None:
    keys_in, keys_out = map(keys_of, suites)
    plane.put_output(5, leaves["source"], leaves["receiver"], srtp=keys_out)
    plane.put_flow(enters["local"], enters["sender"], range(5, 6), srtp=keys_in, flags=abi.FlowFlag.LOCK)
    frame = replace(incoming(enters), payload=Leg(keys_in).protect(bytes(Rtp())))
    data = sent(plane.tc, frame)
    expected = Frame(
        leaves["source"],
        leaves["receiver"],
        Leg(keys_out).protect(bytes(Rtp())),
        destination_mac=MAC_OUT,
        source_mac=MAC_IN,
        ttl=64,
        identification=0,
    )
    assert data == bytes(expected)


def test_tc_treats_vlan_tags_and_keys_together(plane: Plane) -> None:
    keys = some_keys()
    plane.put_output(5, IP4["source"], IP4["receiver"], srtp=keys, vlan=(100,), flags=READY)
    plane.put_flow(IP4["local"], IP4["sender"], range(5, 6), flags=abi.FlowFlag.LOCK)
    assert sent(plane.tc, incoming(IP4)).endswith(Leg(keys).protect(bytes(Rtp())))
