"""The short ring: some thousand mutations of well-formed inputs into every parser (`make fuzz` for the long one)."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS

INPUTS = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    target = TARGETS[name]
    check = target.make()
    for data in Mutator(target.seeds, target.words, seed=1).inputs(INPUTS):
        check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_well_formed_is_taken(name: str) -> None:
    target = TARGETS[name]
    check = target.make()
    for data in target.seeds:
        check(data)
