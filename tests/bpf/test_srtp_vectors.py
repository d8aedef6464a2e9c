"""The published test vectors, by the eBPF code itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtprelay.kernel.srtp_keys import session_key
from rtprelay.security.replay import ReplayWindow
from rtprelay.security.suites import SUITES
from tests.bpf.srtp import SrtpPrograms, require_srtp_programs

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def programs() -> Iterator[SrtpPrograms]:
    require_srtp_programs()
    with SrtpPrograms() as loaded:
        yield loaded


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


SALT = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd")
AES_CM = {
    "AES_CM_128_HMAC_SHA1_80": (  # RFC 3711 appendix B.2
        "2b7e151628aed2a6abf7158809cf4f3c",
        "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0",
    ),
    "AES_192_CM_HMAC_SHA1_80": (  # RFC 6188 section 7.3
        "eab234764e517b2d3d160d587d8c86219740f65f99b6bcf7",
        "35096cba4610028dc1b57503804ce37c5de986291dcce161d5165ec4568f5c9a474a40c77894bc17180202272a4c264d",
    ),
    "AES_256_CM_HMAC_SHA1_80": (  # RFC 6188 section 7.1
        "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
        "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac63c4868b7096d88421b563b8c94c9a31",
    ),
}


@pytest.mark.parametrize("name", AES_CM)
def test_counter_mode_gives_the_published_key_stream(programs: SrtpPrograms, name: str) -> None:
    key, stream = map(unhex, AES_CM[name])
    programs.use_key(session_key(SUITES[name], key, SALT))
    protected = programs.protect(unhex("80000000 00000000 00000000") + bytes(48))
    assert isinstance(protected, bytes)
    assert protected[12:60] == stream


def test_f8_gives_the_published_cipher_text(programs: SrtpPrograms) -> None:
    """RFC 3711 appendix B.1."""
    header = unhex("806e5cba50681de55c621599")
    key = session_key(
        SUITES["F8_128_HMAC_SHA1_80"], unhex("234829008467be186c3de14aae72d62c"), unhex("32f2870d"), authenticated=False
    )
    programs.use_key(key)
    programs.seed(0x5C621599, ReplayWindow((0xD462564A << 16 | 0x5CBA) - 1, 1))
    plain = b"pseudorandomness is the next best thing"
    cipher_text = unhex("019ce7a26e7854014a6366aa95d4eefd1ad4172a14f9faf455b7f1d4b62bd08f562c0eef7c4802")
    assert programs.protect(header + plain) == header + cipher_text


GCM_RTP = unhex(
    "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573"
)
GCM = {
    "AEAD_AES_128_GCM": (  # RFC 7714 section 16.1.1
        bytes(range(16)),
        unhex(
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b"
            "36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce"
        ),
    ),
    "AEAD_AES_256_GCM": (  # RFC 7714 section 16.2.1
        bytes(range(32)),
        unhex(
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f"
            "1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13"
        ),
    ),
}


@pytest.mark.parametrize("name", GCM)
def test_gcm_gives_the_published_packet_and_takes_it_back(programs: SrtpPrograms, name: str) -> None:
    key, expected = GCM[name]
    encoded = session_key(SUITES[name], key, unhex("51756964 2070726f 2071756f"))
    assert programs.use_key(encoded).protect(GCM_RTP) == expected
    assert programs.use_key(encoded).unprotect(expected) == GCM_RTP
