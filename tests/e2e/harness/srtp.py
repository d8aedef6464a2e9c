"""A party that speaks SRTP, by libsrtp, with keys agreed by SDES (RFC 4568)."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field

from pylibsrtp import Policy, Session

from tests.e2e.harness import sdp
from tests.e2e.harness.rtp import Address, Party
from tests.e2e.harness.stage import Call, Stage
from tests.e2e.ng import NgClient

SUITE = "AES_CM_128_HMAC_SHA1_80"


def crypto(key: bytes, tag: str = "1") -> str:
    """The value of an a=crypto line."""
    return f"{tag} {SUITE} inline:{base64.b64encode(key).decode()}"


def new_key() -> bytes:
    return os.urandom(30)


def agreed(text: str) -> list[tuple[str, bytes]]:
    """Tag and key of each a=crypto line of the suite, in their order."""
    found = re.findall(rf"^a=crypto:(\d+) {SUITE} inline:([A-Za-z0-9+/]+)", text, re.MULTILINE)
    return [(tag, base64.b64decode(key + "=" * (-len(key) % 4))) for tag, key in found]


@dataclass
class SecureParty(Party):
    """What it says and hears is accounted as RTP; `wire` is what it has sent."""

    key: bytes = field(default_factory=new_key)
    wire: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._out = Session(_policy(self.key, Policy.SSRC_ANY_OUTBOUND))

    def agree(self, theirs: bytes) -> None:
        """The other side's key."""
        self._in = Session(_policy(theirs, Policy.SSRC_ANY_INBOUND))

    def sealed(self, data: bytes) -> bytes:
        self.wire.append(self._out.protect(data))
        return self.wire[-1]

    def opened(self, data: bytes) -> bytes:
        return self._in.unprotect(data)

    def throw(self, data: bytes, destination: Address) -> None:
        """Just so, and not accounted for."""
        self.socket.sendto(data, destination)


def _policy(key: bytes, direction: int) -> Policy:
    return Policy(key=key, ssrc_type=direction, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80)


def call(stage: Stage, ng: NgClient, call_id: str) -> tuple[Call, SecureParty]:
    """SRTP with the caller, RTP with the callee."""
    site = stage.lab.caller
    a, b = SecureParty(site.namespace, site.ip4), stage.party(stage.lab.callee)
    line = f"a=crypto:{crypto(a.key)}"
    offer = sdp.describe(a.address, [a.port], extra=(line,), profile="RTP/SAVP")
    offered = ng.offer(call_id, "a", offer, transport_protocol="RTP/AVP")
    assert "crypto" not in offered.sdp
    answered = ng.answer(call_id, "a", "b", sdp.describe(b.address, [b.port]))
    ((_, theirs),) = agreed(answered.sdp)
    a.agree(theirs)
    return Call(stage.relay, call_id, a, sdp.section(answered.sdp).rtp, b, sdp.section(offered.sdp).rtp), a
