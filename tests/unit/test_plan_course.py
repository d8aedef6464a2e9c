"""What is kept and shown of a long series of measurements."""

from __future__ import annotations

import itertools

import pytest

from rtprelay.plan.course import Course


def measured(count: int, every: float) -> Course:
    course = Course()
    for number in range(count):
        course = course.going_on(1000.0 + number * every, 1.0, 2.0, 3.0, float(number))
    return course


def test_the_first_reports_are_all_shown() -> None:
    interval, points = measured(9, 1.0).shown()
    assert (interval, [point[0] for point in points]) == (0, [1000.0 + number for number in range(9)])
    assert points[7] == (1007.0, 1.0, 2.0, 3.0, 7.0)
    assert Course().shown() == (0, [])


@pytest.mark.parametrize(("count", "every"), [(100, 1.0), (120, 5.0), (2000, 5.0), (50, 3.7), (7200, 0.5)])
def test_later_about_ten_parts_of_the_time_are_shown(count: int, every: float) -> None:
    interval, points = measured(count, every).shown()
    span = (count - 1) * every
    times = [point[0] - 1000.0 for point in points]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 0.8 * span / 10 <= interval <= span / 10
    assert times[0] == 0.0
    assert times[-1] >= 0.8 * span
    assert interval <= min(gaps) <= max(gaps) <= 2.5 * interval + every
    assert 6 <= len(points) <= 13


@pytest.mark.parametrize("every", [0.0, 1e-6, 0.01, 5.0])
def test_a_flood_of_reports_is_not_kept(every: float) -> None:
    assert len(measured(10_000, every).packed) <= 32 * 24
