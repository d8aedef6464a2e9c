"""SRTP in the userspace forwarder, with libsrtp (pylibsrtp) as the party on either side."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from pylibsrtp import Policy, Session

from rtprelay.kernel.forwarder import Dropped, Forwarded, Punt, UserspaceForwarder
from rtprelay.plan.flow import Flow, Mismatch, Output, PutFlow
from rtprelay.security.kdf import MasterKey
from rtprelay.security.replay import CRASH_MARGIN
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES
from rtprelay.store.srtp_indices import SrtpIndices
from rtprelay.values import Endpoint

A, B, STRANGER = Endpoint("192.0.2.1", 4000), Endpoint("192.0.2.2", 5000), Endpoint("192.0.2.66", 6)
TO_A, TO_B = Endpoint("203.0.113.1", 30000), Endpoint("203.0.113.1", 30002)
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}


def keys(name: str) -> SrtpParameters:
    suite = SUITES[name]
    return SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length)))


def libsrtp(parameters: SrtpParameters, direction: int) -> Session:
    master = parameters.master
    profile = PROFILES[parameters.suite.name]
    return Session(Policy(key=master.key + master.salt, ssrc_type=direction, srtp_profile=profile))


def rtp(sequence: int, payload: bytes = b"payload") -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160, 0x1234) + payload


RTCP = struct.pack("!BBHIQIII", 0x80, 200, 6, 0x1234, 7, 8, 9, 10)


def relay(receive: SrtpParameters | None, send: SrtpParameters | None) -> UserspaceForwarder:
    forwarder = UserspaceForwarder()
    outputs = (Output(source=TO_B, destination=B, srtp=send),)
    forwarder.apply(
        PutFlow(
            Flow(
                local=TO_A,
                expected=A,
                rtcp_expected=A,
                on_mismatch=Mismatch.PUNT,
                lock=False,
                outputs=outputs,
                rtcp_outputs=outputs,
                srtp=receive,
            )
        )
    )
    return forwarder


def forwarded(forwarder: UserspaceForwarder, data: bytes) -> bytes:
    verdict = forwarder.forward(TO_A, data, A, 1.0)
    assert isinstance(verdict, Forwarded)
    ((_, packet, _),) = verdict.datagrams
    return packet


@pytest.mark.parametrize("suite", PROFILES)
def test_plain_rtp_is_protected_past_the_wrap_of_the_sequence_number(suite: str) -> None:
    parameters = keys(suite)
    forwarder, party = relay(None, parameters), libsrtp(parameters, Policy.SSRC_ANY_INBOUND)
    for sequence in range(65_500, 65_600):
        assert party.unprotect(forwarded(forwarder, rtp(sequence))) == rtp(sequence)
    for _ in range(3):
        assert party.unprotect_rtcp(forwarded(forwarder, RTCP)) == RTCP


@pytest.mark.parametrize("suite", PROFILES)
def test_srtp_is_unprotected_and_protected_again_with_other_keys(suite: str) -> None:
    receive, send = keys(suite), keys("AES_CM_128_HMAC_SHA1_80")
    forwarder = relay(receive, send)
    sender, receiver = libsrtp(receive, Policy.SSRC_ANY_OUTBOUND), libsrtp(send, Policy.SSRC_ANY_INBOUND)
    for sequence in range(65_500, 65_600):
        assert receiver.unprotect(forwarded(forwarder, sender.protect(rtp(sequence)))) == rtp(sequence)
    assert receiver.unprotect_rtcp(forwarded(forwarder, sender.protect_rtcp(RTCP))) == RTCP


def test_what_does_not_authenticate_is_dropped_and_harms_nothing() -> None:
    receive = keys("AES_CM_128_HMAC_SHA1_80")
    forwarder, sender = relay(receive, None), libsrtp(receive, Policy.SSRC_ANY_OUTBOUND)
    first = sender.protect(rtp(1))
    for forged in (rtp(1), first[:-1] + bytes([first[-1] ^ 1]), rtp(40_000) + first[-10:], first[:12], RTCP):
        assert isinstance(forwarder.forward(TO_A, forged, A, 1.0), Dropped)
    assert forwarded(forwarder, first) == rtp(1)
    assert forwarder.forward(TO_A, first, A, 1.0) == Dropped("srtp_replay")
    assert forwarded(forwarder, sender.protect(rtp(2))) == rtp(2)


def test_a_stranger_is_only_judged_by_authentic_packets() -> None:
    receive = keys("AES_CM_128_HMAC_SHA1_80")
    forwarder, sender = relay(receive, None), libsrtp(receive, Policy.SSRC_ANY_OUTBOUND)
    assert forwarder.forward(TO_A, rtp(1), STRANGER, 1.0) == Dropped("srtp_auth")
    moved = sender.protect(rtp(1))
    assert isinstance(forwarder.forward(TO_A, moved, STRANGER, 1.0), Punt)
    assert forwarded(forwarder, moved) == rtp(1)


def test_a_plain_packet_sent_twice_is_protected_once() -> None:
    parameters = keys("AEAD_AES_128_GCM")
    forwarder = relay(None, parameters)
    forwarded(forwarder, rtp(7))
    assert forwarder.forward(TO_A, rtp(7, b"another"), A, 1.0) == Forwarded([])


def test_a_source_that_starts_anew_goes_on_where_it_had_ended() -> None:
    """SRTP cannot go back to lower numbers: the receiver would take them for replays."""
    parameters = keys("AES_CM_128_HMAC_SHA1_80")
    forwarder, party = relay(None, parameters), libsrtp(parameters, Policy.SSRC_ANY_INBOUND)
    party.unprotect(forwarded(forwarder, rtp(20_000)))
    assert forwarder.forward(TO_A, rtp(500), A, 1.0) == Forwarded([])
    left = [party.unprotect(forwarded(forwarder, rtp(sequence))) for sequence in (501, 502, 504)]
    assert [int.from_bytes(packet[2:4]) for packet in left] == [20_001, 20_002, 20_004]


def test_an_unchanged_key_keeps_its_indices_when_the_flow_is_replaced() -> None:
    parameters = keys("AES_CM_128_HMAC_SHA1_80")
    forwarder, party = relay(None, parameters), libsrtp(parameters, Policy.SSRC_ANY_INBOUND)
    for sequence in range(65_530, 65_540):
        party.unprotect(forwarded(forwarder, rtp(sequence)))
    flow = forwarder.flow(TO_A)
    assert flow is not None
    moved = Output(source=TO_B, destination=STRANGER, srtp=parameters)
    forwarder.apply(PutFlow(Flow(local=TO_A, expected=A, outputs=(moved,))))
    assert party.unprotect(forwarded(forwarder, rtp(65_541))) == rtp(65_541)


def test_a_successor_goes_on_where_the_keys_were_left(tmp_path: Path) -> None:
    receive, send = keys("AES_CM_128_HMAC_SHA1_80"), keys("AEAD_AES_128_GCM")
    before = relay(receive, send)
    sender, receiver = libsrtp(receive, Policy.SSRC_ANY_OUTBOUND), libsrtp(send, Policy.SSRC_ANY_INBOUND)
    for sequence in range(65_500, 65_600):
        receiver.unprotect(forwarded(before, sender.protect(rtp(sequence))))
    receiver.unprotect_rtcp(forwarded(before, sender.protect_rtcp(RTCP)))
    SrtpIndices(tmp_path).save(before.srtp.export(), settled=True)
    after = UserspaceForwarder()
    after.srtp.remember(*SrtpIndices(tmp_path).load())
    for flow in before.table().values():
        after.apply(PutFlow(flow))
    assert receiver.unprotect(forwarded(after, sender.protect(rtp(65_600)))) == rtp(65_600)
    assert receiver.unprotect_rtcp(forwarded(after, sender.protect_rtcp(RTCP))) == RTCP


def test_where_the_keys_were_left_outlives_a_successor_that_saw_no_packet(tmp_path: Path) -> None:
    send = keys("AEAD_AES_128_GCM")
    forwarder, receiver = relay(None, send), libsrtp(send, Policy.SSRC_ANY_INBOUND)
    for sequence in range(65_500, 65_600):
        receiver.unprotect(forwarded(forwarder, rtp(sequence)))
    for _ in range(2):
        SrtpIndices(tmp_path).save(forwarder.srtp.export(), settled=True)
        before, forwarder = forwarder, UserspaceForwarder()
        forwarder.srtp.remember(*SrtpIndices(tmp_path).load())
        for flow in before.table().values():
            forwarder.apply(PutFlow(flow))
    assert receiver.unprotect(forwarded(forwarder, rtp(65_600))) == rtp(65_600)


def test_after_a_crash_nothing_is_sent_that_the_predecessor_may_have_sent(tmp_path: Path) -> None:
    """What it sent after the last save is not known; its successor crashes as well, before it has sent anything."""
    send = keys("AEAD_AES_128_GCM")
    crashed, receiver = relay(None, send), libsrtp(send, Policy.SSRC_ANY_INBOUND)
    for sequence in range(64_000, 64_010):
        receiver.unprotect(forwarded(crashed, rtp(sequence)))
    SrtpIndices(tmp_path).save(crashed.srtp.export())
    for sequence in range(64_010, 65_000):
        receiver.unprotect(forwarded(crashed, rtp(sequence)))
    for _ in range(20):
        forwarder = UserspaceForwarder()
        forwarder.srtp.remember(*SrtpIndices(tmp_path).load())
        for flow in crashed.table().values():
            forwarder.apply(PutFlow(flow))
        SrtpIndices(tmp_path).save(forwarder.srtp.export())
    for sequence in (64_500, 65_001, 64_999, 65_600):
        # As new indices, were they the predecessor's or not: libsrtp would refuse a replay.
        packet = receiver.unprotect(forwarded(forwarder, rtp(sequence, b"another")))
        assert int.from_bytes(packet[2:4]) == (sequence + CRASH_MARGIN) & 0xFFFF


def test_a_key_of_the_predecessor_s_is_known_before_its_first_packet_and_kept_again(tmp_path: Path) -> None:
    """A kernel that is to use it asks first; and the next crash may come before anybody does."""
    send = keys("AEAD_AES_128_GCM")
    before = relay(None, send)
    forwarded(before, rtp(65_600))
    SrtpIndices(tmp_path).save(before.srtp.export())
    for _ in range(2):
        after = UserspaceForwarder()
        after.srtp.remember(*SrtpIndices(tmp_path).load())
        SrtpIndices(tmp_path).save(after.srtp.export())
    assert after.srtp.known("out", send)[0x1234].highest == 65_600 & 0xFFFF
    SrtpIndices(tmp_path).save(after.srtp.export())
    assert len(SrtpIndices(tmp_path).load()[0]) == 1


def test_what_is_kept_of_keys_gives_none_away(tmp_path: Path) -> None:
    receive = keys("AES_CM_128_HMAC_SHA1_80")
    forwarder, sender = relay(receive, None), libsrtp(receive, Policy.SSRC_ANY_OUTBOUND)
    forwarded(forwarder, sender.protect(rtp(1)))
    SrtpIndices(tmp_path).save(forwarder.srtp.export())
    (kept,) = tmp_path.iterdir()
    assert receive.master.key not in kept.read_bytes()
    assert kept.stat().st_mode & 0o077 == 0


def test_indices_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert SrtpIndices(tmp_path).load() == ({}, False)
    (tmp_path / "srtp-indices").write_bytes(b"\x00garbage")
    assert SrtpIndices(tmp_path).load() == ({}, False)
