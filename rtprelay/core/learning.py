"""Judging packets from a source the SDP did not name (security: RTP Bleed, AST-2017-005, CVE-2025-53399).

Rules:
- The address the SDP named wins as soon as it speaks, in every mode. The data plane sees to the first half (once it has
  spoken, strangers are dropped there); here it wins back what another source had learned.
- Another source becomes the party's only by plausible RTP: version 2, a negotiated payload type, RUN packets in
  sequence under one SSRC, while the expected source stayed silent since the candidate's first packet, for WINDOW
  seconds at least.
- `heuristic` prefers, among candidates seen in the window: the SDP's host on another port, then the host the signalling
  came from, then any. `immediate` takes the first plausible packet. `delayed` waits DELAYED seconds. `off` learns
  nothing.
- Candidates' packets are kept (a few) and forwarded once their source is accepted: nothing is lost, and nothing of a
  stranger is passed on.
- RTCP follows RTP: it is accepted from the host that RTP comes from, and never teaches anything alone.
"""

from __future__ import annotations

import enum

import msgspec

from rtprelay.call.media import Media
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint

RUN = 4
WINDOW = 0.08
DELAYED = 3.0
MAX_CANDIDATES = 4
"""Per port: a flood of sources must not cost memory."""
STALE = 1.0
"""Seconds after which a silent candidate makes room for another."""
MAX_KEPT = 10
MAX_GAP = 3
"""Sequence numbers a candidate may skip between two packets."""


class Judgement(enum.Enum):
    IGNORE = enum.auto()
    WAIT = enum.auto()
    RIPE = enum.auto()
    """May be adopted, if the expected source has been silent meanwhile."""


class Candidate(msgspec.Struct):
    source: Endpoint
    ssrc: int
    sequence: int
    since: float
    seen: float
    run: int = 1
    kept: list[bytes] = []


class Learning:
    """The candidates of all local ports."""

    def __init__(self) -> None:
        self._candidates: dict[Endpoint, dict[Endpoint, Candidate]] = {}

    def forget(self, local: Endpoint) -> None:
        self._candidates.pop(local, None)

    def candidate(self, local: Endpoint, source: Endpoint) -> Candidate | None:
        return self._candidates.get(local, {}).get(source)

    def observe(
        self, media: Media, local: Endpoint, payload_types: frozenset[int], source: Endpoint, packet: bytes, now: float
    ) -> Judgement:
        """Take in one RTP packet from a source that is not the expected one; `payload_types` empty: none were
        negotiated.
        """
        if media.learning is EndpointLearning.OFF or not _plausible(payload_types, packet):
            return Judgement.IGNORE
        candidates = self._candidates.setdefault(local, {})
        candidate = candidates.get(source)
        ssrc, sequence = int.from_bytes(packet[8:12]), int.from_bytes(packet[2:4])
        if candidate is None and len(candidates) >= MAX_CANDIDATES and not _make_room(media, candidates, source, now):
            return Judgement.IGNORE
        if candidate is None or candidate.ssrc != ssrc or not 0 < (sequence - candidate.sequence) & 0xFFFF <= MAX_GAP:
            candidates[source] = candidate = Candidate(source, ssrc, sequence, now, now)
        else:
            candidate.sequence, candidate.seen, candidate.run = sequence, now, candidate.run + 1
        candidate.kept.append(packet)
        del candidate.kept[:-MAX_KEPT]
        return Judgement.RIPE if self._ripe(media, candidate, candidates, now) else Judgement.WAIT

    def _ripe(self, media: Media, candidate: Candidate, candidates: dict[Endpoint, Candidate], now: float) -> bool:
        age = now - candidate.since
        match media.learning:
            case EndpointLearning.IMMEDIATE:
                return True
            case EndpointLearning.DELAYED:
                return candidate.run >= RUN and age >= DELAYED
        if candidate.run < RUN or age < WINDOW:
            return False
        rank = _rank(media, candidate.source)
        return not any(_rank(media, c.source) < rank and now - c.seen < WINDOW for c in candidates.values())


def _make_room(media: Media, candidates: dict[Endpoint, Candidate], source: Endpoint, now: float) -> bool:
    """Drop a candidate that fell silent, or one that is less likely than the newcomer: strangers cannot shut the party
    out.
    """
    worst = max(candidates.values(), key=lambda c: (now - c.seen > STALE, _rank(media, c.source)))
    if now - worst.seen > STALE or _rank(media, worst.source) > _rank(media, source):
        del candidates[worst.source]
        return True
    return False


def _plausible(payload_types: frozenset[int], packet: bytes) -> bool:
    """RTP version 2 (RFC 3550 section 5.1) with a payload and, where they are known, a negotiated payload type."""
    if len(packet) <= 12 or packet[0] >> 6 != 2:
        return False
    return not payload_types or packet[1] & 0x7F in payload_types


def _rank(media: Media, source: Endpoint) -> int:
    """Lower is likelier to be the party."""
    if media.remote is not None and source.address == media.remote.address:
        return 0
    if source.address == media.hint:
        return 1
    return 2
