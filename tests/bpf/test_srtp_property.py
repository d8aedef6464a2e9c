"""Any RTP packet under any key: eBPF, rtprelay.security, libsrtp and OpenSSL's primitives agree byte for byte."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from rtprelay.security.kdf import MasterKey, derive
from rtprelay.security.replay import ReplayWindow
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES, Cipher
from tests.bpf.frames import ones_complement_sum
from tests.bpf.srtp import SrtpPrograms, require_srtp_programs

pytestmark = pytest.mark.root

LIBSRTP = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
MAX_PAYLOAD = 1400
LIBSRTP_PACKET = 1356
"""The largest that pylibsrtp has room for."""


@pytest.fixture(scope="module")
def programs() -> Iterator[SrtpPrograms]:
    require_srtp_programs()
    with SrtpPrograms() as loaded:
        yield loaded


@st.composite
def rtp_packets(draw: st.DrawFn, limit: int = MAX_PAYLOAD + 100) -> bytes:
    """With CSRCs, header extension and padding (RFC 3550 section 5.1)."""
    sources = draw(st.lists(st.binary(min_size=4, max_size=4), max_size=15))
    extension = draw(st.none() | st.integers(0, 20).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)))
    header_bytes = 16 + 4 * len(sources) + len(extension or b"")
    length = draw(st.integers(0, min(MAX_PAYLOAD, limit - header_bytes)))
    payload = draw(st.randoms(use_true_random=False)).randbytes(length)
    padding = draw(st.integers(0, min(length, 255)))
    if padding:
        payload = payload[:-1] + bytes([padding])
    first = 0x80 | bool(padding) << 5 | (extension is not None) << 4 | len(sources)
    header = struct.pack("!BBHII", first, *draw(st.tuples(st.integers(0, 255), WORD16, WORD32, WORD32)))
    header += b"".join(sources)
    if extension is not None:
        header += struct.pack("!2sH", draw(st.binary(min_size=2, max_size=2)), len(extension) // 4) + extension
    return header + payload


WORD16, WORD32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@st.composite
def parameters(draw: st.DrawFn, names: tuple[str, ...] = tuple(SUITES), mki: bool = True) -> SrtpParameters:
    suite = SUITES[draw(st.sampled_from(names))]
    random = draw(st.randoms(use_true_random=False))
    master = MasterKey(
        random.randbytes(suite.key_length),
        random.randbytes(suite.salt_length),
        draw(st.binary(max_size=16)) if mki else b"",
    )
    unauthenticated = mki and not suite.aead and draw(st.booleans())
    return SrtpParameters(suite, master, mki and draw(st.booleans()), False, unauthenticated)


def header_length(packet: bytes) -> int:
    length = 12 + 4 * (packet[0] & 15)
    if packet[0] & 16:
        length += 4 + 4 * int.from_bytes(packet[length + 2 : length + 4])
    return length


def openssl(parameters: SrtpParameters, packet: bytes, roc: int) -> bytes:
    """SRTP as the RFCs write it down, with nothing but OpenSSL's AES and HMAC."""
    keys, suite, mki = derive(parameters.suite, parameters.master), parameters.suite, parameters.master.mki
    header, payload = packet[: header_length(packet)], packet[header_length(packet) :]
    ssrc, index = packet[8:12], struct.pack("!I", roc) + packet[2:4]
    if suite.aead:
        nonce = xor(keys.rtp_salt, bytes(2) + ssrc + index)
        if parameters.unencrypted_srtp:
            return packet + AESGCM(keys.rtp_cipher).encrypt(nonce, b"", packet) + mki
        return header + AESGCM(keys.rtp_cipher).encrypt(nonce, payload, header) + mki
    if not parameters.unencrypted_srtp:
        if suite.cipher is Cipher.AES_CM:
            counter = xor(keys.rtp_salt + bytes(2), bytes(4) + ssrc + index + bytes(2))
            payload = Aes(algorithms.AES(keys.rtp_cipher), modes.CTR(counter)).encryptor().update(payload)
        elif suite.cipher is Cipher.AES_F8:
            payload = xor(payload, f8(keys.rtp_cipher, keys.rtp_salt, b"\0" + packet[1:12] + index[:4], len(payload)))
    tag = 0 if parameters.unauthenticated_srtp else suite.rtp_tag
    return header + payload + mki + hmac.digest(keys.rtp_auth, header + payload + index[:4], "sha1")[:tag]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def f8(key: bytes, salt: bytes, start: bytes, length: int) -> bytes:
    iv = block_cipher(xor(key, salt + b"\x55" * 16), start)
    stream = [bytes(16)]
    for number in range(length // 16 + 1):
        stream.append(block_cipher(key, xor(xor(iv, number.to_bytes(16)), stream[-1])))
    return b"".join(stream[1:])


def block_cipher(key: bytes, block: bytes) -> bytes:
    return Aes(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def change_between(before: bytes, after: bytes) -> int:
    """As a checksum sees it: 0 and 0xffff are the same."""
    return (ones_complement_sum(after) - ones_complement_sum(before)) % 0xFFFF


def change_of(programs: SrtpPrograms) -> int:
    """Sums are of words as they lie in memory."""
    return int.from_bytes(folded(programs.change).to_bytes(2, "little")) % 0xFFFF


QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(packet=rtp_packets(), keys=parameters(), roc=st.integers(0, 1 << 32 - 1))
def test_every_suite_protects_as_userspace_and_openssl_do(
    programs: SrtpPrograms, packet: bytes, keys: SrtpParameters, roc: int
) -> None:
    sequence, ssrc = int.from_bytes(packet[2:4]), int.from_bytes(packet[8:12])
    before = ReplayWindow((roc << 16 | sequence) - 1, 1) if roc or sequence else ReplayWindow()
    programs.use(keys)
    context = SrtpContext(keys)
    if before.highest >= 0:
        programs.seed(ssrc, before)
        context.state.rtp[ssrc] = ReplayWindow(before.highest, before.seen)
    expected = openssl(keys, packet, roc)
    assert programs.protect(packet) == expected
    assert context.protect(packet) == expected
    assert change_of(programs) == change_between(packet, expected)
    assert programs.window(ssrc) == context.state.rtp[ssrc]


@QUICK
@given(packet=rtp_packets(), keys=parameters(), roc=st.integers(0, 1 << 32 - 1))
def test_every_suite_unprotects_what_openssl_protected(
    programs: SrtpPrograms, packet: bytes, keys: SrtpParameters, roc: int
) -> None:
    sequence, ssrc = int.from_bytes(packet[2:4]), int.from_bytes(packet[8:12])
    programs.use(keys)
    if roc or sequence:
        programs.seed(ssrc, ReplayWindow((roc << 16 | sequence) - 1, 1))
    protected = openssl(keys, packet, roc)
    assert programs.unprotect(protected) == packet
    assert change_of(programs) == change_between(protected, packet)


@QUICK
@given(packet=rtp_packets(LIBSRTP_PACKET), keys=parameters(tuple(LIBSRTP), mki=False))
def test_libsrtp_agrees_both_ways(programs: SrtpPrograms, packet: bytes, keys: SrtpParameters) -> None:
    def session(direction: int) -> Session:
        master = keys.master.key + keys.master.salt
        return Session(Policy(key=master, ssrc_type=direction, srtp_profile=LIBSRTP[keys.suite.name]))

    expected = session(Policy.SSRC_ANY_OUTBOUND).protect(packet)
    assert programs.use(keys).protect(packet) == expected
    assert session(Policy.SSRC_ANY_INBOUND).unprotect(expected) == packet
    assert programs.use(keys).unprotect(expected) == packet
