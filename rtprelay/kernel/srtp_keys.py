"""SRTP keys as the programs want them (`ebpf/include/rtprelay/srtp_abi.h`): everything calculated in advance.

Ten microseconds for each key, forty with GCM, once: SHA-1's inner states, the AES key schedule and the
multiples of GHASH's key.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from rtprelay.kernel import sha1
from rtprelay.security.kdf import MasterKey, derive
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES, Cipher, Suite

SUITES_IN_KERNEL = frozenset(SUITES)
MAX_MKI = 16

_NULL, _AES_CM, _AES_F8, _AES_GCM, _AES_GMAC = range(1, 6)
_CIPHERS = {Cipher.NULL: _NULL, Cipher.AES_CM: _AES_CM, Cipher.AES_F8: _AES_F8, Cipher.AES_GCM: _AES_GCM}
_UNENCRYPTED = {_AES_CM: _NULL, _AES_F8: _NULL, _AES_GCM: _AES_GMAC}
_KEY = struct.Struct("<IBBBB32s16s16s16s20s20s244sI512s")
_HEAD = struct.Struct("<IBBBB32s16s16s")
_SCHEDULE_WORDS = 60
KEY_SIZE = _KEY.size
NO_KEY = bytes(KEY_SIZE)
_NUMBERS = {
    "AEAD_AES_256_GCM": 1,
    "AEAD_AES_128_GCM": 2,
    "AES_256_CM_HMAC_SHA1_80": 3,
    "AES_256_CM_HMAC_SHA1_32": 4,
    "AES_192_CM_HMAC_SHA1_80": 5,
    "AES_192_CM_HMAC_SHA1_32": 6,
    "AES_CM_128_HMAC_SHA1_80": 7,
    "AES_CM_128_HMAC_SHA1_32": 8,
    "F8_128_HMAC_SHA1_80": 9,
    "NULL_HMAC_SHA1_80": 10,
    "NULL_HMAC_SHA1_32": 11,
}
_SUITES = {number: SUITES[name] for name, number in _NUMBERS.items()}
_UNENCRYPTED_SRTP, _UNENCRYPTED_SRTCP, _UNAUTHENTICATED = 1, 2, 4


def fits(parameters: SrtpParameters) -> bool:
    """Whether the programs can do it; userspace can do all."""
    return parameters.suite.name in SUITES_IN_KERNEL and len(parameters.master.mki) <= MAX_MKI


@functools.lru_cache(maxsize=4096)
def srtp_key(parameters: SrtpParameters) -> bytes:
    """`struct rtprelay_srtp_key` for RTP under these keys. Raises ValueError where the programs cannot do it."""
    if not fits(parameters):
        raise ValueError("not for the kernel: suite or length of the MKI")
    suite, keys = parameters.suite, derive(parameters.suite, parameters.master)
    return session_key(
        suite,
        keys.rtp_cipher,
        keys.rtp_salt,
        keys.rtp_auth,
        mki=parameters.master.mki,
        encrypted=not parameters.unencrypted_srtp,
        authenticated=suite.aead or not parameters.unauthenticated_srtp,
        origin=parameters,
    )


def parameters_of(entry: bytes) -> SrtpParameters | None:
    """What a key was made of, as it is noted beside it; None for a place without a key."""
    cipher, _, mki_length, number, exceptions, key, salt, mki = _HEAD.unpack_from(entry)
    suite = _SUITES.get(number)
    if not cipher or suite is None or mki_length > MAX_MKI:
        return None
    return SrtpParameters(
        suite,
        MasterKey(key[: suite.key_length], salt[: suite.salt_length], mki[:mki_length]),
        unencrypted_srtp=bool(exceptions & _UNENCRYPTED_SRTP),
        unencrypted_srtcp=bool(exceptions & _UNENCRYPTED_SRTCP),
        unauthenticated_srtp=bool(exceptions & _UNAUTHENTICATED),
    )


def _origin(parameters: SrtpParameters | None) -> tuple[int, int, bytes, bytes]:
    if parameters is None:
        return 0, 0, b"", b""
    exceptions = (
        (_UNENCRYPTED_SRTP if parameters.unencrypted_srtp else 0)
        | (_UNENCRYPTED_SRTCP if parameters.unencrypted_srtcp else 0)
        | (_UNAUTHENTICATED if parameters.unauthenticated_srtp else 0)
    )
    return _NUMBERS[parameters.suite.name], exceptions, parameters.master.key, parameters.master.salt


def trailer_length(parameters: SrtpParameters) -> int:
    """Bytes a packet grows by."""
    unauthenticated = parameters.unauthenticated_srtp and not parameters.suite.aead
    return (0 if unauthenticated else parameters.suite.rtp_tag) + len(parameters.master.mki)


def session_key(
    suite: Suite,
    key: bytes,
    salt: bytes,
    auth: bytes = bytes(20),
    mki: bytes = b"",
    encrypted: bool = True,
    authenticated: bool = True,
    origin: SrtpParameters | None = None,
) -> bytes:
    """The same from session keys, derived already; `origin` is noted beside them, so that it can be read back."""
    cipher = _CIPHERS[suite.cipher]
    table = b""
    if suite.aead:
        table = _ghash_table(key)
    elif suite.cipher is Cipher.AES_F8:
        table = _schedule(_masked(key, salt))
    return _KEY.pack(
        cipher if encrypted else _UNENCRYPTED.get(cipher, cipher),
        suite.rtp_tag if authenticated else 0,
        len(mki),
        *_origin(origin),
        mki,
        salt,
        _hmac_state(auth, 0x36),
        _hmac_state(auth, 0x5C),
        _schedule(key),
        0,
        table,
    )


# --- AES ---


def _multiply(a: int, b: int) -> int:
    """In AES's field (FIPS 197 section 4.2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


@functools.cache
def _sbox() -> bytes:
    """FIPS 197 section 5.1.1: the inverse in the field, then an affine transformation."""
    powers = [1]
    for _ in range(254):
        powers.append(_multiply(powers[-1], 3))
    box = bytearray(256)
    for value in range(256):
        inverse = powers[-powers.index(value) % 255] if value else 0
        box[value] = 0x63
        for _ in range(5):
            box[value] ^= inverse
            inverse = inverse << 1 & 0xFF | inverse >> 7
    return bytes(box)


def _schedule(key: bytes) -> bytes:
    """`struct rtprelay_aes_key`: KeyExpansion (FIPS 197 section 5.2), at the end of the array, and where it starts."""
    box = _sbox()
    length = len(key) // 4
    words = list(struct.unpack(f"!{length}I", key))
    word, round_constant = words[-1], 1
    for i in range(length, 4 * (length + 7)):
        if i % length == 0:
            word = (
                (box[word >> 16 & 0xFF] ^ round_constant) << 24
                | box[word >> 8 & 0xFF] << 16
                | box[word & 0xFF] << 8
                | box[word >> 24]
            )
            round_constant = _multiply(round_constant, 2)
        elif length > 6 and i % length == 4:
            word = box[word >> 24] << 24 | box[word >> 16 & 0xFF] << 16 | box[word >> 8 & 0xFF] << 8 | box[word & 0xFF]
        word ^= words[i - length]
        words.append(word)
    start = _SCHEDULE_WORDS - len(words)
    return struct.pack(f"!{4 * start}x{len(words)}I", *words) + start.to_bytes(4, "little")


def _masked(key: bytes, salt: bytes) -> bytes:
    """F8's key for the IV (RFC 3711 section 4.1.2.2)."""
    return bytes(a ^ b for a, b in zip(key, salt.ljust(len(key), b"\x55"), strict=True))


# --- HMAC-SHA1 ---

_PADS = {pad: bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C)}


def _hmac_state(key: bytes, pad: int) -> bytes:
    """SHA-1's state after the first block of the inner (0x36) or outer (0x5c) hash (RFC 2104 section 2)."""
    return struct.pack("<5I", *sha1.state_after(key.ljust(64, b"\0").translate(_PADS[pad])))


# --- GHASH ---


def _ghash_table(key: bytes) -> bytes:
    """v * H, then x^4 * v * H, for each v of four coefficients, as in `ebpf/lib/ghash.h`."""
    encryptor = Aes(algorithms.AES(key), modes.ECB()).encryptor()
    power = int.from_bytes(encryptor.update(bytes(16)))
    powers = []
    for _ in range(8):
        powers.append(power)
        power = power >> 1 ^ (0xE1 << 120 if power & 1 else 0)
    products = [_combine(powers[half : half + 4], v) for half in (0, 4) for v in range(16)]
    return b"".join(struct.pack("<2Q", product >> 64, product & (1 << 64) - 1) for product in products)


def _combine(powers: Sequence[int], v: int) -> int:
    """The most significant bit is the lowest power."""
    product = 0
    for i, power in enumerate(powers):
        if v >> 3 - i & 1:
            product ^= power
    return product
