"""Reception statistics against RFC 3550, read as a list of arrivals: A.1 sequence numbers, A.3 loss, A.8 jitter.

    packets with losses, swaps, repetitions, wraps --> [ relay_xdp | relay_tc ] --> rtprelay_state, rtprelay_ssrcs

The times of arrival are the program's own (`last_arrival`), so jitter is compared exactly though nobody sleeps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from rtprelay.kernel import abi
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import Engine, Plane

SENDER, LOCAL = Endpoint("192.0.2.1", 4000), Endpoint("198.51.100.10", 30000)
PAYLOADS = {0: (8000, False), 96: (90000, False), 111: (48000, False), 8: (8000, False)}


@pytest.fixture(autouse=True)
def flow(plane: Plane) -> None:
    plane.put_output(0, Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004))
    plane.put_flow(LOCAL, SENDER, range(1), payloads=PAYLOADS)


def receive(engine: Engine, sequence: int, timestamp: int = 0, ssrc: int = 1, payload_type: int = 0) -> None:
    rtp = Rtp(sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload_type)
    assert engine.run(bytes(Frame(SENDER, LOCAL, bytes(rtp)))).verdict == engine.sent


def arrivals(seed: int, first: int) -> list[int]:
    """Extended sequence numbers of a bad line: 10 % lost, some repeated, some late by up to 100 packets."""
    chance = random.Random(seed)
    sent = [first + i for i in range(1500) if chance.random() > 0.1 or i == 0]
    sent += chance.sample(sent, 60)
    late = {number: number + chance.randint(1, 100) for number in chance.sample(sent, 80) if number != first}
    return [first, *sorted((n for n in sent if n != first), key=lambda number: (late.get(number, number), number))]


def by_the_book(numbers: Sequence[int]) -> tuple[int, int, int, int]:
    """(highest, lost, reordered, duplicates) of extended sequence numbers in the order of arrival."""
    highest, seen, reordered, duplicates = numbers[0], {numbers[0]}, 0, 0
    for number in numbers[1:]:
        if number in seen:
            duplicates += 1
        elif number < highest:
            reordered += 1
        seen.add(number)
        highest = max(highest, number)
    return highest, highest - numbers[0] + 1 - len(numbers), reordered, duplicates


@pytest.mark.parametrize("first", [0, 1000, 65000, 65535])
def test_loss_reordering_and_duplicates_over_a_wrap(plane: Plane, engine: Engine, first: int) -> None:
    numbers = arrivals(first, first)
    for number in numbers:
        receive(engine, number)
    ssrc = plane.state().ssrc
    assert (ssrc.highest_sequence, ssrc.lost, ssrc.reordered, ssrc.duplicates) == by_the_book(numbers)
    assert (ssrc.packets, ssrc.bytes) == (len(numbers), 172 * len(numbers))


def test_sixteen_bits_wrap_many_times(plane: Plane, engine: Engine) -> None:
    for number in range(65000, 65000 + 10 * 65536, 2999):
        receive(engine, number)
    ssrc = plane.state().ssrc
    assert ssrc.highest_sequence == range(65000, 65000 + 10 * 65536, 2999)[-1]
    assert ssrc.reordered == ssrc.duplicates == 0


@pytest.mark.parametrize("back", [1, 63, 64, 65, 126, 127])
def test_the_window_remembers_128_packets(plane: Plane, engine: Engine, back: int) -> None:
    receive(engine, 10)
    receive(engine, 10 + 400)
    receive(engine, 10 + 400 - back)
    receive(engine, 10 + 400 - back)
    ssrc = plane.state().ssrc
    assert (ssrc.reordered, ssrc.duplicates) == (1, 1)


@pytest.mark.parametrize("step", [1, 2, 63, 64, 65, 127, 128, 2999])
def test_what_was_seen_is_still_known_after_a_step_forward(plane: Plane, engine: Engine, step: int) -> None:
    seen = (100, 102, 104)
    for number in (*seen, 104 + step):
        receive(engine, number)
    for number in seen:
        receive(engine, number)
    remembered = [number for number in seen if 104 + step - number < 128]
    assert plane.state().ssrc.duplicates == len(remembered)


@pytest.mark.parametrize("jump", [3000, 20000, 40000, 65536 - 130])
def test_a_source_that_restarts_its_numbering_loses_nothing_by_it(plane: Plane, engine: Engine, jump: int) -> None:
    for number in (5, 6, 9, 9 + jump, 10 + jump, 11 + jump):
        receive(engine, number)
    ssrc = plane.state().ssrc
    assert ssrc.lost == 2, "7 and 8, before the restart"
    assert ssrc.highest_sequence & 0xFFFF == (11 + jump) & 0xFFFF
    assert (ssrc.reordered, ssrc.duplicates, ssrc.packets) == (0, 0, 6)


def test_a_single_stray_number_moves_nothing(plane: Plane, engine: Engine) -> None:
    for number in (5, 6, 30000, 7, 8):
        receive(engine, number)
    ssrc = plane.state().ssrc
    assert (ssrc.highest_sequence, ssrc.reordered) == (8, 1)


@pytest.mark.parametrize(
    ("payload_types", "clock"), [((0,), 8000), ((96,), 90000), ((111,), 48000), ((0, 8), 8000), ((8,), 8000)]
)
def test_jitter_is_rfc_3550s(plane: Plane, engine: Engine, payload_types: tuple[int, ...], clock: int) -> None:
    """In seconds: J += (|D| - J) / 16, D from the program's own times of arrival, over a wrap of the timestamp."""
    chance = random.Random(clock)
    jitter, last = 0.0, None
    timestamp = 0xFFFFFFFF - 20 * clock // 1000
    for number in range(300):
        timestamp += chance.randint(-clock // 1000, clock // 50)
        receive(engine, number, timestamp, payload_type=payload_types[number % len(payload_types)])
        arrival = plane.state().last_arrival / 1e9
        if last is not None:
            jitter += (abs((arrival - last[0]) - (timestamp - last[1]) / clock) - jitter) / 16
        last = arrival, timestamp
    assert plane.state().ssrc.jitter == pytest.approx(jitter, rel=1e-4)


def test_jitter_of_seconds_does_not_overflow(plane: Plane, engine: Engine) -> None:
    """The steps that count, each nearly as large as they can be, forth and back."""
    for number in range(200):
        receive(engine, number, 4_900 * 8 * (number % 2))
    assert 4.8 < plane.state().ssrc.jitter < 5.0


def test_an_unknown_clock_has_no_jitter(plane: Plane, engine: Engine) -> None:
    for number in range(20):
        receive(engine, number, number * 7919, payload_type=13)
    assert plane.state().ssrc.jitter == 0


def test_a_change_of_clock_and_a_new_timestamp_base_are_no_jitter(plane: Plane, engine: Engine) -> None:
    receive(engine, 1, 0)
    receive(engine, 2, 1 << 31, payload_type=96)
    receive(engine, 3, 1 << 30, payload_type=96)
    assert plane.state().ssrc.jitter == 0


def test_each_ssrc_is_counted_by_itself(plane: Plane, engine: Engine) -> None:
    for number in range(10):
        for ssrc in (11, 12, 13):
            receive(engine, number * ssrc, ssrc=ssrc)
    first, further = plane.state().ssrc, plane.ssrcs()
    assert (first.ssrc, first.packets, first.highest_sequence) == (11, 10, 99)
    assert sorted(further) == [12, 13]
    assert [(further[n].packets, further[n].highest_sequence, further[n].lost) for n in (12, 13)] == [
        (10, 108, 99),
        (10, 117, 108),
    ]
    state = plane.state()
    assert state.ssrc_count == 2
    assert list(plane.aside().further)[:2] == [12, 13]
    assert state.packets == 30


def test_more_ssrcs_than_are_tracked_are_forwarded_all_the_same(plane: Plane, engine: Engine) -> None:
    for ssrc in range(1, 31):
        receive(engine, 1, ssrc=ssrc)
        receive(engine, 2, ssrc=ssrc)
    assert len(plane.ssrcs()) == abi.Limits.MAX_SSRCS
    untracked = 30 - 1 - abi.Limits.MAX_SSRCS
    assert plane.counts()["ssrc_untracked"] == 2 * untracked
    assert (plane.state().packets, plane.sent(0).packets) == (60, 60)


def test_times_are_of_the_monotonic_clock(plane: Plane, engine: Engine) -> None:
    before = time.monotonic_ns()
    receive(engine, 1)
    state = plane.state()
    assert before <= state.last_seen <= time.monotonic_ns()
    assert state.last_arrival == state.last_seen
