"""The ICE agent against itself, over a network that the test holds in its hands: delay, loss and order are its own."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rtprelay.ice.agent import (
    CONSENT_EXPIRY,
    ConsentLost,
    Credentials,
    Event,
    Failed,
    IceAgent,
    Role,
    Selected,
    Transmit,
)
from rtprelay.ice.candidate import Candidate, CandidateType, local_candidate, parse_candidate
from rtprelay.values import Endpoint
from rtprelay.wire import stun
from rtprelay.wire.stun import Attribute, Class

A = Endpoint("192.0.2.1", 1000)
B = Endpoint("192.0.2.2", 2000)
B_RTCP = Endpoint("192.0.2.2", 2001)
STRANGER = Endpoint("192.0.2.66", 666)

Lossy = Callable[[Transmit], bool]


class World:
    """Two agents, a clock and a wire: 10 ms from one to the other."""

    def __init__(self, a: IceAgent, b: IceAgent, lost: Lossy = lambda _: False) -> None:
        self.a, self.b = a, b
        self.now = 0.0
        self.lost = lost
        self.events: dict[str, list[Event]] = {"a": [], "b": []}
        self.sent: list[Transmit] = []
        self._wire: list[tuple[float, int, Transmit]] = []

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self._collect()
            times = [t for t in (self.a.poll_timeout(), self.b.poll_timeout()) if t is not None]
            times += [t for t, _, _ in self._wire]
            due = min(times, default=end)
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for entry in sorted(e for e in self._wire if e[0] <= self.now):
                self._wire.remove(entry)
                self._deliver(entry[2])
            self.a.handle_timeout(self.now)
            self.b.handle_timeout(self.now)
            if due >= end:
                self._collect()
                return

    def _collect(self) -> None:
        for name, agent in (("a", self.a), ("b", self.b)):
            while (transmit := agent.poll_transmit()) is not None:
                self.sent.append(transmit)
                if not self.lost(transmit):
                    self._wire.append((self.now + 0.01, len(self.sent), transmit))
            while (event := agent.poll_event()) is not None:
                self.events[name].append(event)

    def _deliver(self, transmit: Transmit) -> None:
        for agent in (self.a, self.b):
            if any(c.base == transmit.remote for c in agent.local_candidates):
                agent.receive(transmit.remote, transmit.local, transmit.data, self.now)


def agent(role: Role, name: str, seed: int, *bases: tuple[int, Endpoint], lite: bool = False) -> IceAgent:
    made = IceAgent(role, Credentials(name, f"{name}-password-of-22-chars"), random.Random(seed), lite=lite)
    for order, (component, base) in enumerate(bases):
        made.add_local(local_candidate(component, base, base, order))
    return made


def introduce(one: IceAgent, other: IceAgent) -> None:
    one.set_remote(other.local, lite=other.lite)
    for candidate in other.local_candidates:
        one.add_remote(candidate)
    one.end_of_candidates()


def pair(role_b: Role = Role.CONTROLLED, *, lite_b: bool = False) -> tuple[IceAgent, IceAgent]:
    a = agent(Role.CONTROLLING, "aaaa", 1, (1, A))
    b = agent(role_b, "bbbb", 2, (1, B), lite=lite_b)
    introduce(a, b)
    introduce(b, a)
    return a, b


def test_two_full_agents_select_the_same_pair() -> None:
    world = World(*pair())
    world.run(2)
    assert world.events == {"a": [Selected(1, A, B)], "b": [Selected(1, B, A)]}
    assert world.a.verified(A, B)
    assert world.b.verified(B, A)


def test_a_full_agent_selects_with_a_lite_one() -> None:
    world = World(*pair(lite_b=True))
    world.run(2)
    assert world.events == {"a": [Selected(1, A, B)], "b": [Selected(1, B, A)]}


def test_a_lite_agent_sends_only_responses() -> None:
    world = World(*pair(lite_b=True))
    world.run(20)
    assert {stun.parse(t.data).kind for t in world.sent if t.local == B} == {Class.SUCCESS}


@pytest.mark.parametrize("seed", range(8))
def test_lost_packets_only_cost_time(seed: int) -> None:
    rng = random.Random(seed)
    world = World(*pair(), lost=lambda _: rng.random() < 0.3)
    world.run(30)
    assert Selected(1, A, B) in world.events["a"]
    assert Selected(1, B, A) in world.events["b"]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
def test_a_role_conflict_is_settled_by_the_tie_breakers(role: Role, seeds: tuple[int, int]) -> None:
    a, b = agent(role, "aaaa", seeds[0], (1, A)), agent(role, "bbbb", seeds[1], (1, B))
    introduce(a, b)
    introduce(b, a)
    world = World(a, b)
    world.run(5)
    assert {a.role, b.role} == set(Role)
    assert Selected(1, A, B) in world.events["a"]
    assert Selected(1, B, A) in world.events["b"]


def test_both_components_are_selected() -> None:
    a = agent(Role.CONTROLLING, "aaaa", 1, (1, A), (2, A.with_port(1001)))
    b = agent(Role.CONTROLLED, "bbbb", 2, (1, B), (2, B_RTCP))
    introduce(a, b)
    introduce(b, a)
    world = World(a, b)
    world.run(3)
    assert sorted(world.events["a"], key=str) == [Selected(1, A, B), Selected(2, A.with_port(1001), B_RTCP)]


def test_an_address_the_sdp_did_not_name_becomes_peer_reflexive() -> None:
    a, b = agent(Role.CONTROLLING, "aaaa", 1, (1, A)), agent(Role.CONTROLLED, "bbbb", 2, (1, B))
    introduce(a, b)
    b.set_remote(a.local)
    world = World(a, b)
    world.run(2)
    assert world.events["b"] == [Selected(1, B, A)]
    assert world.b.selected[1].remote.type is CandidateType.PEER_REFLEXIVE


def test_checks_that_come_before_the_answer_are_answered_and_used_later() -> None:
    a, b = agent(Role.CONTROLLING, "aaaa", 1, (1, A)), agent(Role.CONTROLLED, "bbbb", 2, (1, B))
    introduce(a, b)
    world = World(a, b)
    world.run(1)
    assert world.a.verified(A, B)
    b.set_remote(a.local)
    world.run(1)
    assert world.events["b"] == [Selected(1, B, A)]


def test_a_trickled_candidate_joins_the_checks() -> None:
    a, b = agent(Role.CONTROLLING, "aaaa", 1, (1, A)), agent(Role.CONTROLLED, "bbbb", 2, (1, B))
    a.set_remote(b.local)
    b.set_remote(a.local)
    world = World(a, b)
    world.run(1)
    assert world.events["a"] == []
    candidate = parse_candidate(str(b.local_candidates[0]))
    assert candidate is not None
    a.add_remote(candidate)
    world.run(2)
    assert world.events["a"] == [Selected(1, A, B)]


def test_silence_of_the_peer_is_a_failure_once_it_has_no_more_candidates() -> None:
    world = World(*pair(), lost=lambda t: t.local == B)
    world.run(60)
    assert world.events["a"] == [Failed()]


def test_consent_is_lost_when_the_peer_falls_silent_and_kept_while_it_answers() -> None:
    world = World(*pair())
    world.run(100)
    assert ConsentLost(1) not in world.events["a"]
    world.lost = lambda t: t.local == B
    world.run(CONSENT_EXPIRY + 10)
    assert world.events["a"][-1] == ConsentLost(1)
    assert not world.a.verified(A, B)


def request(password: str, username: str = "bbbb:aaaa", *more: tuple[Attribute, bytes]) -> bytes:
    attributes = [(Attribute.USERNAME, username.encode()), (Attribute.PRIORITY, (1 << 24).to_bytes(4)), *more]
    return stun.build(Class.REQUEST, bytes(12), attributes, password)


@pytest.mark.parametrize(
    "data",
    [
        request("wrong"),
        request("bbbb-password-of-22-chars", "cccc:aaaa"),
        request("bbbb-password-of-22-chars", "bbbb:cccc"),
        stun.build(Class.REQUEST, bytes(12), [(Attribute.USERNAME, b"bbbb:aaaa")]),
        request("bbbb-password-of-22-chars")[:-1],
        b"\0\1\0\0",
    ],
    ids=["password", "ufrag", "remote ufrag", "no integrity", "cut short", "runt"],
)
def test_what_is_not_authentic_gets_no_answer_and_changes_nothing(data: bytes) -> None:
    _, b = pair()
    assert not b.receive(B, STRANGER, data, 0.0)
    assert b.poll_transmit() is None
    assert not b.verified(B, STRANGER)


def test_a_stranger_cannot_nominate_himself_at_a_lite_agent() -> None:
    _, b = pair(lite_b=True)
    b.receive(B, STRANGER, request("wrong", "bbbb:aaaa", (Attribute.USE_CANDIDATE, b"")), 0.0)
    assert b.poll_event() is None


def test_a_response_from_another_address_does_not_make_the_pair_valid() -> None:
    a, _ = pair()
    a.handle_timeout(0.0)
    check = a.poll_transmit()
    assert check is not None
    transaction = stun.parse(check.data).transaction
    mapped = (Attribute.XOR_MAPPED_ADDRESS, stun.xor_address(A, transaction))
    a.receive(A, STRANGER, stun.build(Class.SUCCESS, transaction, [mapped], "bbbb-password-of-22-chars"), 0.01)
    assert not a.verified(A, B)
    assert not a.verified(A, STRANGER)


def test_a_hostile_number_of_candidates_makes_a_bounded_number_of_checks() -> None:
    a = agent(Role.CONTROLLING, "aaaa", 1, (1, A))
    a.set_remote(Credentials("bbbb", "x" * 22))
    for number in range(1000):
        a.add_remote(Candidate(str(number), 1, number, Endpoint(f"198.51.{number // 250}.{number % 250}", 9)))
    targets = set()
    now = 0.0
    while (due := a.poll_timeout()) is not None and due < 200:
        now = max(now, due)
        a.handle_timeout(now)
        while (transmit := a.poll_transmit()) is not None:
            targets.add(transmit.remote)
    assert 0 < len(targets) <= 100


@pytest.mark.parametrize("endpoint", [A, Endpoint("2001:db8::1", 5000)])
def test_addresses_survive_the_xor(endpoint: Endpoint) -> None:
    value = stun.xor_address(endpoint, b"transaction!")
    raw = stun.build(Class.SUCCESS, b"transaction!", [(Attribute.XOR_MAPPED_ADDRESS, value)], "password")
    assert stun.parse(raw).mapped_address == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "1 1 TCP 2105458943 192.0.2.1 9 typ host tcptype active",
        "1 1 UDP 2122260223 5f1b2c3d.local 50000 typ host",
        "1 1 UDP x 192.0.2.1 5000 typ host",
        "1 1 UDP 1 192.0.2.1 70000 typ host",
        "1 1 UDP 1 192.0.2.1 5000",
        "",
    ],
)
def test_a_candidate_that_cannot_be_used_is_passed_over(text: str) -> None:
    assert parse_candidate(text) is None


A2 = Endpoint("192.0.2.11", 1100)
B2 = Endpoint("192.0.2.12", 2200)


def two_ways() -> World:
    """Each side has two addresses; the first ones are selected, all pairs have been checked."""
    a = agent(Role.CONTROLLING, "aaaa", 1, (1, A), (1, A2))
    b = agent(Role.CONTROLLED, "bbbb", 2, (1, B), (1, B2))
    introduce(a, b)
    introduce(b, a)
    world = World(a, b, lost=lambda t: t.data[:2] == b"\0\1" and (t.local, t.remote) == (A, B) and world.now < 0.3)
    world.run(2)
    return world


def nomination(agent: IceAgent, by: IceAgent, rank: int = 1) -> bytes:
    attributes = [
        (Attribute.USERNAME, f"{agent.local.ufrag}:{by.local.ufrag}".encode()),
        (Attribute.PRIORITY, rank.to_bytes(4)),
        (Attribute.ICE_CONTROLLING, bytes(8)),
        (Attribute.USE_CANDIDATE, b""),
    ]
    return stun.build(Class.REQUEST, bytes(range(12)), attributes, agent.local.pwd)


def selection(agent: IceAgent) -> tuple[Endpoint, Endpoint]:
    return agent.selected[1].base, agent.selected[1].remote.endpoint


def test_a_peer_that_nominates_a_worse_pair_later_has_moved_and_is_followed() -> None:
    world = World(*pair())
    world.a.add_local(local_candidate(1, A2, A2, 1))
    world.run(5)
    assert selection(world.b) == (B, A)
    world.b.receive(B, A2, nomination(world.b, world.a), world.now)
    world.run(1)
    assert selection(world.b) == (B, A2)


def test_of_pairs_nominated_at_once_the_best_is_selected_whatever_their_order() -> None:
    world = World(*pair())
    world.a.add_local(local_candidate(1, A2, A2, 1))
    world.run(0.2)
    world.b.receive(B, A2, nomination(world.b, world.a), world.now)
    world.run(0.2)
    assert selection(world.b) == (B, A)


def test_a_peer_that_sends_on_another_valid_pair_is_followed_and_told() -> None:
    world = two_ways()
    former = selection(world.a)
    other = next(
        (base, remote)
        for base in (A, A2)
        for remote in (B, B2)
        if (base, remote) != former and world.a.verified(base, remote)
    )
    world.a.moved(*other, world.now)
    world.run(2)
    assert selection(world.a) == other
    assert selection(world.b) == (other[1], other[0])


def test_where_no_valid_pair_leads_nobody_is_followed() -> None:
    world = World(*pair())
    world.run(2)
    world.a.moved(A, STRANGER, world.now)
    assert selection(world.a) == (A, B)


def test_another_valid_pair_takes_the_place_of_one_that_has_died() -> None:
    world = two_ways()
    former = selection(world.a)
    world.lost = lambda t: {t.local, t.remote} == set(former)
    world.run(CONSENT_EXPIRY + 10)
    assert ConsentLost(1) in world.events["a"]
    assert selection(world.a) != former
