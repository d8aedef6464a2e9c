"""Nobody is flooded through the relay: who was never heard gets only so much.

A == RTP ==> relay ---> B (silent: perhaps somebody who knows nothing of this call)
"""

from __future__ import annotations

from rtprelay.core.effects import Notify
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import A, B, Stage, at, receiver_report, rtp, sdp

LIMIT = 5000
"""Bytes per second."""


def stage(limit: int = LIMIT) -> Stage:
    return Stage(unheard_bandwidth=limit)


def poll(stage: Stage) -> None:
    """Counters are read, as the runtime does all the time."""
    reports = [stage.forwarder.summary(local) for local in stage.forwarder.moved()]
    stage.relay.handle_report([report for report in reports if report is not None], stage.now)
    stage.drain()


def pour(stage: Stage, local: Endpoint, source: Endpoint, first: int = 1, size: int = 160) -> int:
    """50 packets in a second; how many of the second half were passed on."""
    passed = 0
    for number in range(50):
        sent = stage.receive(local, source, rtp(first + number, size=size))
        passed += len(sent) if number >= 25 else 0
        stage.wait(0.02)
        if number % 10 == 9:
            poll(stage)
    return passed


def test_who_was_never_heard_gets_no_flood() -> None:
    s = stage()
    facing_a, _ = s.call()
    assert pour(s, facing_a, at(f"{A}:4000")) == 0


def test_what_anybody_may_get_is_passed_on() -> None:
    s = stage(limit=20_000)
    facing_a, _ = s.call()
    assert pour(s, facing_a, at(f"{A}:4000")) == 25


def test_a_limit_of_zero_is_none() -> None:
    s = stage(limit=0)
    facing_a, _ = s.call()
    assert pour(s, facing_a, at(f"{A}:4000"), size=1200) == 25


def test_who_was_heard_gets_all() -> None:
    s = stage()
    facing_a, facing_b = s.call()
    s.receive(facing_b, at(f"{B}:4002"), rtp(1))
    assert pour(s, facing_a, at(f"{A}:4000")) == 25


def test_rtcp_is_a_sign_of_life() -> None:
    s = stage()
    facing_a, facing_b = s.call()
    s.receive(facing_b.with_port(facing_b.port + 1), at(f"{B}:4003"), receiver_report())
    assert pour(s, facing_a, at(f"{A}:4000")) == 25


def test_the_first_word_opens_the_way_again() -> None:
    s = stage()
    facing_a, facing_b = s.call()
    assert pour(s, facing_a, at(f"{A}:4000")) == 0
    s.receive(facing_b, at(f"{B}:4002"), rtp(1))
    poll(s)
    assert "heard at last" in s.events()
    assert pour(s, facing_a, at(f"{A}:4000"), first=51) == 25


def test_a_strangers_word_opens_nothing() -> None:
    s = stage()
    facing_a, facing_b = s.call()
    assert pour(s, facing_a, at(f"{A}:4000")) == 0
    s.receive(facing_b, at("198.51.100.99:5000"), receiver_report())
    poll(s)
    assert pour(s, facing_a, at(f"{A}:4000"), first=51) == 0


def test_who_spoke_from_one_address_is_not_known_to_be_at_another() -> None:
    s = stage()
    facing_a, facing_b = s.call()
    s.receive(facing_b, at(f"{B}:4002"), rtp(1))
    poll(s)
    s.offer(sdp("198.51.100.77", 4002), from_tag="b", to_tag="a")
    s.answer(sdp(A, 4000), from_tag="b", to_tag="a")
    assert pour(s, facing_a, at(f"{A}:4000")) == 0


def test_it_is_told_with_the_call_and_who_would_have_got_it() -> None:
    s = stage()
    facing_a, _ = s.call()
    told = []
    for sequence in range(20):
        s.receive(facing_a, at(f"{A}:4000"), rtp(sequence))
        s.wait(0.02)
        if sequence % 10 == 9:
            poll(s)
            told += [effect for effect in s.effects if isinstance(effect, Notify)]
    (warning,) = told
    assert (warning.call_id, warning.level, warning.fields["address"]) == (CallId("c"), "warning", f"{B}:4002")


def test_a_silent_subscriber_costs_the_others_nothing() -> None:
    s = stage()
    (published,) = s._sections(s.ask(CommandName.PUBLISH, sdp(A, 4000, "a=sendonly"), from_tag=Tag("a")))
    ports = []
    for number in range(2):
        offer = s.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"))
        (section,) = s._sections(offer)
        answer = sdp(B, 5000 + 10 * number, "a=recvonly")
        s.ask(CommandName.SUBSCRIBE_ANSWER, answer, to_tag=Tag(str(offer["to-tag"])))
        ports.append(section.rtcp)
    s.receive(ports[0], at(f"{B}:5001"), receiver_report())
    assert pour(s, published.local, at(f"{A}:4000")) == 25
    assert [output.destination.port for output in s.flow(published.local).outputs] == [5000]


def test_a_successor_keeps_the_way_closed() -> None:
    s = stage()
    facing_a, _ = s.call()
    assert pour(s, facing_a, at(f"{A}:4000")) == 0
    s.restart(unheard_bandwidth=LIMIT)
    assert s.flow(facing_a).outputs == ()
