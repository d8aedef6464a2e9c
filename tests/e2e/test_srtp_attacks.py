"""What an attacker who can write any source address does to a call with SRTP: each packet of his is dropped where the
media is forwarded, counted by its reason, and neither party nor (beside the kernel) the daemon sees any of them.

party a == SRTP ====> west [ relay ] east ==== RTP ====> party b
attacker, from a's address ==> west
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.harness import srtp
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import exchange, packet
from tests.e2e.harness.srtp import SecureParty
from tests.e2e.harness.stage import Call, Stage

TAG = 10
FLOOD = 3000


@pytest.fixture
def attacked(scene: Stage) -> Iterator[tuple[Call, SecureParty]]:
    """A call in which both have spoken, so that it is where it stays."""
    if not scene.relay.ours:
        pytest.skip("what rtpengine does with attacks is its own affair")
    with scene.relay.client() as ng:
        call, a = srtp.call(scene, ng, "attacked")
        try:
            call.talk(20)
            yield call, a
        finally:
            call.close()
            ng.delete("attacked")


def ahead(a: SecureParty, by: int) -> bytes:
    """A packet as `a` might send it, further on than it will come in this test, without its tag."""
    return packet(int.from_bytes(a.sent[-1][2:4]) + 200 + by, 0, a.ssrc, os.urandom(160))


def replayed(a: SecureParty) -> Iterator[bytes]:
    yield from a.wire[-20:]


def damaged(a: SecureParty) -> Iterator[bytes]:
    """Each bit of the tag, and some of the payload."""
    data = a.sealed(a.next_packet())
    for bit in range(8 * TAG):
        changed = int.from_bytes(data) ^ 1 << bit * (1 + bit % 2 * 7)
        yield changed.to_bytes(len(data))


def cut_short(a: SecureParty) -> Iterator[bytes]:
    data = a.sealed(a.next_packet())
    for length in range(len(data) - TAG, len(data)):
        yield data[:length]


def too_short(a: SecureParty) -> Iterator[bytes]:
    """Not even room for a tag."""
    data = a.sealed(a.next_packet())
    for length in range(12, 12 + TAG):
        yield data[:length]


def plain(a: SecureParty) -> Iterator[bytes]:
    for by in range(20):
        yield ahead(a, by)


def flood(a: SecureParty) -> Iterator[bytes]:
    """Of forged packets, near and far: the numbers of some would move the window, were they believed."""
    for by in range(FLOOD):
        yield ahead(a, by * 7) + os.urandom(TAG)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (replayed, "drop_srtp_replay"),
        (damaged, "drop_srtp_auth"),
        (cut_short, "drop_srtp_auth"),
        (too_short, "drop_srtp_malformed"),
        (plain, "drop_srtp_auth"),
        (flood, "drop_srtp_auth"),
    ],
)
def test_is_dropped_counted_and_harms_nothing(
    scene: Stage,
    attacked: tuple[Call, SecureParty],
    attack: Callable[[SecureParty], Iterator[bytes]],
    reason: str,
) -> None:
    call, a = attacked
    before, weapons = scene.relay.reasons(), list(attack(a))

    def storm() -> None:
        for weapon in weapons:
            a.throw(weapon, call.a_target)
            # A flood fills the socket that the party's own packets come in by; only the kernel can tell them apart.
            time.sleep(0 if scene.relay.in_kernel else 0.001)

    def dropped() -> dict[str, int]:
        now = scene.relay.reasons()
        return {name: now[name] - before.get(name, 0) for name in now if name.startswith("drop_srtp")}

    with scene.relay.reading_at_most(0), in_background(storm):
        for _ in range(5):
            exchange(call.a, call.a_target, call.b, call.b_target, 20)
    until(lambda: sum(dropped().values()) >= len(weapons), "all attacks to be counted")
    assert {name: count for name, count in dropped().items() if count} == {reason: len(weapons)}
    call.talk(20)


@contextmanager
def in_background(deed: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=deed, name="attacker")
    thread.start()
    try:
        yield
    finally:
        thread.join()
