"""The relay's DTLS certificate: self-signed, because its fingerprint in the SDP is what vouches for it (RFC 5763
section 5).
"""

from __future__ import annotations

import datetime
import enum
import hashlib

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

VALIDITY = datetime.timedelta(days=30)
"""Renewed well before; short, because nothing is lost by it."""
HASHES = ("sha-256", "sha-384", "sha-512", "sha-1", "sha-224")
"""What we understand of RFC 8122 section 5; MD5 and MD2 must not be used."""


class KeyType(enum.Enum):
    ECDSA = "prime256v1"
    RSA = "rsa"


class Certificate(msgspec.Struct, frozen=True):
    """DER certificate and key; the repr shows neither."""

    certificate: bytes
    key: bytes
    expires: float
    """Seconds since the epoch."""
    key_type: KeyType = KeyType.ECDSA

    def __repr__(self) -> str:
        return f"Certificate({self.fingerprint('sha-256')})"

    @property
    def key_bits(self) -> int:
        key = x509.load_der_x509_certificate(self.certificate).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        return key.key_size

    def fingerprint(self, name: str) -> str:
        """`AB:CD:...` (RFC 8122 section 5). Raises ValueError for a hash that is not in HASHES."""
        return fingerprint(self.certificate, name)


def generate(now: float, key_type: KeyType = KeyType.ECDSA, rsa_bits: int = 2048) -> Certificate:
    """A new key and certificate, valid from a day before `now` (seconds since the epoch). RSA takes up to a second: not
    on the event loop.
    """
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if key_type is KeyType.ECDSA:
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(65537, rsa_bits)
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtprelay")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(days=1))
        .not_valid_after(start + VALIDITY)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(serialization.Encoding.DER),
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        (start + VALIDITY).timestamp(),
        key_type,
    )


def fingerprint(der: bytes, name: str) -> str:
    """Of a DER certificate. Raises ValueError."""
    if name not in HASHES:
        raise ValueError(f"unknown fingerprint hash {name!r}")
    return hashlib.new(name.replace("-", ""), der).digest().hex(":").upper()


def matches(der: bytes, signalled: str) -> bool:
    """Whether the certificate is the one of an a=fingerprint value, `sha-256 AB:CD:...`, in either case."""
    name, _, value = signalled.strip().partition(" ")
    return name.lower() in HASHES and fingerprint(der, name.lower()) == value.strip().upper()
