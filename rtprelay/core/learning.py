"""Judging packets from a source the SDP did not name (security: RTP Bleed, AST-2017-005, CVE-2025-53399).

Rules:
- The address the SDP named wins as soon as it speaks, in every mode. The data plane sees to the first half (once it has
  spoken, strangers are dropped there); here it wins back what another source had learned.
- Another source becomes the party's only by plausible RTP: version 2, a negotiated payload type, RUN packets in
  sequence under one SSRC, while the expected source stayed silent since the candidate's first packet, for WINDOW
  seconds at least. It must be an address we would send to had the SDP named it.
- `heuristic` prefers, among candidates seen in the window: the SDP's host on another port, then the host the signalling
  came from, then the SDP's port on another host, then any. `delayed` takes the first one. `immediate` takes the first
  plausible packet. `off` learns nothing.
- Candidates' packets are kept for a moment and forwarded once their source is accepted: nothing is lost, and nothing of
  a stranger is passed on.
- RTCP follows RTP: it is accepted from the host that RTP comes from, and never teaches anything alone.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

import msgspec

from rtprelay.call.media import Media
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint

RUN = 4
WINDOW = 0.08
MAX_CANDIDATES = 4
"""Per port: a flood of sources must not cost memory."""
STALE = 1.0
"""Seconds after which a silent candidate makes room for another."""
MAX_GAP = 3
"""Sequence numbers by which a candidate's packets may be apart, and out of order."""
PUNTED_IN_A_ROW, PUNTED_PER_SECOND = 128, 50
"""Of strangers at one port the kernel hands up so many packets, and then so many a second (ebpf/lib/punt.h)."""
MAX_RATE = 5000
"""Packets a second of the fastest stream there is: where the kernel holds back some, so many may be missing."""
MAX_DROPOUT = 3000
"""More than that is another stream (RFC 3550 appendix A.1)."""
KEPT_SECONDS = 0.3
"""Older packets are of no use to the receiver's jitter buffer."""
KEPT_PACKETS = PUNTED_IN_A_ROW
KEPT_BYTES = 16 << 20
"""Of all candidates together; beyond that they are judged, but nothing is kept."""


class Judgement(enum.Enum):
    IGNORE = enum.auto()
    WAIT = enum.auto()
    RIPE = enum.auto()
    """May be adopted, if the expected source has been silent meanwhile."""


class Candidate(msgspec.Struct):
    source: Endpoint
    ssrc: int
    sequence: int
    """The highest of the run."""
    since: float
    """Start of the run."""
    seen: float
    run: int = 1
    kept: deque[tuple[float, bytes]] = msgspec.field(default_factory=deque)

    def take(self, ssrc: int, sequence: int, now: float, held_back: bool) -> None:
        """One more packet: it continues the run, comes late within it, or starts another. `held_back`: not all that
        were sent get here.
        """
        ahead = (sequence - self.sequence) & 0xFFFF
        missing = min(int((now - self.seen) * MAX_RATE), MAX_DROPOUT) if held_back else 0
        self.seen = now
        if ssrc == self.ssrc and 0 < ahead <= MAX_GAP + missing:
            self.sequence, self.run = sequence, self.run + 1
        elif ssrc != self.ssrc or -ahead & 0xFFFF > MAX_GAP:
            self.ssrc, self.sequence, self.since, self.run = ssrc, sequence, now, 1


class Learning:
    """The candidates of all local ports."""

    def __init__(self) -> None:
        self._candidates: dict[Endpoint, dict[Endpoint, Candidate]] = {}
        self._allowances: dict[Endpoint, float] = {}
        """When the kernel's allowance for a port is whole again, as far as can be told from here."""
        self._kept_bytes = 0

    def forget(self, locals_: Iterable[Endpoint]) -> None:
        for local in locals_:
            self._allowances.pop(local, None)
            candidates = self._candidates.pop(local, None)
            for candidate in candidates.values() if candidates is not None else ():
                self._let_go(candidate)

    def take(self, local: Endpoint, source: Endpoint) -> list[bytes]:
        """The packets kept of the source, which is accepted now; all candidates of the port are forgotten."""
        candidate = self._candidates.get(local, {}).get(source)
        packets = [packet for _, packet in candidate.kept] if candidate is not None else []
        self.forget((local,))
        return packets

    def since(self, local: Endpoint, source: Endpoint) -> float | None:
        """When the candidate's run began; None: no candidate."""
        candidate = self._candidates.get(local, {}).get(source)
        return None if candidate is None else candidate.since

    def observe(
        self, media: Media, local: Endpoint, payload_types: frozenset[int], source: Endpoint, packet: bytes, now: float
    ) -> Judgement:
        """Take in one RTP packet from a source that is not the expected one; `payload_types` empty: none were
        negotiated.
        """
        if media.learning is EndpointLearning.OFF:
            return Judgement.IGNORE
        held_back = self._draw(local, now)
        if not _plausible(payload_types, packet):
            return Judgement.IGNORE
        candidates = self._candidates.setdefault(local, {})
        ssrc, sequence = int.from_bytes(packet[8:12]), int.from_bytes(packet[2:4])
        candidate = candidates.get(source)
        if candidate is not None:
            candidate.take(ssrc, sequence, now, held_back)
        elif len(candidates) < MAX_CANDIDATES or self._make_room(media, candidates, source, now):
            candidate = candidates[source] = Candidate(source, ssrc, sequence, now, now)
        else:
            return Judgement.IGNORE
        self._keep(candidate, packet, now)
        return Judgement.RIPE if _ripe(media, candidate, candidates, now) else Judgement.WAIT

    def _draw(self, local: Endpoint, now: float) -> bool:
        """One more packet of a stranger. True: the allowance is half used up, and may be gone in the kernel."""
        whole = max(self._allowances.get(local, now), now) + 1 / PUNTED_PER_SECOND
        self._allowances[local] = whole
        return whole - now > PUNTED_IN_A_ROW / 2 / PUNTED_PER_SECOND

    def _keep(self, candidate: Candidate, packet: bytes, now: float) -> None:
        kept = candidate.kept
        while kept and (len(kept) >= KEPT_PACKETS or now - kept[0][0] > KEPT_SECONDS):
            self._kept_bytes -= len(kept.popleft()[1])
        if self._kept_bytes + len(packet) <= KEPT_BYTES:
            kept.append((now, packet))
            self._kept_bytes += len(packet)

    def _let_go(self, candidate: Candidate) -> None:
        self._kept_bytes -= sum(len(packet) for _, packet in candidate.kept)

    def _make_room(self, media: Media, candidates: dict[Endpoint, Candidate], source: Endpoint, now: float) -> bool:
        """Drop a candidate that fell silent, or one that is less likely than the newcomer: strangers cannot shut the
        party out.
        """
        worst = max(candidates.values(), key=lambda c: (now - c.seen > STALE, _rank(media, c.source)))
        if now - worst.seen > STALE or _rank(media, worst.source) > _rank(media, source):
            self._let_go(candidates.pop(worst.source))
            return True
        return False


def _ripe(media: Media, candidate: Candidate, candidates: dict[Endpoint, Candidate], now: float) -> bool:
    if media.learning is EndpointLearning.IMMEDIATE:
        return True
    if candidate.run < RUN or now - candidate.since < WINDOW:
        return False
    if media.learning is EndpointLearning.DELAYED:
        return True
    rank = _rank(media, candidate.source)
    return not any(_rank(media, c.source) < rank and now - c.seen < WINDOW for c in candidates.values())


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
    return 2 if media.remote is not None and source.port == media.remote.port else 3
