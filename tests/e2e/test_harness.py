"""The judges judged: what is lost, doubled, altered or made up on the way fails a test.

party a == RTP ==> party b, on lo of one namespace, without any relay
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.harness import audio
from tests.e2e.harness.rtp import Party, assert_heard
from tools.netns import Namespace


@pytest.fixture
def parties() -> Iterator[tuple[Party, Party]]:
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace("judge"))
        a, b = (stack.enter_context(Party(namespace, "127.0.0.1")) for _ in range(2))
        a.send((b.address, b.port), 5)
        yield a, b


def test_what_was_sent_is_heard(parties: tuple[Party, Party]) -> None:
    a, b = parties
    assert_heard(b, a)


def test_a_lost_packet_is_missed(parties: tuple[Party, Party]) -> None:
    a, b = parties
    a.sent.append(a.next_packet())
    with pytest.raises(AssertionError, match="1 are missing"):
        assert_heard(b, a, seconds=0.2)


@pytest.mark.parametrize("which", ["doubled", "altered", "made up"])
def test_a_packet_that_was_not_sent_is_noticed(parties: tuple[Party, Party], which: str) -> None:
    a, b = parties
    strange = {"doubled": a.sent[2], "altered": a.sent[2][:-1] + b"?", "made up": b"\x80" * 20}[which]
    a.socket.sendto(strange, (b.address, b.port))
    b.hears(6)
    with pytest.raises(AssertionError, match="1 packets heard that were not sent"):
        assert_heard(b, a)


def test_tones_are_told_apart() -> None:
    mixed = [math.floor(x / 2) for x in audio.tone(400, 1)]
    assert audio.share(mixed, 400) > 0.99
    assert audio.share(mixed, 900) < 0.01
    assert audio.share([0] * audio.RATE, 400) == 0
