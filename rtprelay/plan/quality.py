"""How a stream sounds to who hears it, by the receiver's own reports (RTCP, RFC 3550 section 6.4).

The mean opinion score is that of the E-model (ITU-T G.107) with everything at its default but the network: 93.2, less
what delay takes (the curve of G.107 figure 1 in two straight lines) and what loss takes (equation 7-29 for G.711 with
concealment, G.113 table I.4). Of the delay half the round trip is the network's, the rest the receiver's: a jitter
buffer of twice the jitter, and the time to pack and unpack.
"""

from __future__ import annotations

from operator import attrgetter

import msgspec

from rtprelay.plan.course import Course
from rtprelay.signalling.statistics import Samples

_PERFECT = 93.2
"""G.107 section 7.7: no network at all."""
_PROCESSING = 10.0
_CONVERSATIONAL = 177.3
"""Milliseconds from which on delay is felt."""
_ROBUSTNESS = 25.1
"""Bpl of G.711 with packet loss concealment."""


class Heard(msgspec.Struct, frozen=True, gc=False):
    """One report. Times are milliseconds."""

    at: float
    """CLOCK_MONOTONIC, seconds."""
    jitter: float
    loss: float
    """Percent, since the report before."""
    leg: float
    """Round trip between the relay and the receiver."""
    round_trip: float
    """Between sender and receiver, as far as it is known."""
    listening: bool = False
    """The score is that of who listens alone: delay is not felt."""

    @property
    def score(self) -> float:
        return mean_opinion_score(0.0 if self.listening else self.round_trip, self.jitter, self.loss)


def mean_opinion_score(round_trip: float, jitter: float, loss: float) -> float:
    """1.0 to 4.5."""
    delay = round_trip / 2 + 2 * jitter + _PROCESSING
    impaired = 0.024 * delay + 0.11 * max(0.0, delay - _CONVERSATIONAL)
    return opinion(_PERFECT - impaired - 95.0 * loss / (loss + _ROBUSTNESS))


def opinion(rating: float) -> float:
    """The score of a rating factor (G.107 annex B)."""
    if rating <= 0:
        return 1.0
    # Just above 0 the polynomial dips below 1.
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


class Hearing(msgspec.Struct, frozen=True, gc=False):
    """All that the receiver with this SSRC has reported."""

    ssrc: int
    lowest: Heard
    highest: Heard
    lost: int
    """Packets in all, by the last report."""
    course: Course = Course()
    score: Samples = Samples()
    jitter: Samples = Samples()
    loss: Samples = Samples()
    leg: Samples = Samples()
    round_trip: Samples = Samples()

    def progression(self) -> tuple[int, list[Heard]]:
        """Reports from the first to the last, and the seconds that two of them are apart at least."""
        interval, points = self.course.shown()
        listening = self.lowest.listening
        return interval, [Heard(at, jitter, loss, leg, trip, listening) for at, jitter, loss, leg, trip in points]


def hearing(ssrc: int, before: Hearing | None, heard: Heard, lost: int) -> Hearing:
    """What was reported before, and one report more."""
    last = before or Hearing(ssrc, heard, heard, lost)
    return Hearing(
        ssrc=ssrc,
        lowest=min(last.lowest, heard, key=_score),
        highest=max(last.highest, heard, key=_score),
        lost=lost,
        course=last.course.going_on(heard.at, heard.jitter, heard.loss, heard.leg, heard.round_trip),
        score=last.score.taking(heard.score),
        jitter=last.jitter.taking(heard.jitter),
        loss=last.loss.taking(heard.loss),
        leg=last.leg.taking(heard.leg),
        round_trip=last.round_trip.taking(heard.round_trip),
    )


_score = attrgetter("score")
