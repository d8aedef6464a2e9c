"""Blocks never overlap, come back whole, and wait out their grace."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import BackendFault
from rtprelay.kernel.slots import MAX_ORDER, Blocks, Quarantine, order_of


@pytest.mark.parametrize(("size", "order"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8)])
def test_the_order_is_the_smallest_with_room(size: int, order: int) -> None:
    assert order_of(size) == order


@given(st.integers(1, 700), st.lists(st.tuples(st.integers(0, MAX_ORDER), st.booleans()), max_size=60))
def test_blocks_are_aligned_apart_and_return_whole(size: int, steps: list[tuple[int, bool]]) -> None:
    blocks = Blocks(size, "outputs")
    taken: list[tuple[int, int]] = []
    for order, keep in steps:
        try:
            base = blocks.take(order)
        except BackendFault:
            continue
        assert base % (1 << order) == 0
        assert base + (1 << order) <= size
        places = set(range(base, base + (1 << order)))
        assert all(places.isdisjoint(range(other, other + (1 << o))) for other, o in taken)
        taken.append((base, order))
        if not keep:
            blocks.free(*taken.pop(0))
    assert blocks.used == sum(1 << order for _, order in taken)
    for base, order in taken:
        blocks.free(base, order)
    singles = {blocks.take(0) for _ in range(size)}
    assert singles == set(range(size))
    with pytest.raises(BackendFault):
        blocks.take(0)


@given(st.lists(st.integers(0, MAX_ORDER), max_size=40))
def test_a_successor_claims_what_its_predecessor_had_taken(orders: list[int]) -> None:
    before, after = Blocks(1000, "outputs"), Blocks(1000, "outputs")
    taken = []
    for order in orders:
        try:
            taken.append((before.take(order), order))
        except BackendFault:
            continue
    for base, order in reversed(taken):
        assert after.claim(base, order)
        assert not after.claim(base, order)
    assert after.used == before.used
    remaining = 1000 - after.used
    assert (
        len({after.take(0) for _ in range(remaining)} | {p for b, o in taken for p in range(b, b + (1 << o))}) == 1000
    )


@given(st.integers(0, 255))
def test_low_places_come_first(rest: int) -> None:
    """The counters of all slots up to the highest in use are read several times a second."""
    blocks = Blocks(1024 + rest, "flows")
    assert [blocks.take(0) for _ in range(1024)] == list(range(1024))


def test_a_block_that_is_none_cannot_be_claimed() -> None:
    blocks = Blocks(16, "outputs")
    assert not blocks.claim(1, 1)
    assert not blocks.claim(16, 0)


def test_quarantine_keeps_things_for_its_grace() -> None:
    done: list[str] = []
    quarantine = Quarantine(grace=1.0)
    quarantine.after_grace(lambda: done.append("first"))
    quarantine.release(10.0)
    quarantine.after_grace(lambda: done.append("second"))
    quarantine.release(10.5)
    quarantine.release(10.9)
    assert done == []
    quarantine.release(11.0)
    assert done == ["first"]
    quarantine.release(11.5)
    assert done == ["first", "second"]


def test_a_deed_that_fails_does_not_keep_others_from_being_done() -> None:
    done: list[str] = []
    quarantine = Quarantine(grace=1.0)
    quarantine.after_grace(done.append, "before")
    quarantine.after_grace([].pop)
    quarantine.after_grace(done.append, "after")
    quarantine.release(10.0)
    with pytest.raises(IndexError):
        quarantine.release(11.0)
    quarantine.release(11.0)
    assert done == ["before", "after"]


def test_nothing_is_taken_beyond_the_reach() -> None:
    blocks = Blocks(1024, "outputs")
    assert blocks.reach == 0
    places = [blocks.take(1) for _ in range(5)]
    assert blocks.reach == max(places) + 2
    blocks.free(max(places), 1)
    assert blocks.claim(700, 2)
    assert blocks.reach == 704


def test_a_quarantine_lets_out_no_more_than_asked_for_and_the_longest_waiting_first() -> None:
    done: list[int] = []
    quarantine = Quarantine(grace=1.0)
    for number in range(5):
        quarantine.after_grace(functools.partial(done.append, number))
        quarantine.after_grace(functools.partial(done.append, -number))
        quarantine.release(10.0)
    quarantine.release(10.5, 2)
    assert done == []
    quarantine.release(11.0, 2)
    assert done == [0, 0, 1, -1]
    quarantine.release(11.0, 2)
    quarantine.release(11.0, 2)
    assert done == [0, 0, 1, -1, 2, -2, 3, -3, 4, -4]
