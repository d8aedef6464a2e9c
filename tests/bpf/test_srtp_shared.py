"""Kernel and userspace under one key: whoever is faster, no index is used twice (RFC 3711 section 9.1, RFC 7714
section 10).

sender --RTP--> [ relay_xdp | relay_tc ] ---SRTP---> receiver
       +------> [ userspace's SrtpContext ] --SRTP-->
                        both take their indices from rtprelay_srtp_state
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from rtprelay.kernel import abi
from rtprelay.kernel.keyring import Keyring
from rtprelay.security.indices import IndexExhausted, Indices, Replayed
from rtprelay.security.replay import MAX_RTP_INDEX, ReplayWindow
from rtprelay.security.srtp import Direction, SrtpContext, SrtpContexts, SrtpParameters
from tests.bpf.frames import Rtp
from tests.bpf.plane import Engine, Plane, at_once
from tests.bpf.test_forward import IP4, incoming
from tests.bpf.test_srtp_relay import CM, Leg, relay, sent, some_keys

HEADERS = 42
SSRC = 0xAABBCCDD
PROFILES = {CM: Policy.SRTP_PROFILE_AES128_CM_SHA1_80, "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM}


class Shared:
    """A key of the plane's, and userspace's side of it."""

    def __init__(self, plane: Plane, keys: SrtpParameters, direction: Direction) -> None:
        self._ring = Keyring(plane.maps, SrtpContexts(), plane.key_programs, at_once)
        assert self._ring.acquire(direction, keys) == 0
        relay(plane, IP4, *((keys, None) if direction == "in" else (None, keys)))
        self.context = SrtpContext(keys, shared=lambda: self._ring.shared(direction, keys))
        shared = self._ring.shared(direction, keys)
        assert shared is not None
        self.indices: Indices = shared


class Wire:
    """Frames of one source that differ in number and payload: built in full, they would take longer than the rest."""

    def __init__(self) -> None:
        self._headers = bytes(incoming(IP4, Rtp(payload=bytes(16))))[:HEADERS]

    def frame(self, sequence: int, payload: bytes) -> bytes:
        return self._headers + self.rtp(sequence, payload)

    @staticmethod
    def rtp(sequence: int, payload: bytes) -> bytes:
        return b"\x80\0" + sequence.to_bytes(2) + bytes(4) + SSRC.to_bytes(4) + payload


def numbers(count: int, rng: random.Random) -> Iterator[int]:
    """Consecutive, but each up to sixty places early or late; now and then one comes twice."""
    pending = sorted(range(count), key=lambda number: number + rng.uniform(0, 60))
    for number in pending:
        yield number
        if rng.random() < 0.05:
            yield number


@pytest.mark.parametrize("suite", PROFILES)
def test_no_index_is_used_twice_past_the_wrap(plane: Plane, engine: Engine, suite: str) -> None:
    keys = some_keys(suite)
    shared, wire, rng = Shared(plane, keys, "out"), Wire(), random.Random(suite)
    policy = Policy(
        key=keys.master.key + keys.master.salt, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILES[suite]
    )
    policy.window_size = 1024
    receiver = Session(policy)
    streams: set[bytes] = set()
    ways = {"kernel": 0, "userspace": 0, "refused": 0}
    for number in numbers(70_000, rng):
        payload = rng.randbytes(16)
        sequence = number & 0xFFFF
        if rng.random() < 0.5:
            run = engine.program.test_run(wire.frame(sequence, payload))
            packet = run.data[HEADERS:] if run.verdict == engine.sent else None
            way = "kernel"
        else:
            way = "userspace"
            try:
                packet = shared.context.protect(wire.rtp(sequence, payload))
            except Replayed:
                packet = None
        if packet is None:
            ways["refused"] += 1
            continue
        ways[way] += 1
        assert receiver.unprotect(packet) == wire.rtp(sequence, payload)
        streams.add(bytes(a ^ b for a, b in zip(packet[12:28], payload, strict=True)))
    assert len(streams) == ways["kernel"] + ways["userspace"] == 70_000
    assert min(ways.values()) > 2000


def test_of_two_at_the_same_time_one_gets_the_index(plane: Plane, engine: Engine) -> None:
    """A thread for each plane, kept together by the stretch; a system call lets the other thread run."""
    shared, wire = Shared(plane, some_keys(), "out"), Wire()
    stretches = [range(first, first + 64) for first in range(0, 12_800, 64)]
    together = threading.Barrier(2)

    def by_kernel(number: int) -> bool:
        return engine.program.test_run(wire.frame(number, bytes(16))).verdict == engine.sent

    def by_userspace(number: int) -> bool:
        try:
            return shared.indices.send(SSRC, number) == number
        except Replayed:
            return False

    def taken(by: Callable[[int], bool]) -> list[int]:
        found = []
        for stretch in stretches:
            together.wait(timeout=60)
            found += [number for number in stretch if by(number)]
        return found

    with ThreadPoolExecutor(2) as threads:
        kernel, userspace = threads.map(taken, (by_kernel, by_userspace))
    assert sorted([*kernel, *userspace]) == list(range(12_800))
    assert kernel
    assert userspace


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(-200, 200) | st.integers(0, 0xFFFF), st.booleans()), max_size=60),
    start=st.sampled_from([0, 300, 65_500, (7 << 16) + 30_000, MAX_RTP_INDEX - 50]),
)
def test_both_planes_choose_the_index_by_the_same_rules(
    plane: Plane, engine: Engine, steps: list[tuple[int, bool]], start: int
) -> None:
    """Also where the source starts anew, and at the very end of a key."""
    plane.reset()
    keys = some_keys("NULL_HMAC_SHA1_80")
    ring = Keyring(plane.maps, known(keys, start), plane.key_programs, at_once)
    ring.acquire("out", keys)
    relay(plane, IP4, None, keys)
    shared, model, wire = ring.shared("out", keys), ReplayWindow(start, 1), Wire()
    assert shared is not None
    at = start
    for step, in_kernel in steps:
        at = at + step
        sequence = at & 0xFFFF
        index = model.following(sequence)
        expected = index if index is not None and index <= MAX_RTP_INDEX else None
        if in_kernel:
            run = engine.program.test_run(wire.frame(sequence, bytes(16)))
            number = int.from_bytes(run.data[HEADERS + 2 : HEADERS + 4]) if run.verdict == engine.sent else None
            assert number == (None if expected is None else expected & 0xFFFF)
        else:
            try:
                assert shared.send(SSRC, sequence) == expected
            except (Replayed, IndexExhausted):
                assert expected is None


def known(keys: SrtpParameters, highest: int) -> SrtpContexts:
    """Userspace has used the key up to here."""
    contexts = SrtpContexts()
    contexts.learn("out", keys, {SSRC: ReplayWindow(highest, 1)})
    return contexts


def test_what_userspace_has_received_is_a_replay_for_the_kernel_and_vice_versa(plane: Plane, engine: Engine) -> None:
    keys = some_keys()
    shared, sender = Shared(plane, keys, "in"), Leg(keys)
    for sequence in (65_534, 65_535, 0, 1):
        rtp = bytes(Rtp(sequence=sequence))
        frame = replace(incoming(IP4), payload=sender.protect(rtp))
        if sequence % 2:
            assert shared.context.unprotect(frame.payload) == rtp
            assert engine.run(bytes(frame)).verdict == engine.dropped
        else:
            assert sent(engine, frame)[HEADERS:] == rtp
            with pytest.raises(Replayed):
                shared.context.unprotect(frame.payload)
    assert plane.counts()["drop_srtp_replay"] == 2


def test_a_source_that_starts_anew_is_bridged_by_both_planes_alike(plane: Plane, engine: Engine) -> None:
    keys = some_keys()
    shared, receiver = Shared(plane, keys, "out"), SrtpContext(keys)
    assert receiver.unprotect(shared.context.protect(bytes(Rtp(sequence=20_000))))
    assert engine.run(bytes(incoming(IP4, Rtp(sequence=500)))).verdict == engine.dropped
    left = [
        shared.context.protect(bytes(Rtp(sequence=501))),
        sent(engine, incoming(IP4, Rtp(sequence=502)))[HEADERS:],
        shared.context.protect(bytes(Rtp(sequence=503))),
    ]
    assert [int.from_bytes(receiver.unprotect(packet)[2:4]) for packet in left] == [20_001, 20_002, 20_003]


def test_more_sources_than_there_is_room_for_are_refused(plane: Plane) -> None:
    shared = Shared(plane, some_keys(), "out")
    for ssrc in range(abi.Limits.MAX_SSRCS + 1):
        assert shared.indices.send(ssrc, 7) == 7
    with pytest.raises(IndexExhausted):
        shared.indices.send(1000, 7)


def test_a_key_that_nobody_uses_is_zeroed_and_its_indices_go_on_in_userspace(plane: Plane, engine: Engine) -> None:
    deeds: list[Callable[[], None]] = []
    contexts, keys = SrtpContexts(), some_keys()
    ring = Keyring(
        plane.maps, contexts, plane.key_programs, lambda deed, *names: deeds.append(functools.partial(deed, *names))
    )
    for turn in (1, 2):
        ring.acquire("out", keys)
        relay(plane, IP4, None, keys)
        assert sent(engine, incoming(IP4, Rtp(sequence=turn)))
        ring.release("out", keys)
        # A program may still be looking: until the grace is over, the kernel's record counts.
        shared = ring.shared("out", keys)
        assert shared is not None
        with pytest.raises(Replayed):
            shared.send(SSRC, turn)
    stale, last = deeds
    stale()
    assert any(plane.maps["rtprelay_srtp_keys"].lookup(bytes(4)) or b"")
    last()
    assert plane.maps["rtprelay_srtp_keys"].lookup(bytes(4)) is None
    assert not any(plane.maps["rtprelay_srtp_state"].lookup(bytes(4)) or b"\1")
    assert ring.shared("out", keys) is None
    assert contexts.known("out", keys)[SSRC].highest == 2


def test_what_a_dead_predecessor_was_about_to_zero_is_zeroed(plane: Plane) -> None:
    keys, kept = some_keys(), some_keys()
    before = Keyring(plane.maps, SrtpContexts(), plane.key_programs, lambda deed, *names: None)
    places = before.acquire("out", keys), before.acquire("out", kept)
    for ssrc in range(3):
        shared = before.shared("out", keys)
        assert shared is not None
        shared.send(ssrc, 7)
    before.release("out", keys)
    after = Keyring(plane.maps, SrtpContexts(), plane.key_programs, at_once)
    assert after.adopt("out", places[1]) == kept
    after.sweep()
    assert plane.maps["rtprelay_srtp_keys"].lookup(places[0].to_bytes(4, "little")) is None
    assert not any(plane.maps["rtprelay_srtp_state"].lookup(places[0].to_bytes(4, "little")) or b"\1")
    assert not list(plane.maps["rtprelay_srtp_streams"].keys())
    assert any(plane.maps["rtprelay_srtp_keys"].lookup(places[1].to_bytes(4, "little")) or b"")


def test_a_key_is_zeroed_where_it_lies(plane: Plane) -> None:
    """What a hash frees it does not clear."""
    places = [plane.put_key(some_keys()), plane.put_key(some_keys())]
    keys = plane.maps["rtprelay_srtp_keys"]
    assert plane.key_programs.forget.call(abi.SrtpClaim(key=places[0])) == 0
    assert not any(keys.lookup(places[0].to_bytes(4, "little")) or b"\1")
    assert any(keys.lookup(places[1].to_bytes(4, "little")) or b"")
