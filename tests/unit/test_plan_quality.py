"""The mean opinion score of a network (ITU-T G.107), and what many reports come to."""

from __future__ import annotations

import pytest

from rtprelay.plan.quality import Heard, hearing, mean_opinion_score, opinion


@pytest.mark.parametrize(
    ("rating", "score"),
    [(93.2, 4.41), (90, 4.34), (80, 4.02), (70, 3.60), (60, 3.10), (50, 2.58), (3, 1.0), (0, 1.0), (-20, 1.0)],
)
def test_a_rating_stands_for_the_score_of_the_recommendations_table(rating: float, score: float) -> None:
    assert opinion(rating) == pytest.approx(score, abs=0.006)


@pytest.mark.parametrize(
    ("round_trip", "jitter", "loss", "score"),
    [
        (0, 0, 0, 4.40),
        (300, 0, 0, 4.32),
        (800, 0, 0, 2.98),
        (0, 60, 0, 4.34),
        (0, 0, 1, 4.32),
        (0, 0, 10, 3.40),
        (0, 0, 100, 1.17),
    ],
)
def test_the_score_is_that_of_the_e_model(round_trip: float, jitter: float, loss: float, score: float) -> None:
    """As in ITU-T G.107 with G.711's loss robustness (G.113): no delay is felt below 177 ms."""
    assert mean_opinion_score(round_trip, jitter, loss) == pytest.approx(score, abs=0.005)


def test_no_score_leaves_the_scale() -> None:
    scores = [
        mean_opinion_score(trip, jitter, loss) for trip in range(0, 9000, 90) for jitter in (0, 500) for loss in (0, 60)
    ]
    assert 1.0 <= min(scores) <= max(scores) <= 4.5


def heard(at: float, loss: float) -> Heard:
    return Heard(at=at, jitter=2.0, loss=loss, leg=10.0, round_trip=20.0)


def test_the_best_and_the_worst_report_are_kept_and_all_are_counted() -> None:
    known = hearing(7, None, heard(1.0, 5.0), 1)
    known = hearing(7, known, heard(2.0, 0.0), 2)
    known = hearing(7, known, heard(3.0, 9.0), 4)
    assert (known.highest.at, known.lowest.at, known.lost) == (2.0, 3.0, 4)
    assert (known.loss.count, known.loss.total, known.loss.squares) == (3, 14.0, 25.0 + 81.0)
    assert known.score.average == pytest.approx(sum(heard(0, loss).score for loss in (5.0, 0.0, 9.0)) / 3)
