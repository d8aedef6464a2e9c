"""Retransmissions get the reply of before; what is remembered has an end in time, number and bytes."""

from __future__ import annotations

from rtprelay.signalling.replay import ReplayCache, Seen


def test_a_retransmission_gets_the_same_reply() -> None:
    cache = ReplayCache()
    assert cache.begin("peer", b"1", 0.0) is Seen.NEW
    cache.finish("peer", b"1", b"reply")
    assert cache.begin("peer", b"1", 29.9) == b"reply"


def test_a_retransmission_of_a_request_at_work_is_known_as_such() -> None:
    cache = ReplayCache()
    cache.begin("peer", b"1", 0.0)
    assert cache.begin("peer", b"1", 1.0) is Seen.IN_PROGRESS


def test_the_same_cookie_of_another_peer_is_another_request() -> None:
    cache = ReplayCache()
    cache.begin("peer", b"1", 0.0)
    assert cache.begin("other", b"1", 0.0) is Seen.NEW


def test_a_cookie_may_come_again_after_its_lifetime() -> None:
    cache = ReplayCache(lifetime=30.0)
    cache.begin("peer", b"1", 0.0)
    cache.finish("peer", b"1", b"reply")
    assert cache.begin("peer", b"1", 30.0) is Seen.NEW
    assert len(cache) == 1


def test_the_first_reply_stands_and_a_late_one_is_no_error() -> None:
    cache = ReplayCache()
    cache.begin("peer", b"1", 0.0)
    cache.finish("peer", b"1", b"first")
    cache.finish("peer", b"1", b"second")
    cache.finish("peer", b"unknown", b"x")
    assert cache.begin("peer", b"1", 1.0) == b"first"


def test_the_oldest_are_forgotten_beyond_the_number_of_entries() -> None:
    cache = ReplayCache(max_entries=3)
    for cookie in (b"1", b"2", b"3", b"4"):
        cache.begin("peer", cookie, 0.0)
    assert len(cache) == 3
    assert cache.begin("peer", b"2", 0.0) is Seen.IN_PROGRESS
    assert cache.begin("peer", b"1", 0.0) is Seen.NEW


def test_bytes_are_bounded_and_given_back() -> None:
    cache = ReplayCache(lifetime=10.0, max_bytes=100_000)
    for number in range(100):
        cache.begin("peer", b"%d" % number, 0.0)
        cache.finish("peer", b"%d" % number, b"x" * 10_000)
        assert cache.bytes_held <= 100_000
    assert 0 < len(cache) < 10
    cache.begin("peer", b"new", 10.0)
    assert len(cache) == 1
    assert cache.bytes_held < 1000


def test_a_reply_larger_than_the_cache_is_not_kept() -> None:
    cache = ReplayCache(max_bytes=1000)
    cache.begin("peer", b"1", 0.0)
    cache.finish("peer", b"1", b"x" * 2000)
    assert (len(cache), cache.bytes_held) == (0, 0)
