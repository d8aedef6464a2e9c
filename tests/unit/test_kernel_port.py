"""What is kept of an installed flow."""

from __future__ import annotations

from rtprelay.kernel.port import generation_after


def test_generations_go_round_in_16_bits_and_leave_out_what_an_empty_state_holds() -> None:
    generation, seen = 1, set()
    while generation not in seen:
        seen.add(generation)
        generation = generation_after(generation)
    assert (generation, seen) == (1, set(range(1, 1 << 16)))
