"""From a master key to session keys (RFC 3711 section 4.3), with a key derivation rate of zero: once per master key."""

from __future__ import annotations

import functools

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rtprelay.security.suites import AUTH_KEY_LENGTH, Suite

_SALT_BYTES = 14
"""Bytes of salt the derivation works on; GCM's 12 are padded on the right (RFC 7714 section 11)."""
_LABELS, _LONGEST = 6, 32
"""How many keys, and room for the bytes of each."""


class MasterKey(msgspec.Struct, frozen=True):
    """Master key and salt with their MKI (RFC 3711 section 3.1), b"" without. Its repr shows no key."""

    key: bytes
    salt: bytes
    mki: bytes = b""

    def __repr__(self) -> str:
        return f"MasterKey(<{len(self.key)}+{len(self.salt)} bytes>, mki={self.mki.hex() or None})"


class SessionKeys(msgspec.Struct, frozen=True):
    """What packets are protected with; auth keys are unused with GCM."""

    rtp_cipher: bytes
    rtp_auth: bytes
    rtp_salt: bytes
    rtcp_cipher: bytes
    rtcp_auth: bytes
    rtcp_salt: bytes

    def __repr__(self) -> str:
        return "SessionKeys(<secret>)"


@functools.lru_cache(maxsize=1024)
def derive(suite: Suite, master: MasterKey) -> SessionKeys:
    """Raises ValueError where key or salt are not of the suite's length."""
    if len(master.key) != suite.key_length or len(master.salt) != suite.salt_length:
        raise ValueError(f"{suite.name} takes {suite.key_length}+{suite.salt_length} bytes of key and salt")
    lengths = (suite.key_length, AUTH_KEY_LENGTH, suite.salt_length)
    stream = _prf(master)
    return SessionKeys(*(stream[_LONGEST * label : _LONGEST * label + lengths[label % 3]] for label in range(_LABELS)))


def _prf(master: MasterKey) -> bytes:
    """AES-CM key streams over label and salt (section 4.3.3), one after the other; AES-192 and -256 with longer keys
    (RFC 6188 section 2). All counters are enciphered at once: six ciphers take four times as long.
    """
    salt = int.from_bytes(master.salt.ljust(_SALT_BYTES, b"\0")) << 16
    counters = [(salt ^ label << 64) + block for label in range(_LABELS) for block in range(_LONGEST // 16)]
    encryptor = Cipher(algorithms.AES(master.key), modes.ECB()).encryptor()
    return encryptor.update(b"".join([counter.to_bytes(16) for counter in counters]))
