"""The SRTP protection suites, under the names SDP gives them (RFC 4568 section 6.2, RFC 6188 section 3, RFC 7714
section 14).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Cipher(enum.Enum):
    NULL = "null"
    AES_CM = "aes-cm"
    AES_F8 = "aes-f8"
    AES_GCM = "aes-gcm"


class Suite(msgspec.Struct, frozen=True):
    """Lengths are in bytes. With GCM the tag is part of the cipher text, otherwise it is HMAC-SHA1, cut short."""

    name: str
    cipher: Cipher
    key_length: int
    salt_length: int
    rtp_tag: int
    rtcp_tag: int

    @property
    def aead(self) -> bool:
        return self.cipher is Cipher.AES_GCM

    @property
    def master_length(self) -> int:
        """Of the master key and salt together, as SDES carries them."""
        return self.key_length + self.salt_length


AUTH_KEY_LENGTH = 20
"""HMAC-SHA1 (RFC 3711 section 5.2)."""

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("AEAD_AES_256_GCM", Cipher.AES_GCM, 32, 12, 16, 16),
        Suite("AEAD_AES_128_GCM", Cipher.AES_GCM, 16, 12, 16, 16),
        Suite("AES_256_CM_HMAC_SHA1_80", Cipher.AES_CM, 32, 14, 10, 10),
        Suite("AES_256_CM_HMAC_SHA1_32", Cipher.AES_CM, 32, 14, 4, 10),
        Suite("AES_192_CM_HMAC_SHA1_80", Cipher.AES_CM, 24, 14, 10, 10),
        Suite("AES_192_CM_HMAC_SHA1_32", Cipher.AES_CM, 24, 14, 4, 10),
        Suite("AES_CM_128_HMAC_SHA1_80", Cipher.AES_CM, 16, 14, 10, 10),
        Suite("AES_CM_128_HMAC_SHA1_32", Cipher.AES_CM, 16, 14, 4, 10),
        Suite("F8_128_HMAC_SHA1_80", Cipher.AES_F8, 16, 14, 10, 10),
        Suite("NULL_HMAC_SHA1_80", Cipher.NULL, 16, 14, 10, 10),
        Suite("NULL_HMAC_SHA1_32", Cipher.NULL, 16, 14, 4, 10),
    )
}
"""Strongest first: the order they are offered in. SRTCP tags are 80 bits whatever RTP's are (RFC 4568 section 6.2.2).
"""
