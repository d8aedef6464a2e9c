"""Receivers that want SRTP: one key is chosen of those the relay offers (SDES, RFC 4568), what arrives is opened by
libsrtp."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence

from pylibsrtp import Error, Policy, Session

from bench.ng import NgError, Reply
from bench.traffic import MEDIA, Sample
from tools.bencode import Value

SUITE = "AES_CM_128_HMAC_SHA1_80"
TRAILER = 10
"""Bytes of its tag."""
WANTED: dict[str, Value] = {"transport-protocol": "RTP/SAVP", "DTLS": "off"}
"""In a command: towards this party."""
EVERY = 1024
"""Of so many packets one is opened: no stream moves on by half a cycle of numbers between two."""
_HEADER = 12


def choose(reply: Reply) -> tuple[str, bytes]:
    """The crypto line to answer with, and the key under which the relay will send."""
    found = re.search(rf"^a=crypto:(\d+) {SUITE} inline:([A-Za-z0-9+/]+)", str(reply.get("sdp", "")), re.MULTILINE)
    if not found:
        raise NgError(f"no {SUITE} in {reply!r}")
    own = base64.b64encode(os.urandom(30)).decode()
    return f"{found[1]} {SUITE} inline:{own}", base64.b64decode(found[2] + "=" * (-len(found[2]) % 4))


class Ears:
    """All receivers."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        """`keys` by port."""
        self._sessions = {port: Session(_policy(key)) for port, key in keys.items()}
        self.seen = self.opened = 0

    def listen(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self.seen += 1
            try:
                self.opened += self._sessions[sample.port].unprotect(sample.data)[_HEADER:] == MEDIA
            except Error:
                continue

    @property
    def fault(self) -> str | None:
        if not self.seen:
            return "no packet was kept to be decrypted"
        if self.opened < self.seen:
            return f"{self.seen - self.opened} of {self.seen} packets looked at could not be decrypted"
        return None

    def __str__(self) -> str:
        return f"{self.opened} of {self.seen}"


def _policy(key: bytes) -> Policy:
    return Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80)
