"""Session keys from master keys: RFC 3711 appendix B.3, RFC 6188 sections 7.2 and 7.4."""

from __future__ import annotations

import pytest

from rtprelay.security.kdf import MasterKey, derive
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES

# suite, master key, master salt, then cipher key, auth key and salt of RTP
VECTORS = [
    (
        "AES_CM_128_HMAC_SHA1_80",
        "e1f97a0d3e018be0d64fa32c06de4139",
        "0ec675ad498afeebb6960b3aabe6",
        "c61e7a93744f39ee10734afe3ff7a087",
        "cebe321f6ff7716b6fd4ab49af256a156d38baa4",
        "30cbbc08863d8c85d49db34a9ae1",
    ),
    (
        "AES_256_CM_HMAC_SHA1_80",
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
        "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        "fa31791685ca444a9e07c6c64e93",
    ),
    (
        "AES_192_CM_HMAC_SHA1_80",
        "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
        "c8522f3acd4ce86d5add78edbb11",
        "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
        "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
        "2372b82d639b6d8503a47adc0a6c",
    ),
]


@pytest.mark.parametrize(("name", "key", "salt", "cipher", "auth", "session_salt"), VECTORS)
def test_session_keys_are_the_published_ones(
    name: str, key: str, salt: str, cipher: str, auth: str, session_salt: str
) -> None:
    keys = derive(SUITES[name], MasterKey(bytes.fromhex(key), bytes.fromhex(salt)))
    assert (keys.rtp_cipher.hex(), keys.rtp_auth.hex(), keys.rtp_salt.hex()) == (cipher, auth, session_salt)


def test_all_six_keys_differ() -> None:
    keys = derive(SUITES["AES_CM_128_HMAC_SHA1_80"], MasterKey(bytes(16), bytes(14)))
    secrets = [getattr(keys, field)[:14] for field in keys.__struct_fields__]
    assert len(set(secrets)) == 6


@pytest.mark.parametrize("name", SUITES)
def test_lengths_are_the_suite_s(name: str) -> None:
    suite = SUITES[name]
    keys = derive(suite, MasterKey(bytes(suite.key_length), bytes(suite.salt_length)))
    assert len(keys.rtp_cipher) == len(keys.rtcp_cipher) == suite.key_length
    assert len(keys.rtp_salt) == len(keys.rtcp_salt) == suite.salt_length
    assert len(keys.rtp_auth) == len(keys.rtcp_auth) == 20


@pytest.mark.parametrize(("key", "salt"), [(15, 14), (17, 14), (16, 12), (16, 16), (0, 0)])
def test_a_master_key_of_another_length_is_refused(key: int, salt: int) -> None:
    with pytest.raises(ValueError, match=r"16\+14"):
        derive(SUITES["AES_CM_128_HMAC_SHA1_80"], MasterKey(bytes(key), bytes(salt)))


def test_no_repr_shows_a_key() -> None:
    key, salt = b"\xabSECRET-KEY-16-B", b"\xcdSECRET-SALT-1"
    suite = SUITES["AES_CM_128_HMAC_SHA1_80"]
    master = MasterKey(key, salt, b"\1\2")
    shown = repr(master) + repr(derive(suite, master)) + repr(SrtpParameters(suite, master))
    assert "SECRET" not in shown
    assert key.hex() not in shown
    assert "0102" in shown
