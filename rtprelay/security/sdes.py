"""a=crypto lines (RFC 4568): `tag suite inline:key||salt[|lifetime][|mki:length] [session parameters]`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import msgspec

from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES, Suite

MAX_TAG = 999_999_999
"""RFC 4568 section 9.1: nine digits."""
MAX_MKI_LENGTH = 128
_FLAGS = ("UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP")
_LIFETIME = re.compile(r"(?:2\^)?[0-9]{1,15}")
_TAG = re.compile(r"[0-9]{1,9}")
_MKI = re.compile(r"([0-9]{1,40}):([0-9]{1,3})")


class CryptoLine(msgspec.Struct, frozen=True):
    """One offered or answered key. `lifetime` as written (`2^31`, packets), None: the suite's own."""

    tag: int
    parameters: SrtpParameters
    lifetime: str | None = None
    padded: bool = False
    """Written with the trailing `=` of base64: RFC 4568 section 6.1 can be read both ways, most clients want none."""

    @property
    def suite(self) -> Suite:
        return self.parameters.suite

    def __str__(self) -> str:
        """The attribute's value, key included: for SDP, never for a log."""
        master = self.parameters.master
        key = base64.b64encode(master.key + master.salt).decode()
        fields = [f"inline:{key if self.padded else key.rstrip('=')}"]
        if self.lifetime is not None:
            fields.append(self.lifetime)
        if master.mki:
            fields.append(f"{int.from_bytes(master.mki)}:{len(master.mki)}")
        return " ".join((str(self.tag), self.suite.name, "|".join(fields), *self._session_parameters()))

    def _session_parameters(self) -> Iterable[str]:
        p = self.parameters
        present = (p.unencrypted_srtp, p.unencrypted_srtcp, p.unauthenticated_srtp)
        return (name for name, is_set in zip(_FLAGS, present, strict=True) if is_set)


def parse_crypto(value: str) -> CryptoLine | None:
    """The line, or None where it is malformed or asks for what we do not know: such a line is passed over (section
    6.1).

    Session parameters that change nothing for us as they stand (WSH, KDR=0, FEC_ORDER) are accepted; an unknown one, or
    several master keys, makes the line unusable, unless the name starts with `-`, which marks it as optional (section
    6.3.7).
    """
    tag_text, _, rest = value.strip().partition(" ")
    suite_name, _, rest = rest.strip().partition(" ")
    suite = SUITES.get(suite_name)
    key_text, *parameters = rest.split()[:32] or [""]
    if suite is None or not _TAG.fullmatch(tag_text) or not key_text.startswith("inline:"):
        return None
    fields = key_text.removeprefix("inline:").split("|")
    secret = _secret(fields[0], suite)
    if secret is None or ";" in key_text:
        return None
    lifetime, mki = None, b""
    for field in fields[1:]:
        if ":" in field:
            parsed = _mki(field)
            if parsed is None:
                return None
            mki = parsed
        elif _LIFETIME.fullmatch(field):
            lifetime = field
        else:
            return None
    flags = set()
    for parameter in parameters:
        name, _, argument = parameter.partition("=")
        if name in _FLAGS:
            flags.add(name)
        elif not (name in ("WSH", "FEC_ORDER") or (name == "KDR" and argument == "0") or name.startswith("-")):
            return None
    master = MasterKey(secret[: suite.key_length], secret[suite.key_length :], mki)
    return CryptoLine(int(tag_text), SrtpParameters(suite, master, *(name in flags for name in _FLAGS)), lifetime)


def _secret(text: str, suite: Suite) -> bytes | None:
    """Base64, with its padding or without: both are seen."""
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return secret if len(secret) == suite.master_length else None


def _mki(text: str) -> bytes | None:
    match = _MKI.fullmatch(text)
    if match is None:
        return None
    number, size = int(match[1]), int(match[2])
    if not 0 < size <= MAX_MKI_LENGTH or number >= 1 << 8 * size:
        return None
    return number.to_bytes(size)
