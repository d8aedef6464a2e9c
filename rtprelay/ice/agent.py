"""The ICE agent of one transport: a full one or a lite one (RFC 8445). Bytes, addresses and time in; bytes and events
out.

Theory of operation:

- Nothing is answered or believed that does not carry MESSAGE-INTEGRITY made with our password (requests) or the peer's
  (responses): the port is no open STUN reflector.
- Every pair of a local and a remote candidate of one component and family is checked, one each TA seconds, the
  likeliest first. A request from the peer makes its pair the next to be checked (triggered check); a source we did not
  know becomes a peer-reflexive candidate.
- Controlling: once each component has a valid pair and nothing better is under way (or PATIENCE has passed), the best
  is nominated. Controlled: the peer's USE-CANDIDATE nominates; of several nominated pairs the best one is selected
  (aggressive nomination, RFC 5245), until RENOMINATION after a selection: then another nomination is a change of mind,
  as of a peer that has moved.
- Lite: no checks; the pair the peer nominated last is selected (section 7.3.2).
- A role conflict is settled by the tie-breakers (section 7.3.1.1); nobody has to know of it.
- Where the peer sends from another valid pair than the selected one, it is followed there (`moved`).
- A selected pair is kept alive and consent is renewed (RFC 7675): without a response for CONSENT_EXPIRY seconds (or
  what the operator has said), sending has to stop; if we control, another valid pair is nominated in its place. A peer
  that nominates the pair again is checked again, and consents by its response.

Offers and answers race with checks: requests may come before the peer's credentials are known. They are answered (its
password is not needed for that) and their pairs are checked as soon as the credentials are there.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Iterator

import msgspec

from rtprelay.errors import MalformedMessage
from rtprelay.ice.candidate import Candidate, CandidateType, priority
from rtprelay.values import Endpoint
from rtprelay.wire import stun
from rtprelay.wire.stun import Attribute, Class, Message

TA = 0.02
"""Seconds between two new checks (section 14.2 asks for 5 ms at least)."""
RTO = 0.5
"""First retransmission time-out (section 14.3); doubled each time."""
MAX_SENT = 6
"""Transmissions of one check before its pair has failed."""
PATIENCE = 0.1
"""Seconds to wait for a better pair than the valid one before it is nominated."""
RENOMINATION = 1.0
"""Seconds after a selection in which of several nominated pairs the best one is meant."""
MAX_REMOTE = 64
MAX_PAIRS = 100
"""Section 6.1.2.5: a bound on what a hostile SDP can make us send."""
MAX_TRIGGERED = 32
CONSENT_EXPIRY = 30.0
CONSENT_CHECKS = 6
"""Within that time: one each 5 seconds (RFC 7675 section 5.1)."""


class Role(enum.Enum):
    CONTROLLING = "controlling"
    CONTROLLED = "controlled"


class PairState(enum.Enum):
    WAITING = enum.auto()
    IN_PROGRESS = enum.auto()
    SUCCEEDED = enum.auto()
    FAILED = enum.auto()


class Credentials(msgspec.Struct, frozen=True):
    """RFC 8839 section 5.4. The password shows in no repr."""

    ufrag: str
    pwd: str

    def __repr__(self) -> str:
        return f"Credentials({self.ufrag!r}, <secret>)"


class Selected(msgspec.Struct, frozen=True):
    """The component sends and receives on this pair from now on."""

    component: int
    local: Endpoint
    remote: Endpoint


class Failed(msgspec.Struct, frozen=True):
    """No pair works, and the peer will name no other."""


class ConsentLost(msgspec.Struct, frozen=True):
    """The peer has fallen silent: nothing may be sent to it any more."""

    component: int


Event = Selected | Failed | ConsentLost


class Transmit(msgspec.Struct, frozen=True):
    local: Endpoint
    remote: Endpoint
    data: bytes


class Pair(msgspec.Struct, eq=False):
    local: Candidate
    remote: Candidate
    state: PairState = PairState.WAITING
    nominated: bool = False
    """The peer asked for it, or we do: it is selected once (or as soon as) it has succeeded."""
    transaction: bytes = b""
    role: Role = Role.CONTROLLED
    """Ours in the check under way."""
    sent: int = 0
    resend_at: float = 0.0

    @property
    def component(self) -> int:
        return self.local.component

    @property
    def base(self) -> Endpoint:
        return self.local.base or self.local.endpoint


class _Consent(msgspec.Struct):
    """Of one component: checks under way by transaction, and when the last was answered."""

    pair: Pair
    granted: float
    next_check: float
    pending: list[bytes] = []


def pair_priority(controlling: int, controlled: int) -> int:
    """RFC 8445 section 6.1.2.3, of the two candidates' priorities."""
    return (min(controlling, controlled) << 32) + 2 * max(controlling, controlled) + (controlling > controlled)


class IceAgent:
    """`rng` makes transaction ids, the tie-breaker and spreads consent checks."""

    def __init__(
        self,
        role: Role,
        local: Credentials,
        rng: random.Random,
        *,
        lite: bool = False,
        consent_expiry: float = CONSENT_EXPIRY,
    ) -> None:
        self.role = Role.CONTROLLED if lite else role
        self.lite = lite
        self.local = local
        self.remote: Credentials | None = None
        self.remote_lite = False
        self.selected: dict[int, Pair] = {}
        self._random = rng
        self._consent_expiry = consent_expiry
        self._tie_breaker = rng.getrandbits(64)
        self._local: list[Candidate] = []
        self._remote: list[Candidate] = []
        self._pairs: list[Pair] = []
        self._triggered: deque[Pair] = deque()
        self._transactions: dict[bytes, Pair] = {}
        self._consents: dict[int, _Consent] = {}
        self._selected_at: dict[int, float] = {}
        self._next_check = 0.0
        self._nominate_at: float | None = None
        self._ended = False
        self._failed = False
        self._out: deque[Transmit] = deque()
        self._events: deque[Event] = deque()

    # --- what signalling says ---

    @property
    def local_candidates(self) -> tuple[Candidate, ...]:
        return tuple(self._local)

    def add_local(self, candidate: Candidate) -> None:
        self._local.append(candidate)
        for remote in self._remote:
            self._pair_up(candidate, remote)

    def set_remote(self, remote: Credentials, *, lite: bool = False) -> None:
        """The peer's credentials. A full agent facing a lite one controls (section 6.1.1)."""
        self.remote = remote
        self.remote_lite = lite
        if lite and not self.lite:
            self.role = Role.CONTROLLING

    def add_remote(self, candidate: Candidate) -> None:
        """A candidate of the peer's, from its SDP or trickled. Those beyond MAX_REMOTE are passed over."""
        known = any(c.endpoint == candidate.endpoint and c.component == candidate.component for c in self._remote)
        if known or len(self._remote) >= MAX_REMOTE:
            return
        self._failed = False
        self._remote.append(candidate)
        for local in self._local:
            self._pair_up(local, candidate)

    def end_of_candidates(self) -> None:
        """The peer names no more: if all pairs have failed, it is over."""
        self._ended = True

    # --- input ---

    def receive(self, local: Endpoint, source: Endpoint, data: bytes, now: float) -> bool:
        """A datagram that looks like STUN. True: it was authentic."""
        try:
            message = stun.parse(data)
        except (MalformedMessage, ValueError):
            return False
        match message.kind:
            case Class.REQUEST:
                return self._request(local, source, message, now)
            case Class.SUCCESS | Class.ERROR:
                return self._response(local, source, message, now)
        return False

    def usable(self, component: int) -> tuple[Endpoint, Endpoint] | None:
        """The best way to the peer so far, which need not be the one that will be selected."""
        valid = (pair for pair in self._valid() if pair.component == component)
        best = max(valid, key=self._rank, default=None)
        return None if best is None else (best.base, best.remote.endpoint)

    def moved(self, local: Endpoint, remote: Endpoint, now: float) -> None:
        """The peer's packets come on this valid pair: ours go there as well."""
        pair = next((p for p in self._valid() if (p.base, p.remote.endpoint) == (local, remote)), None)
        if pair is None or self.selected.get(pair.component) is pair:
            return
        self._select(pair, now)
        if self.role is Role.CONTROLLING and self._checking:
            pair.nominated = True
            self._check(pair, now)

    def verified(self, local: Endpoint, remote: Endpoint) -> bool:
        """Whether a valid pair leads there: the peer answered our check or, if we are lite, nominated it."""
        return any(
            pair.base == local and pair.remote.endpoint == remote and pair.state is PairState.SUCCEEDED
            for pair in self._pairs
        )

    # --- output ---

    def poll_transmit(self) -> Transmit | None:
        return self._out.popleft() if self._out else None

    def poll_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """When handle_timeout is due."""
        times = [consent.next_check for consent in self._consents.values()]
        times += [consent.granted + self._consent_expiry for consent in self._consents.values()]
        if self._checking:
            if self._triggered or self._next_waiting() is not None:
                times.append(self._next_check)
            times += [pair.resend_at for pair in self._transactions.values()]
            if self._nominate_at is not None:
                times.append(self._nominate_at)
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        self._renew_consent(now)
        if not self._checking:
            return
        for pair in list(self._transactions.values()):
            if pair.resend_at <= now:
                self._resend(pair, now)
        if self._nominate_at is not None and self._nominate_at <= now:
            self._nominate(now)
        if self._next_check <= now:
            due = self._triggered.popleft() if self._triggered else self._next_waiting()
            if due is not None:
                self._next_check = now + TA
                self._check(due, now)
        self._notice_failure()

    # --- checks ---

    @property
    def _checking(self) -> bool:
        return not self.lite and self.remote is not None

    def _pair_up(self, local: Candidate, remote: Candidate) -> Pair | None:
        if local.component != remote.component or local.endpoint.family is not remote.endpoint.family:
            return None
        for pair in self._pairs:
            if (
                pair.base == local.base
                and pair.remote.endpoint == remote.endpoint
                and pair.component == local.component
            ):
                return pair
        if len(self._pairs) >= MAX_PAIRS:
            return None
        pair = Pair(local, remote)
        self._pairs.append(pair)
        return pair

    def _rank(self, pair: Pair) -> int:
        ours, theirs = pair.local.priority, pair.remote.priority
        return pair_priority(ours, theirs) if self.role is Role.CONTROLLING else pair_priority(theirs, ours)

    def _next_waiting(self) -> Pair | None:
        waiting = (pair for pair in self._pairs if pair.state is PairState.WAITING and not self._settled(pair))
        return max(waiting, key=self._rank, default=None)

    def _settled(self, pair: Pair) -> bool:
        """The component has its pair: ordinary checks are over, triggered ones are not (section 8.1.2)."""
        return pair.component in self.selected and not pair.nominated

    def _check(self, pair: Pair, now: float) -> None:
        self._transactions.pop(pair.transaction, None)
        pair.transaction = self._random.randbytes(12)
        pair.role = self.role
        pair.sent = 0
        if pair.state is not PairState.SUCCEEDED:
            pair.state = PairState.IN_PROGRESS
        self._transactions[pair.transaction] = pair
        self._resend(pair, now)

    def _resend(self, pair: Pair, now: float) -> None:
        if pair.sent == MAX_SENT or (pair.state is PairState.IN_PROGRESS and self._settled(pair)):
            del self._transactions[pair.transaction]
            if pair.state is PairState.IN_PROGRESS:
                pair.state = PairState.FAILED
            return
        pair.resend_at = now + RTO * 2**pair.sent
        pair.sent += 1
        nominating = pair.nominated and pair.role is Role.CONTROLLING
        self._send_request(pair, pair.transaction, nominating)

    def _send_request(self, pair: Pair, transaction: bytes, nominating: bool) -> None:
        assert self.remote is not None
        controlling = pair.role is Role.CONTROLLING
        role = Attribute.ICE_CONTROLLING if controlling else Attribute.ICE_CONTROLLED
        reflexive = priority(CandidateType.PEER_REFLEXIVE, pair.local.priority >> 8 & 0xFFFF, pair.component)
        attributes = [
            (Attribute.USERNAME, f"{self.remote.ufrag}:{self.local.ufrag}".encode()),
            (Attribute.PRIORITY, reflexive.to_bytes(4)),
            (role, self._tie_breaker.to_bytes(8)),
        ]
        if nominating:
            attributes.append((Attribute.USE_CANDIDATE, b""))
        data = stun.build(Class.REQUEST, transaction, attributes, self.remote.pwd)
        self._out.append(Transmit(pair.base, pair.remote.endpoint, data))

    def _trigger(self, pair: Pair) -> None:
        if pair not in self._triggered and len(self._triggered) < MAX_TRIGGERED:
            self._triggered.append(pair)

    # --- requests ---

    def _request(self, local: Endpoint, source: Endpoint, message: Message, now: float) -> bool:
        ours, _, theirs = message.username.partition(":")
        if not message.verify(self.local.pwd) or ours != self.local.ufrag:
            return False
        if self.remote is not None and theirs != self.remote.ufrag:
            return False
        candidate = next((c for c in self._local if (c.base or c.endpoint) == local), None)
        if candidate is None or self._conflicting(local, source, message):
            return False
        response = [(Attribute.XOR_MAPPED_ADDRESS, stun.xor_address(source, message.transaction))]
        self._out.append(
            Transmit(local, source, stun.build(Class.SUCCESS, message.transaction, response, self.local.pwd))
        )
        pair = self._pair_up(candidate, self._remote_candidate(candidate.component, source, message))
        if pair is None:
            return True
        nominated = Attribute.USE_CANDIDATE in message.attributes and self.role is Role.CONTROLLED
        if self.lite:
            if nominated:
                pair.state = PairState.SUCCEEDED
                self._select(pair, now)
        elif pair.state is PairState.SUCCEEDED:
            if nominated:
                pair.nominated = True
                self._select_best(pair, now)
        else:
            pair.nominated = pair.nominated or nominated
            if pair.state is not PairState.IN_PROGRESS:
                pair.state = PairState.WAITING
                self._trigger(pair)
        return True

    def _remote_candidate(self, component: int, source: Endpoint, message: Message) -> Candidate:
        for candidate in self._remote:
            if candidate.endpoint == source and candidate.component == component:
                return candidate
        rank = message.number(Attribute.PRIORITY, 4) or 0
        found = Candidate(f"prflx{len(self._remote)}", component, rank, source, CandidateType.PEER_REFLEXIVE)
        self.add_remote(found)
        return found

    def _conflicting(self, local: Endpoint, source: Endpoint, message: Message) -> bool:
        """Both sides think they have the same role. True: the peer has been told to change, the request counts for
        nothing.
        """
        theirs = message.number(
            Attribute.ICE_CONTROLLING if self.role is Role.CONTROLLING else Attribute.ICE_CONTROLLED, 8
        )
        if theirs is None or self.lite:
            return False
        ours_wins = self._tie_breaker >= theirs
        if ours_wins == (self.role is Role.CONTROLLING):
            error = [(Attribute.ERROR_CODE, stun.error_value(stun.ROLE_CONFLICT, "Role Conflict"))]
            self._out.append(
                Transmit(local, source, stun.build(Class.ERROR, message.transaction, error, self.local.pwd))
            )
            return True
        self._switch_role()
        return False

    def _switch_role(self) -> None:
        self.role = Role.CONTROLLED if self.role is Role.CONTROLLING else Role.CONTROLLING
        self._nominate_at = None
        for pair in self._pairs:
            if pair.component not in self.selected:
                pair.nominated = False

    # --- responses ---

    def _response(self, local: Endpoint, source: Endpoint, message: Message, now: float) -> bool:
        if self.remote is None or not message.verify(self.remote.pwd):
            return False
        if self._consent_answered(source, message, now):
            return True
        pair = self._transactions.get(message.transaction)
        if pair is None:
            return False
        del self._transactions[message.transaction]
        if message.kind is Class.ERROR:
            if message.error_code == stun.ROLE_CONFLICT:
                if pair.role is self.role:
                    self._switch_role()
                pair.state = PairState.WAITING
                self._trigger(pair)
            else:
                pair.state = PairState.FAILED
            return True
        if (local, source) != (pair.base, pair.remote.endpoint):
            pair.state = PairState.FAILED  # section 7.2.5.2.1: not symmetric
            return True
        pair.state = PairState.SUCCEEDED
        if pair.nominated:
            self._select_best(pair, now)
        elif self.role is Role.CONTROLLING:
            self._plan_nomination(now)
        return True

    # --- nomination ---

    def _plan_nomination(self, now: float) -> None:
        components = {pair.component for pair in self._pairs}
        if components - self.selected.keys() - {pair.component for pair in self._valid()}:
            return
        if self._nominate_at is None:
            self._nominate_at = now + PATIENCE
        if not any(self._better_under_way(component) for component in components):
            self._nominate(now)

    def _nominate(self, now: float) -> None:
        self._nominate_at = None
        for component in {pair.component for pair in self._valid()}:
            if component not in self.selected and not any(p.nominated for p in self._of(component)):
                best = max((p for p in self._valid() if p.component == component), key=self._rank)
                best.nominated = True
                self._check(best, now)

    def _better_under_way(self, component: int) -> bool:
        best = max((self._rank(p) for p in self._valid() if p.component == component), default=-1)
        open_states = (PairState.WAITING, PairState.IN_PROGRESS)
        return any(p.state in open_states and self._rank(p) > best for p in self._of(component))

    def _select_best(self, pair: Pair, now: float) -> None:
        current = self.selected.get(pair.component)
        settled = self._selected_at.get(pair.component, now) + RENOMINATION < now
        if current is None or settled or self._rank(pair) > self._rank(current):
            self._select(pair, now)

    def _select(self, pair: Pair, now: float) -> None:
        if self.selected.get(pair.component) is pair:
            return
        self.selected[pair.component] = pair
        self._selected_at[pair.component] = now
        self._events.append(Selected(pair.component, pair.base, pair.remote.endpoint))
        if not self.lite:
            self._consents[pair.component] = _Consent(pair, now, now + self._consent_pause())

    def _valid(self) -> Iterator[Pair]:
        return (pair for pair in self._pairs if pair.state is PairState.SUCCEEDED)

    def _of(self, component: int) -> Iterator[Pair]:
        return (pair for pair in self._pairs if pair.component == component)

    def _notice_failure(self) -> None:
        over = self._ended and self._pairs and all(pair.state is PairState.FAILED for pair in self._pairs)
        if over and not self._failed and not self._triggered:
            self._failed = True
            self._events.append(Failed())

    # --- consent ---

    def _consent_pause(self) -> float:
        return self._consent_expiry / CONSENT_CHECKS * self._random.uniform(0.8, 1.2)

    def _renew_consent(self, now: float) -> None:
        for component, consent in list(self._consents.items()):
            if now >= consent.granted + self._consent_expiry:
                del self._consents[component]
                del self.selected[component]
                consent.pair.state = PairState.FAILED
                consent.pair.nominated = False
                self._failed = True
                self._events.append(ConsentLost(component))
                if self.role is Role.CONTROLLING:
                    self._plan_nomination(now)
            elif now >= consent.next_check:
                consent.next_check = now + self._consent_pause()
                consent.pair.role = self.role
                transaction = self._random.randbytes(12)
                consent.pending = [*consent.pending[-7:], transaction]
                self._send_request(consent.pair, transaction, nominating=False)

    def _consent_answered(self, source: Endpoint, message: Message, now: float) -> bool:
        for consent in self._consents.values():
            if message.transaction in consent.pending and source == consent.pair.remote.endpoint:
                consent.pending.remove(message.transaction)
                if message.kind is Class.SUCCESS:
                    consent.granted = now
                return True
        return False
