"""RTP statistics by RFC 3550 appendix A, and the sum of two halves of a stream."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.kernel.reports import merge_ssrc
from rtprelay.kernel.statistics import WINDOW, StreamStatistics


def heard(*sequences: int, timestamps: list[int] | None = None, times: list[float] | None = None) -> StreamStatistics:
    stream = StreamStatistics(7)
    for i, sequence in enumerate(sequences):
        timestamp = timestamps[i] if timestamps else 160 * i
        now = times[i] if times else 0.02 * i
        stream.update(sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 0, 172, now, 8000)
    return stream


@pytest.mark.parametrize(
    ("sequences", "lost", "reordered", "duplicates"),
    [
        ([5], 0, 0, 0),
        ([5, 6, 7], 0, 0, 0),
        ([5, 8], 2, 0, 0),
        ([5, 7, 6], 0, 1, 0),
        ([5, 7, 6, 6, 7], -2, 1, 2),
        ([65535, 0, 1], 0, 0, 0),
        ([65534, 1], 2, 0, 0),
        ([0, 65535], -1, 1, 0),
        ([0, 127, 0], 125, 0, 1),
        ([0, 128, 0], 126, 1, 0),
        ([0, 2999], 2998, 0, 0),
    ],
)
def test_loss_reordering_and_duplicates(sequences: list[int], lost: int, reordered: int, duplicates: int) -> None:
    report = heard(*sequences).report()
    assert (report.lost, report.reordered, report.duplicates) == (lost, reordered, duplicates)


def test_a_restarted_source_loses_nothing() -> None:
    report = heard(10, 11, 13, 40000, 40001, 40002).report()
    assert (report.packets, report.lost, report.reordered) == (6, 1, 0)
    assert report.highest_sequence & 0xFFFF == 40002


def test_one_stray_packet_is_no_restart() -> None:
    report = heard(10, 11, 40000, 12, 13).report()
    assert (report.highest_sequence, report.reordered, report.lost) == (13, 1, -1)


def test_jitter_follows_rfc_3550() -> None:
    # The second packet is 16 ms late, the third 16 ms early against it: J = 1, then 1 + (16 - 1) / 16.
    report = heard(1, 2, 3, times=[0.0, 0.036, 0.040]).report()
    assert report.jitter == pytest.approx(0.001 + (0.016 - 0.001) / 16)


def test_a_steady_stream_has_no_jitter_across_the_timestamp_wrap() -> None:
    assert heard(1, 2, 3, timestamps=[-320, -160, 0]).report().jitter == pytest.approx(0)


def test_a_new_timestamp_base_is_no_jitter() -> None:
    assert heard(1, 2, 3, timestamps=[0, 1 << 30, (1 << 30) + 160]).report().jitter == pytest.approx(0)


def test_a_payload_type_without_clock_makes_no_jitter_nor_does_the_change_from_it() -> None:
    stream = StreamStatistics(7)
    stream.update(1, 0, 99, 100, 0.0, 0)
    stream.update(2, 5, 99, 100, 1.0, 0)
    stream.update(3, 0, 0, 100, 2.0, 8000)
    assert stream.report().jitter == 0
    assert stream.report().payload_type == 0


@given(
    start=st.integers(0, 0xFFFF),
    count=st.integers(1, 300),
    lost=st.sets(st.integers(1, 299)),
    window=st.integers(0, WINDOW - 1),
    order=st.randoms(use_true_random=False),
)
def test_what_did_not_come_is_lost_in_whatever_order_the_rest_came(
    start: int, count: int, lost: set[int], window: int, order: random.Random
) -> None:
    kept = [n for n in range(count) if n not in lost]
    jumbled = sorted(kept[1:-1], key=lambda n: n + order.randrange(window + 1))
    sequences = kept[:1] + jumbled + kept[1:][-1:]
    report = heard(*(start + n for n in sequences)).report()
    assert report.lost == kept[-1] + 1 - len(kept)
    assert report.duplicates == 0
    assert report.highest_sequence == start + kept[-1]


@given(start=st.integers(0, 0xFFFF), halves=st.lists(st.booleans(), min_size=4, max_size=200))
def test_a_stream_counted_in_two_places_adds_up(start: int, halves: list[bool]) -> None:
    one, other, whole = StreamStatistics(7), StreamStatistics(7), StreamStatistics(7)
    for i, half in enumerate([True, False, *halves]):
        for stream in (one if half else other, whole):
            stream.update((start + 3 * i) & 0xFFFF, 160 * i, 0, 172, 0.02 * i, 8000)
    merged, expected = merge_ssrc(one.report(), other.report()), whole.report()
    assert (merged.packets, merged.bytes, merged.lost) == (expected.packets, expected.bytes, expected.lost)
    assert merged.highest_sequence & 0xFFFF == expected.highest_sequence & 0xFFFF
