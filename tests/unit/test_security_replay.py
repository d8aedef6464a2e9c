"""The replay window against a model that remembers everything; index guesses against RFC 3711 appendix A."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.security.replay import WINDOW, ReplayWindow, guess_index


@given(st.lists(st.one_of(st.integers(0, 400), st.integers(0, 1 << 40)), max_size=200))
def test_the_window_takes_what_it_has_not_seen_and_can_still_tell(indices: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for index in indices:
        fresh = index not in seen and (not seen or index > max(seen) - WINDOW)
        assert window.fresh(index) is fresh
        if fresh:
            window.commit(index)
            seen.add(index)
        assert window.highest == max(seen, default=-1)


@given(st.lists(st.integers(0, 300), max_size=50), st.integers(0, 400))
def test_asking_changes_nothing(indices: list[int], asked: int) -> None:
    window = ReplayWindow()
    for index in indices:
        if window.fresh(index):
            window.commit(index)
    before = (window.highest, window.seen)
    window.fresh(asked)
    assert (window.highest, window.seen) == before


def test_a_window_can_be_stored() -> None:
    window = ReplayWindow()
    for index in (5, 7, 1 << 47):
        window.commit(index)
    stored = msgspec.msgpack.encode([window.highest, window.seen & (1 << 64) - 1, window.seen >> 64])
    highest, low, high = msgspec.msgpack.decode(stored)
    assert ReplayWindow(highest, high << 64 | low) == window


def appendix_a(local_roc: int, highest_sequence: int, sequence: int) -> int:
    """RFC 3711 appendix A, as it stands there."""
    if highest_sequence < 32768:
        roc = local_roc - 1 if sequence - highest_sequence > 32768 else local_roc
    else:
        roc = local_roc + 1 if highest_sequence - 32768 > sequence else local_roc
    return roc << 16 | sequence


@given(st.integers(1, 1 << 32 - 2), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_the_guess_is_the_rfc_s(roc: int, highest: int, sequence: int) -> None:
    guess = guess_index(roc << 16 | highest, sequence)
    if abs(sequence - highest) == 32768:  # exactly between two cycles: either will do
        assert guess & 0xFFFF == sequence
    else:
        assert guess == appendix_a(roc, highest, sequence)


@pytest.mark.parametrize(
    ("highest", "sequence", "index"),
    [
        pytest.param(-1, 65535, 65535, id="nothing has come yet"),
        pytest.param(0, 65535, 65535, id="no cycle before the first"),
        pytest.param(65535, 0, 65536, id="wrap"),
        pytest.param(65536, 65535, 65535, id="out of order at the wrap"),
        pytest.param(65536 + 40000, 10, 2 * 65536 + 10, id="far ahead is the next cycle"),
        pytest.param(65536 + 10, 40000, 40000, id="far behind is the one before"),
    ],
)
def test_guesses_at_the_edges(highest: int, sequence: int, index: int) -> None:
    assert guess_index(highest, sequence) == index
