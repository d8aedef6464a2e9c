"""Candidates: transport addresses a peer may be reached at, as a=candidate lines spell them (RFC 8839 section 5.1)."""

from __future__ import annotations

import enum
import zlib

import msgspec

from rtprelay.values import Endpoint, canonical_address

RTP, RTCP = 1, 2
"""Component identifiers (RFC 8445 section 13)."""


class CandidateType(enum.Enum):
    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    PEER_REFLEXIVE = "prflx"
    RELAYED = "relay"


_TYPE_PREFERENCE = {
    CandidateType.HOST: 126,
    CandidateType.PEER_REFLEXIVE: 110,
    CandidateType.SERVER_REFLEXIVE: 100,
    CandidateType.RELAYED: 0,
}
"""RFC 8445 section 5.1.2.2."""


class Candidate(msgspec.Struct, frozen=True):
    """`endpoint` is what goes into SDP (advertised); `base` where a candidate of ours sends from."""

    foundation: str
    component: int
    priority: int
    endpoint: Endpoint
    type: CandidateType = CandidateType.HOST
    base: Endpoint | None = None

    def __str__(self) -> str:
        """The value of the a=candidate line."""
        address, port = self.endpoint.address, self.endpoint.port
        text = f"{self.foundation} {self.component} UDP {self.priority} {address} {port} typ {self.type.value}"
        if self.type is CandidateType.RELAYED:
            text += f" raddr {address} rport {port}"
        return text


def priority(kind: CandidateType, local_preference: int, component: int) -> int:
    """RFC 8445 section 5.1.2.1."""
    return _TYPE_PREFERENCE[kind] << 24 | local_preference << 8 | 256 - component


def local_candidate(
    component: int, advertised: Endpoint, base: Endpoint, order: int, kind: CandidateType = CandidateType.HOST
) -> Candidate:
    """A candidate of ours; `order` 0 is the preferred address, 1 the next. Same base address, same foundation (section
    5.1.1.3).

    All addresses but the first are far down: below any host candidate of the peer they decide a pair's priority. The
    other leg has the first address's family too, and packets that change theirs cost more.
    """
    foundation = f"{zlib.crc32(base.packed):08x}{zlib.crc32(base.packed, 1):08x}"
    return Candidate(
        foundation, component, priority(kind, 256 - order if order else 65535, component), advertised, kind, base
    )


def parse_candidate(value: str) -> Candidate | None:
    """None for what we cannot use: other transports than UDP, host names (mDNS), nonsense."""
    fields = value.split()
    if len(fields) < 8 or fields[2].upper() != "UDP" or fields[6] != "typ" or len(fields[0]) > 32:
        return None
    try:
        component, rank, port = int(fields[1]), int(fields[3]), int(fields[5])
        endpoint = Endpoint(canonical_address(fields[4]), port)
        kind = CandidateType(fields[7])
    except ValueError:
        return None
    if not (1 <= component <= 256 and 0 <= rank < 1 << 32 and port):
        return None
    return Candidate(fields[0], component, rank, endpoint, kind)
