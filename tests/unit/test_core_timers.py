"""Deadlines: the earliest first, none for what was forgotten, and no memory of it for long."""

from __future__ import annotations

import random
import sys

from rtprelay.core.timers import FEW, Timers


def test_the_earliest_deadline_is_next_and_a_later_one_does_not_put_it_off() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", 5.0)
    timers.schedule("b", 3.0)
    timers.schedule("b", 9.0)
    assert timers.next_deadline() == 3.0
    assert timers.pop_due(4.0) == ["b"]
    assert timers.pop_due(5.0) == ["a"]
    assert timers.next_deadline() is None


def test_what_was_forgotten_does_not_come_due() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", 1.0)
    timers.schedule("b", 2.0)
    timers.forget("a")
    assert timers.next_deadline() == 2.0
    assert timers.pop_due(10.0) == ["b"]


def test_what_was_forgotten_and_comes_again_has_its_new_deadline_only() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", 1.0)
    timers.forget("a")
    timers.schedule("a", 7.0)
    assert timers.pop_due(6.0) == []
    assert timers.pop_due(7.0) == ["a"]


def test_short_calls_with_long_timeouts_leave_no_memory_behind() -> None:
    timers: Timers[int] = Timers()
    for standing in range(100):
        timers.schedule(-1 - standing, 50.0 + standing)
    before = sys.getallocatedblocks()
    for call in range(20 * FEW):
        timers.schedule(call, 3600.0 + call)
        timers.forget(call)
    # An entry of the heap is a tuple, a deadline and two numbers.
    assert sys.getallocatedblocks() - before < 5 * FEW
    assert timers.next_deadline() == 50.0


def test_clearing_the_heap_loses_no_deadline() -> None:
    timers: Timers[int] = Timers()
    chance = random.Random(1)
    expected: dict[int, float] = {}
    for key in range(10 * FEW):
        expected[key] = chance.uniform(0, 100)
        timers.schedule(key, expected[key])
        if key % 10:
            gone = chance.choice(list(expected)[-20:])
            del expected[gone]
            timers.forget(gone)
    assert timers.pop_due(100.0) == sorted(expected, key=expected.__getitem__)
