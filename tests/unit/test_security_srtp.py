"""SRTP in userspace: published vectors, libsrtp as the other party, and the rules of RFC 3711 section 3.3."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from rtprelay.security import srtp as module
from rtprelay.security.indices import MAX_SSRCS, AuthenticationFailed, IndexExhausted, Replayed, SrtpFault
from rtprelay.security.kdf import MasterKey, SessionKeys
from rtprelay.security.replay import MAX_RTCP_INDEX, MAX_RTP_INDEX, ReplayWindow
from rtprelay.security.srtp import SrtpContext, SrtpParameters, SrtpState
from rtprelay.security.suites import SUITES

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SSRC = 0x5501A0B2


def keys_of(name: str, mki: bytes = b"", **exceptions: bool) -> SrtpParameters:
    suite = SUITES[name]
    master = MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length), mki)
    return SrtpParameters(suite, master, **exceptions)


def rtp(sequence: int, payload: bytes = b"payload", ssrc: int = SSRC) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc) + payload


RTCP = struct.pack("!BBHIQIII", 0x80, 200, 6, SSRC, 7, 8, 9, 10)


@pytest.fixture
def session_keys(monkeypatch: pytest.MonkeyPatch) -> SessionKeys:
    """RFC 7714 gives session keys; these take the place of the derived ones."""
    salt = bytes.fromhex("517569642070726f2071756f")
    fixed = SessionKeys(bytes(range(16)), b"", salt, bytes(range(16)), b"", salt)
    monkeypatch.setattr(module, "derive", lambda suite, master: fixed)
    return fixed


def test_gcm_protects_as_published(session_keys: SessionKeys) -> None:
    """RFC 7714 section 16.1.1."""
    packet = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
    expected = bytes.fromhex(
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b"
        "36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    )
    keys = keys_of("AEAD_AES_128_GCM")
    assert SrtpContext(keys).protect(packet) == expected
    assert SrtpContext(keys).unprotect(expected) == packet


def test_gcm_protects_control_as_published(session_keys: SessionKeys) -> None:
    """RFC 7714 section 17.1: SSRC 4d617273, index 0x5d4."""
    packet = bytes.fromhex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
    )
    expected = bytes.fromhex(
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b"
        "c84aa45896cf4d2fc5abf87245d9eade800005d4"
    )
    keys = keys_of("AEAD_AES_128_GCM")
    state = SrtpState(rtcp={0x4D617273: ReplayWindow(0x5D3, 1)})
    assert SrtpContext(keys, state).protect_rtcp(packet) == expected
    assert SrtpContext(keys).unprotect_rtcp(expected) == packet


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=40, deadline=None)
@given(payload=st.binary(max_size=1200), sequence=st.integers(0, 0xFFFF))
def test_libsrtp_reads_and_writes_the_same(name: str, payload: bytes, sequence: int) -> None:
    keys = keys_of(name)

    def session(direction: int) -> Session:
        return Session(Policy(key=keys.master.key + keys.master.salt, ssrc_type=direction, srtp_profile=PROFILES[name]))

    sender, receiver = session(Policy.SSRC_ANY_OUTBOUND), session(Policy.SSRC_ANY_INBOUND)
    packet = rtp(sequence, payload)
    assert receiver.unprotect(SrtpContext(keys).protect(packet)) == packet
    assert SrtpContext(keys).unprotect(sender.protect(packet)) == packet
    assert receiver.unprotect_rtcp(SrtpContext(keys).protect_rtcp(RTCP)) == RTCP
    assert SrtpContext(keys).unprotect_rtcp(sender.protect_rtcp(RTCP)) == RTCP


EVERY = pytest.mark.parametrize("name", SUITES)


@EVERY
@pytest.mark.parametrize("mki", [b"", b"\1\2\3\4", bytes(range(128))])
@pytest.mark.parametrize("exception", ["", "unencrypted_srtp", "unencrypted_srtcp", "unauthenticated_srtp"])
def test_what_was_protected_is_unprotected_again(name: str, mki: bytes, exception: str) -> None:
    keys = keys_of(name, mki, **({exception: True} if exception else {}))
    sender, receiver = SrtpContext(keys), SrtpContext(keys)
    for sequence in (65534, 65535, 65536, 65537):
        assert receiver.unprotect(sender.protect(rtp(sequence))) == rtp(sequence)
        assert receiver.unprotect_rtcp(sender.protect_rtcp(RTCP)) == RTCP
    assert sender.state == receiver.state


def test_unencrypted_stays_readable_and_authentic() -> None:
    for name in ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"):
        keys = keys_of(name, unencrypted_srtp=True, unencrypted_srtcp=True)
        packet, control = SrtpContext(keys).protect(rtp(1)), SrtpContext(keys).protect_rtcp(RTCP)
        assert packet.startswith(rtp(1))
        assert control.startswith(RTCP)
        with pytest.raises(AuthenticationFailed):
            SrtpContext(keys).unprotect(packet.replace(b"payload", b"paylaod"))


@EVERY
def test_any_byte_changed_is_noticed_and_leaves_no_trace(name: str) -> None:
    keys = keys_of(name)
    packet, control = SrtpContext(keys).protect(rtp(1000)), SrtpContext(keys).protect_rtcp(RTCP)
    receiver = SrtpContext(keys)
    for at in range(len(packet)):
        with pytest.raises(SrtpFault):
            receiver.unprotect(packet[:at] + bytes([packet[at] ^ 0x40]) + packet[at + 1 :])
    for at in range(len(control)):
        with pytest.raises(SrtpFault):
            receiver.unprotect_rtcp(control[:at] + bytes([control[at] ^ 0x40]) + control[at + 1 :])
    assert receiver.state == SrtpState()
    assert receiver.unprotect(packet) == rtp(1000)
    assert receiver.unprotect_rtcp(control) == RTCP


@EVERY
def test_any_packet_cut_short_is_refused(name: str) -> None:
    keys = keys_of(name, b"\1")
    packet, control = SrtpContext(keys).protect(rtp(1)), SrtpContext(keys).protect_rtcp(RTCP)
    receiver = SrtpContext(keys)
    for length in range(len(packet)):
        with pytest.raises(SrtpFault):
            receiver.unprotect(packet[:length])
    for length in range(len(control)):
        with pytest.raises(SrtpFault):
            receiver.unprotect_rtcp(control[:length])


@settings(max_examples=200, deadline=None)
@given(packet=st.binary(max_size=100))
def test_no_datagram_is_worse_than_refused(packet: bytes) -> None:
    context = SrtpContext(keys_of("AEAD_AES_128_GCM"))
    for treat in (context.unprotect, context.unprotect_rtcp, context.protect):
        try:
            treat(packet)
        except SrtpFault:
            continue
    assert isinstance(context.authentic(packet.ljust(2, b"\0")), bool)


def test_a_replay_is_refused_on_either_channel() -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    receiver = SrtpContext(keys)
    packet, control = SrtpContext(keys).protect(rtp(5)), SrtpContext(keys).protect_rtcp(RTCP)
    receiver.unprotect(packet)
    receiver.unprotect_rtcp(control)
    with pytest.raises(Replayed):
        receiver.unprotect(packet)
    with pytest.raises(Replayed):
        receiver.unprotect_rtcp(control)


def test_no_index_protects_twice() -> None:
    sender = SrtpContext(keys_of("AEAD_AES_128_GCM"))
    sender.protect(rtp(5))
    with pytest.raises(Replayed):
        sender.protect(rtp(5, b"another"))
    indices = [sender.protect_rtcp(RTCP)[-4:] for _ in range(3)]
    assert len(set(indices)) == 3


def test_a_key_is_used_up_in_the_end() -> None:
    state = SrtpState({SSRC: ReplayWindow(MAX_RTP_INDEX, 1)}, {SSRC: ReplayWindow(MAX_RTCP_INDEX, 1)})
    sender = SrtpContext(keys_of("AEAD_AES_128_GCM"), state)
    with pytest.raises(IndexExhausted):
        sender.protect(rtp(0))
    with pytest.raises(IndexExhausted):
        sender.protect_rtcp(RTCP)


def test_a_stream_goes_on_with_stored_state_past_the_wrap() -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    first = SrtpContext(keys)
    for sequence in (40_000, 65_535, 90_000, 65_536 + 40_000):
        first.protect(rtp(sequence))
    successor = SrtpContext(keys, first.state)
    receiver = SrtpContext(keys, SrtpState({SSRC: ReplayWindow(65_536 + 40_000, 1)}))
    assert receiver.unprotect(successor.protect(rtp(65_536 + 40_001))) == rtp(65_536 + 40_001)


def test_contexts_do_not_share_state_by_accident() -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    SrtpContext(keys).protect(rtp(5))
    assert SrtpContext(keys).protect(rtp(5))


def test_the_number_of_sources_is_bounded_and_strangers_do_not_count() -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    sender = SrtpContext(keys)
    receiver = SrtpContext(keys)
    for ssrc in range(1000, 1200):
        with pytest.raises(AuthenticationFailed):
            receiver.unprotect(rtp(1, ssrc=ssrc) + bytes(10))
    for ssrc in range(MAX_SSRCS):
        receiver.unprotect(sender.protect(rtp(1, ssrc=ssrc)))
    with pytest.raises(SrtpFault):
        sender.protect(rtp(1, ssrc=MAX_SSRCS))


def test_asking_whether_a_packet_is_authentic_changes_nothing() -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    receiver = SrtpContext(keys)
    packet = SrtpContext(keys).protect(rtp(5))
    assert receiver.authentic(packet)
    assert receiver.authentic(packet)
    assert not receiver.authentic(packet[:-1] + bytes([packet[-1] ^ 1]))
    assert receiver.unprotect(packet) == rtp(5)
    assert not receiver.authentic(packet)
