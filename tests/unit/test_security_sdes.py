"""a=crypto lines: there and back, and everything else passed over."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.security.kdf import MasterKey
from rtprelay.security.sdes import CryptoLine, parse_crypto
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES

KEY = base64.b64encode(bytes(range(30))).decode()
LINE = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"


@st.composite
def crypto_lines(draw: st.DrawFn) -> CryptoLine:
    suite = draw(st.sampled_from(list(SUITES.values())))
    secret = draw(st.binary(min_size=suite.master_length, max_size=suite.master_length))
    mki = draw(st.just(b"") | st.binary(min_size=1, max_size=16))
    master = MasterKey(secret[: suite.key_length], secret[suite.key_length :], mki)
    flags = [draw(st.booleans()) for _ in range(3)]
    lifetime = draw(st.none() | st.integers(1, 48).map("2^{}".format) | st.integers(1, 10**9).map(str))
    return CryptoLine(draw(st.integers(0, 999_999_999)), SrtpParameters(suite, master, *flags), lifetime)


@given(crypto_lines())
def test_a_line_reads_back_as_it_was_written(line: CryptoLine) -> None:
    assert parse_crypto(str(line)) == line


def test_a_line_of_rfc_4568() -> None:
    """Section 6.1, with its session parameters."""
    value = "1 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4 FEC_ORDER=FEC_SRTP"
    line = parse_crypto(value)
    assert line is not None
    assert (line.tag, line.suite.name, line.lifetime) == (1, "F8_128_HMAC_SHA1_80", "2^20")
    assert line.parameters.master == MasterKey(b"123456789ABCDE01", b"23456789ABcdef", b"\0\0\0\1")


def test_base64_may_come_without_its_padding() -> None:
    suite = SUITES["AEAD_AES_256_GCM"]  # 44 bytes, the only length that needs any
    padded = base64.b64encode(bytes(suite.master_length)).decode()
    assert padded.endswith("=")
    for text in (padded, padded.rstrip("=")):
        line = parse_crypto(f"2 AEAD_AES_256_GCM inline:{text}")
        assert line is not None
        assert len(line.parameters.master.salt) == 12


@pytest.mark.parametrize(
    "parameters",
    ["WSH=64", "KDR=0", "FEC_ORDER=SRTP_FEC", "-UNKNOWN=1", "UNENCRYPTED_SRTP UNENCRYPTED_SRTCP UNAUTHENTICATED_SRTP"],
)
def test_session_parameters_we_can_live_with(parameters: str) -> None:
    assert parse_crypto(f"{LINE} {parameters}") is not None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("1", id="tag alone"),
        pytest.param("1 AES_CM_128_HMAC_SHA1_80", id="no key"),
        pytest.param(LINE.replace("1 ", "x ", 1), id="tag is no number"),
        pytest.param(LINE.replace("1 ", "1234567890 ", 1), id="tag of ten digits"),
        pytest.param(LINE.replace("1 ", "-1 ", 1), id="negative tag"),
        pytest.param(LINE.replace("_80", "_256"), id="unknown suite"),
        pytest.param(LINE.replace("inline", "uri"), id="unknown key method"),
        pytest.param(LINE[:-4], id="key too short"),
        pytest.param(LINE + "AAAA", id="key too long"),
        pytest.param(LINE.replace(KEY[5], "*"), id="no base64"),
        pytest.param(f"{LINE};inline:{KEY}", id="two master keys"),
        pytest.param(f"{LINE}|x", id="neither lifetime nor MKI"),
        pytest.param(f"{LINE}|2^20|1:", id="MKI without a length"),
        pytest.param(f"{LINE}|256:1", id="MKI that does not fit its length"),
        pytest.param(f"{LINE}|1:129", id="MKI of 129 bytes"),
        pytest.param(f"{LINE}|1:0", id="MKI of no bytes"),
        pytest.param(f"{LINE} KDR=1", id="key derivation rate"),
        pytest.param(f"{LINE} FEC_KEY=inline:{KEY}", id="unknown session parameter"),
    ],
)
def test_a_line_we_cannot_use_is_passed_over(line: str) -> None:
    assert parse_crypto(line) is None


@given(st.text(max_size=200) | st.builds("1 AES_CM_128_HMAC_SHA1_80 inline:{}".format, st.text(max_size=80)))
def test_no_line_is_fatal(line: str) -> None:
    parse_crypto(line)


@given(st.text(alphabet="0123456789²٣¹½", min_size=1, max_size=12))
def test_digits_of_other_scripts_are_no_digits(text: str) -> None:
    parse_crypto(LINE.replace("1 ", f"{text} ", 1))
    parse_crypto(f"{LINE}|{text}:{text}")


def test_no_repr_shows_the_key() -> None:
    line = parse_crypto(LINE)
    assert KEY in str(line)
    assert KEY not in repr(line)
