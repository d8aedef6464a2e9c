"""STUN messages (RFC 8489), as far as ICE uses them (RFC 8445 section 16): Binding requests, indications and responses.

Integrity comes first: `parse` only splits the message; what it says must not be acted upon before `verify` has agreed.
"""

from __future__ import annotations

import enum
import hmac
import zlib
from hashlib import sha1

import msgspec

from rtprelay.errors import MalformedMessage
from rtprelay.values import Endpoint

MAGIC_COOKIE = 0x2112A442
HEADER = 20
MAX_LENGTH = 1280
"""Of a whole message; ICE's fit well into the least MTU."""
MAX_ATTRIBUTES = 32
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY = 20


class Class(enum.IntEnum):
    """Message class, as its bits stand in the type of a Binding message (RFC 8489 section 5)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


class Attribute(enum.IntEnum):
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


ROLE_CONFLICT = 487


class Message(msgspec.Struct, frozen=True):
    """A Binding message. Of a repeated attribute the first counts (RFC 8489 section 14)."""

    kind: Class
    transaction: bytes
    attributes: dict[int, bytes]
    raw: bytes
    integrity_at: int | None
    """Where MESSAGE-INTEGRITY stands in `raw`; what comes after it (but FINGERPRINT) has not been read."""

    def verify(self, password: str) -> bool:
        """Whether MESSAGE-INTEGRITY is there and made with `password` (short-term, section 9.1.3); in constant time."""
        if self.integrity_at is None:
            return False
        at = self.integrity_at
        covered = self.raw[:2] + (at + 4 + _INTEGRITY - HEADER).to_bytes(2) + self.raw[4:at]
        expected = hmac.digest(password.encode(), covered, sha1)
        return hmac.compare_digest(expected, self.attributes[Attribute.MESSAGE_INTEGRITY])

    def number(self, attribute: Attribute, length: int) -> int | None:
        """The attribute as an unsigned number of `length` bytes; None where it is missing or of another length."""
        value = self.attributes.get(attribute)
        return int.from_bytes(value) if value is not None and len(value) == length else None

    @property
    def username(self) -> str:
        return self.attributes.get(Attribute.USERNAME, b"").decode("utf-8", "replace")

    @property
    def error_code(self) -> int | None:
        value = self.attributes.get(Attribute.ERROR_CODE, b"")
        return value[2] * 100 + value[3] if len(value) >= 4 else None

    @property
    def mapped_address(self) -> Endpoint | None:
        return _unxor_address(self.attributes.get(Attribute.XOR_MAPPED_ADDRESS, b""), self.transaction)


def parse(data: bytes) -> Message:
    """Raises MalformedMessage for anything but a well-formed Binding message, a wrong FINGERPRINT included."""
    if not HEADER <= len(data) <= MAX_LENGTH:
        raise MalformedMessage("STUN message of bad length")
    kind, length = int.from_bytes(data[:2]), int.from_bytes(data[2:4])
    if int.from_bytes(data[4:8]) != MAGIC_COOKIE or length != len(data) - HEADER or length % 4:
        raise MalformedMessage("no STUN message")
    if kind not in Class.__members__.values():
        raise MalformedMessage("no Binding message")
    attributes: dict[int, bytes] = {}
    integrity_at = None
    at = HEADER
    for _ in range(MAX_ATTRIBUTES):
        if at == len(data):
            return Message(Class(kind), data[8:HEADER], attributes, data, integrity_at)
        name, size = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
        value = data[at + 4 : at + 4 + size]
        if len(value) != size:
            raise MalformedMessage("STUN attribute is cut short")
        if name == Attribute.FINGERPRINT:
            if size != 4 or at + 8 != len(data) or int.from_bytes(value) != _fingerprint(data[:at]):
                raise MalformedMessage("STUN fingerprint does not match")
        elif integrity_at is None:
            if name == Attribute.MESSAGE_INTEGRITY:
                if size != _INTEGRITY:
                    raise MalformedMessage("MESSAGE-INTEGRITY of bad length")
                integrity_at = at
            attributes.setdefault(name, value)
        at += 4 + size + -size % 4
    raise MalformedMessage("STUN message has too many attributes")


def build(
    kind: Class, transaction: bytes, attributes: list[tuple[Attribute, bytes]], password: str | None = None
) -> bytes:
    """A message with MESSAGE-INTEGRITY (given a password) and FINGERPRINT."""
    body = b"".join(_attribute(name, value) for name, value in attributes)
    if password is not None:
        covered = _header(kind, len(body) + 4 + _INTEGRITY, transaction) + body
        body += _attribute(Attribute.MESSAGE_INTEGRITY, hmac.digest(password.encode(), covered, sha1))
    covered = _header(kind, len(body) + 8, transaction) + body
    return covered + _attribute(Attribute.FINGERPRINT, _fingerprint(covered).to_bytes(4))


def error_value(code: int, reason: str) -> bytes:
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def xor_address(endpoint: Endpoint, transaction: bytes) -> bytes:
    """RFC 8489 section 14.2."""
    packed = endpoint.packed
    address = packed[12:] if endpoint.family.value == "IP4" else packed
    key = MAGIC_COOKIE.to_bytes(4) + transaction
    masked = bytes(a ^ b for a, b in zip(address, key, strict=False))
    port = endpoint.port ^ (MAGIC_COOKIE >> 16)
    return bytes((0, 1 if len(address) == 4 else 2)) + port.to_bytes(2) + masked


def _unxor_address(value: bytes, transaction: bytes) -> Endpoint | None:
    if (len(value), value[1:2]) not in ((8, b"\1"), (20, b"\2")):
        return None
    key = MAGIC_COOKIE.to_bytes(4) + transaction
    address = bytes(a ^ b for a, b in zip(value[4:], key, strict=False))
    return Endpoint.unpack(address, int.from_bytes(value[2:4]) ^ (MAGIC_COOKIE >> 16))


def _header(kind: Class, length: int, transaction: bytes) -> bytes:
    return kind.to_bytes(2) + length.to_bytes(2) + MAGIC_COOKIE.to_bytes(4) + transaction


def _attribute(name: Attribute, value: bytes) -> bytes:
    return name.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4)


def _fingerprint(covered: bytes) -> int:
    return zlib.crc32(covered) ^ _FINGERPRINT_XOR
