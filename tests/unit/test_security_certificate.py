"""The relay's certificate and what vouches for it."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rtprelay.security.certificate import HASHES, VALIDITY, Certificate, KeyType, fingerprint, generate, matches

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return generate(NOW)


def test_it_is_self_signed_and_valid_at_once(certificate: Certificate) -> None:
    parsed = x509.load_der_x509_certificate(certificate.certificate)
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    assert parsed.not_valid_before_utc < now < parsed.not_valid_after_utc
    assert certificate.expires == NOW + VALIDITY.total_seconds()
    parsed.verify_directly_issued_by(parsed)
    assert isinstance(parsed.public_key(), ec.EllipticCurvePublicKey)


def test_rsa_is_there_for_those_who_want_it() -> None:
    parsed = x509.load_der_x509_certificate(generate(NOW, KeyType.RSA).certificate)
    public = parsed.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048


def test_no_two_are_alike(certificate: Certificate) -> None:
    other = generate(NOW)
    assert other.certificate != certificate.certificate
    assert other.key != certificate.key


@pytest.mark.parametrize("name", HASHES)
def test_a_fingerprint_is_the_hash_of_the_der(certificate: Certificate, name: str) -> None:
    value = certificate.fingerprint(name)
    assert bytes.fromhex(value.replace(":", "")) == hashlib.new(name.replace("-", ""), certificate.certificate).digest()
    assert value == value.upper()
    assert matches(certificate.certificate, f"{name} {value}")


def test_case_and_space_do_not_matter(certificate: Certificate) -> None:
    value = certificate.fingerprint("sha-256")
    assert matches(certificate.certificate, f"SHA-256 {value.lower()}")
    assert matches(certificate.certificate, f" sha-256  {value} ")


@pytest.mark.parametrize("name", ["md5", "md2", "sha-3", "", "sha256", "none"])
def test_a_hash_that_vouches_for_nothing_is_refused(certificate: Certificate, name: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        certificate.fingerprint(name)
    digest = hashlib.md5(certificate.certificate, usedforsecurity=False).hexdigest().upper()
    assert not matches(certificate.certificate, f"{name} {digest}")


def test_a_fingerprint_that_is_not_all_there_matches_nothing(certificate: Certificate) -> None:
    value = certificate.fingerprint("sha-256")
    for wrong in ("", "sha-256", f"sha-256 {value[:-3]}", f"sha-256 {value}:00", value, f"sha-1 {value}"):
        assert not matches(certificate.certificate, wrong)
    assert not matches(b"", f"sha-256 {value}")
    assert matches(b"", f"sha-256 {fingerprint(b'', 'sha-256')}")


def test_its_repr_shows_the_fingerprint_alone(certificate: Certificate) -> None:
    assert repr(certificate) == f"Certificate({certificate.fingerprint('sha-256')})"
