"""Indices, replay and attacks (RFC 3711 section 3.3), by the eBPF code itself, with userspace on the other side."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from rtprelay.kernel.srtp_keys import NO_KEY
from rtprelay.security.indices import AuthenticationFailed, Replayed, SrtpFault
from rtprelay.security.kdf import MasterKey
from rtprelay.security.replay import MAX_RTP_INDEX, ReplayWindow
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES
from tests.bpf.srtp import Fault, SrtpPrograms, require_srtp_programs

pytestmark = pytest.mark.root

SSRC = 0x11223344
SUITE_NAMES = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "F8_128_HMAC_SHA1_80")


@pytest.fixture(scope="module")
def loaded() -> Iterator[SrtpPrograms]:
    require_srtp_programs()
    with SrtpPrograms() as programs:
        yield programs


@pytest.fixture(params=SUITE_NAMES)
def keys(request: pytest.FixtureRequest) -> SrtpParameters:
    return keys_of(request.param)


def keys_of(name: str, mki: bytes = b"") -> SrtpParameters:
    suite = SUITES[name]
    return SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length), mki))


def rtp(sequence: int, payload: bytes = b"twenty bytes of voice", ssrc: int = SSRC) -> bytes:
    return struct.pack("!BBHII", 0x80, 8, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc) + payload


def protected(packet: bytes | Fault) -> bytes:
    assert isinstance(packet, bytes), packet
    return packet


def test_a_long_stream_passes_two_wraps_of_the_sequence_number(loaded: SrtpPrograms) -> None:
    """Every 13th packet of 150,000, with libsrtp as the receiver: it follows gaps like these."""
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    receiver = Session(Policy(key=keys.master.key + keys.master.salt, ssrc_type=Policy.SSRC_ANY_INBOUND))
    loaded.use(keys)
    for sequence in range(0, 150_000, 13):
        assert receiver.unprotect(protected(loaded.protect(rtp(sequence)))) == rtp(sequence)
    window = loaded.window(SSRC)
    assert window is not None
    assert window.highest == range(0, 150_000, 13)[-1]


def test_packets_out_of_order_around_a_wrap_keep_their_cycle(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    order = (65530, 65535, 65537, 65534, 65536, 65533, 65600, 65529)
    sender = SrtpContext(keys)
    packets = {sequence: sender.protect(rtp(sequence)) for sequence in sorted(order)}
    loaded.use(keys)
    for sequence in order:
        assert loaded.unprotect(packets[sequence]) == rtp(sequence)
    loaded.use(keys)
    for sequence in order:
        assert loaded.protect(rtp(sequence)) == packets[sequence]


def test_the_first_packet_may_be_followed_by_one_before_it_across_zero(loaded: SrtpPrograms) -> None:
    """There is no cycle before the first: 65535 after 0 is 65535, not -1."""
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    loaded.use(keys)
    reference = SrtpContext(keys)
    for sequence in (0, 65535, 1):
        assert loaded.protect(rtp(sequence)) == reference.protect(rtp(sequence))


def test_a_packet_is_taken_once(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    packet = SrtpContext(keys).protect(rtp(7))
    loaded.use(keys)
    assert loaded.unprotect(packet) == rtp(7)
    assert loaded.unprotect(packet) is Fault.REPLAYED


def test_an_index_protects_once_whatever_the_payload(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    loaded.use(keys)
    protected(loaded.protect(rtp(7)))
    assert loaded.protect(rtp(7, b"something else")) is Fault.REPLAYED


@pytest.mark.parametrize(
    ("behind", "taken"), [(1, True), (63, True), (64, True), (127, True), (128, False), (5000, False)]
)
def test_the_window_is_128_packets(loaded: SrtpPrograms, behind: int, taken: bool) -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    sender = SrtpContext(keys)
    late, newest = sender.protect(rtp(10_000 - behind)), sender.protect(rtp(10_000))
    loaded.use(keys)
    assert loaded.unprotect(newest) == rtp(10_000)
    assert loaded.unprotect(late) == (rtp(10_000 - behind) if taken else Fault.REPLAYED)


def test_a_forged_packet_far_ahead_changes_nothing(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    sender = SrtpContext(keys)
    loaded.use(keys)
    loaded.unprotect(sender.protect(rtp(65_000)))
    before = loaded.window(SSRC)
    for sequence in (65_400, 10, 20_000, 32_000):
        forged = rtp(sequence) + os.urandom(keys.suite.rtp_tag)
        assert loaded.unprotect(forged) is Fault.FORGED
    assert loaded.window(SSRC) == before
    assert loaded.unprotect(sender.protect(rtp(65_001))) == rtp(65_001)


def test_strangers_leave_no_trace(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    loaded.use(keys)
    assert loaded.unprotect(rtp(1, ssrc=99) + bytes(16)) is Fault.FORGED
    assert loaded.window(99) is None


def test_any_bit_flipped_is_noticed(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    packet = SrtpContext(keys).protect(rtp(7))
    loaded.use(keys)
    for bit in range(32, 8 * len(packet)):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        assert loaded.unprotect(bytes(damaged)) is Fault.FORGED
    assert loaded.unprotect(packet) == rtp(7)


def test_a_tag_cut_short_is_no_tag(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    packet = SrtpContext(keys).protect(rtp(7, b""))
    loaded.use(keys)
    for length in range(len(packet)):
        assert loaded.unprotect(packet[:length]) in (Fault.MALFORMED, Fault.FORGED)
    assert loaded.unprotect(packet) == rtp(7, b"")


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_another_mki_is_another_key(loaded: SrtpPrograms, name: str) -> None:
    keys = keys_of(name, b"\1\2")
    other = SrtpParameters(keys.suite, MasterKey(keys.master.key, keys.master.salt, b"\1\3"))
    loaded.use(keys)
    assert loaded.unprotect(SrtpContext(other).protect(rtp(7))) is Fault.FORGED
    assert loaded.unprotect(SrtpContext(keys).protect(rtp(7))) == rtp(7)


def test_plain_rtp_is_not_srtp(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    loaded.use(keys)
    assert loaded.unprotect(rtp(7)) is Fault.FORGED


def test_without_a_key_nothing_passes(loaded: SrtpPrograms) -> None:
    """A place whose key was zeroed."""
    loaded.use_key(NO_KEY)
    assert loaded.protect(rtp(7)) is Fault.NO_KEY
    assert loaded.unprotect(rtp(7) + bytes(10)) is Fault.NO_KEY


def test_what_is_too_long_for_the_programs_is_left_alone(loaded: SrtpPrograms) -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    loaded.use(keys)
    assert loaded.protect(rtp(7, bytes(1600))) is Fault.MALFORMED


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(rtp(7)[:11], id="header cut short"),
        pytest.param(b"\x8f" + rtp(7)[1:], id="more CSRCs than bytes"),
        pytest.param(b"\x90" + rtp(7)[1:12] + struct.pack("!HH", 1, 5), id="extension cut short"),
        pytest.param(b"\x90" + rtp(7)[1:12] + struct.pack("!HH", 1, 0xFFFF) + bytes(100), id="extension of 256 KiB"),
        pytest.param(b"\x40" + rtp(7)[1:], id="version 1"),
    ],
)
def test_no_rtp_is_refused(loaded: SrtpPrograms, keys: SrtpParameters, packet: bytes) -> None:
    loaded.use(keys)
    assert loaded.protect(packet) is Fault.MALFORMED
    assert loaded.unprotect(packet) is Fault.MALFORMED


def test_the_last_index_is_the_last(loaded: SrtpPrograms) -> None:
    """2^48 packets under one key, and no more (RFC 3711 section 9.2)."""
    loaded.use(keys_of("AEAD_AES_128_GCM"))
    loaded.seed(SSRC, ReplayWindow(MAX_RTP_INDEX - 1, 1))
    protected(loaded.protect(rtp(0xFFFF)))
    assert loaded.protect(rtp(0)) is Fault.REPLAYED


def test_sources_have_indices_of_their_own(loaded: SrtpPrograms, keys: SrtpParameters) -> None:
    reference = SrtpContext(keys)
    loaded.use(keys)
    for sequence in (1, 65535, 65536):
        for ssrc in range(16):
            packet = rtp(sequence + 1000 * ssrc, ssrc=ssrc)
            assert loaded.protect(packet) == reference.protect(packet)


_STEPS = st.one_of(st.integers(-3, 8), st.integers(-150, 150), st.integers(-32000, 32000))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 0xFFFF), steps=st.lists(st.tuples(_STEPS, st.booleans()), max_size=60))
def test_any_order_with_forgeries_between_is_judged_as_userspace_does(
    loaded: SrtpPrograms, start: int, steps: list[tuple[int, bool]]
) -> None:
    keys = keys_of("AES_CM_128_HMAC_SHA1_80")
    sender = SrtpContext(keys)
    receiver = SrtpContext(keys)
    loaded.use(keys)
    sequence = start
    for step, forged in steps:
        sequence += step
        if sequence < 0:
            sequence = start
        sender.state.rtp.clear()
        if sequence:
            sender.state.rtp[SSRC] = ReplayWindow(sequence - 1, 1)
        packet = rtp(sequence) + bytes(10) if forged else sender.protect(rtp(sequence))
        try:
            expected: bytes | Fault = receiver.unprotect(packet)
        except Replayed:
            expected = Fault.REPLAYED
        except AuthenticationFailed:
            expected = Fault.FORGED
        except SrtpFault:
            expected = Fault.REPLAYED
        assert loaded.unprotect(packet) == expected
        assert loaded.window(SSRC) == receiver.state.rtp.get(SSRC)
