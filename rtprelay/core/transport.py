"""One ICE and DTLS transport at work: the agents of a media (or of a bundle), fed with the packets of its port.

Rules:
- STUN goes to the ICE agent. The pair it selects is where the party's packets come from and go to.
- DTLS is heard from verified sources only: with ICE those of a valid pair, without ICE the party's own host. So nobody
  else can race with a ClientHello (CVE-2023-49786). The last flight of a pair that is still being checked is kept and
  heard once it is valid: discarding it would cost the peer's retransmission timer.
- Without ICE, one association per source, a few at most; the first whose certificate is the signalled one wins, the
  others never disturb it.
- A client starts when there is a path; a server answers. Keys come out once the fingerprint has been found right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from OpenSSL.SSL import Context as DtlsContext

from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg, IceLeg
from rtprelay.ice.agent import ConsentLost, Event, Failed, IceAgent, Role, Selected
from rtprelay.ice.candidate import Candidate
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, DtlsState, SrtpKeys
from rtprelay.values import Endpoint

MAX_ASSOCIATIONS = 4
MAX_WAITING = 4


class Path(NamedTuple):
    local: Endpoint
    remote: Endpoint


class Datagram(msgspec.Struct, frozen=True):
    local: Endpoint
    remote: Endpoint
    data: bytes


class PathChanged(msgspec.Struct, frozen=True):
    """A pair was selected for a component, or (remote None) lost."""

    component: int
    local: Endpoint | None
    remote: Endpoint | None


class Keyed(msgspec.Struct, frozen=True):
    """The DTLS handshake has given keys."""

    keys: SrtpKeys


class Message(msgspec.Struct, frozen=True):
    """What the peer sent within DTLS (data channels)."""

    data: bytes


class Broken(msgspec.Struct, frozen=True):
    """ICE or DTLS has failed for good."""

    reason: str


Outcome = Datagram | PathChanged | Keyed | Message | Broken


class Transport:
    """`update` tells what signalling says; `receive` and `tick` feed it; `outcomes` is to be drained after each."""

    def __init__(self, contexts: Callable[[str], DtlsContext], rng: random.Random) -> None:
        self._contexts = contexts
        self._random = rng
        self._ice: IceAgent | None = None
        self._dtls: DtlsLeg | None = None
        self._locals: tuple[Endpoint, ...] = ()
        self._path: Path | None = None
        """The one selected; without ICE, the one that signalling says."""
        self._associations: dict[Path, DtlsAssociation] = {}
        self._winner: DtlsAssociation | None = None
        self._waiting: dict[Path, bytes] = {}
        self._keyed = False
        self._needs_keys = True
        self._out: list[Outcome] = []

    @property
    def locals(self) -> tuple[Endpoint, ...]:
        """The ports it is at work on."""
        return self._locals

    def update(self, media: Media, candidates: tuple[Candidate, ...]) -> None:
        """Take over the media's ICE and DTLS legs; unchanged ones go on undisturbed."""
        self._locals = media.rtp_ports
        self._needs_keys = media.rtp
        self._update_ice(media.ice, candidates)
        if self._ice is None:
            self._path = Path(media.local, media.expected) if media.local and media.expected else None
        self._update_dtls(media.dtls, has_keys=media.crypto_receive is not None)

    def _update_ice(self, leg: IceLeg | None, candidates: tuple[Candidate, ...]) -> None:
        if leg is None:
            self._ice = None
            return
        restarted = self._ice is not None and self._ice.remote not in (None, leg.remote)
        if self._ice is None or restarted or (self._ice.local, self._ice.lite) != (leg.local, leg.lite):
            role = Role.CONTROLLING if leg.controlling else Role.CONTROLLED
            self._ice = IceAgent(role, leg.local, self._random, lite=leg.lite)
        agent = self._ice
        known = {(c.component, c.base) for c in agent.local_candidates}
        for candidate in candidates:
            if (candidate.component, candidate.base) not in known:
                agent.add_local(candidate)
        if leg.remote is not None:
            agent.set_remote(leg.remote, lite=leg.remote_lite)
            for candidate in leg.candidates:
                agent.add_remote(candidate)
            if leg.ended:
                agent.end_of_candidates()

    def _update_dtls(self, leg: DtlsLeg | None, *, has_keys: bool) -> None:
        before, self._dtls = self._dtls, leg
        if leg is None:
            self._associations.clear()
            self._winner = None
            return
        if before is None:
            self._keyed = has_keys  # taken over from a predecessor, keys and all
        elif before.fingerprints and _association(before) != _association(leg):
            self._associations.clear()
            self._winner = None
            self._keyed = False
        for path, association in list(self._associations.items()):
            if leg.fingerprints:
                association.expect(leg.fingerprints)
            self._drain_dtls(path, association)
        self._start_client()

    # --- input ---

    def stun(self, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
        if self._ice is not None:
            self._ice.receive(local, source, data, now)
            self._drain_ice(now)

    def dtls(self, local: Endpoint, source: Endpoint, data: bytes) -> None:
        if self._dtls is None or local not in self._locals:
            return
        path = Path(local, source)
        if self._heard(path):
            self._feed(path, data)
        elif self._ice is not None and len(self._waiting) < MAX_WAITING:
            self._waiting[path] = data

    def tick(self, now: float) -> None:
        if self._ice is not None:
            self._ice.handle_timeout(now)
            self._drain_ice(now)
        for path, association in list(self._associations.items()):
            association.handle_timeout()
            self._drain_dtls(path, association)

    def send(self, message: bytes) -> None:
        """Within DTLS, if it is up."""
        for path, association in self._associations.items():
            if association is self._winner:
                association.send(message)
                self._drain_dtls(path, association)

    def verified(self, local: Endpoint, source: Endpoint) -> bool:
        """Whether ICE vouches for the source."""
        return self._ice is not None and self._ice.verified(local, source)

    # --- output ---

    def poll_timeout(self, now: float) -> float | None:
        times = [self._ice.poll_timeout()] if self._ice is not None else []
        times += [association.poll_timeout(now) for association in self._associations.values()]
        return min((time for time in times if time is not None), default=None)

    def outcomes(self) -> Iterator[Outcome]:
        while self._out:
            yield self._out.pop(0)

    # --- ICE ---

    def _drain_ice(self, now: float) -> None:
        assert self._ice is not None
        while (transmit := self._ice.poll_transmit()) is not None:
            self._out.append(Datagram(transmit.local, transmit.remote, transmit.data))
        while (event := self._ice.poll_event()) is not None:
            self._on_ice(event)
        for path, data in list(self._waiting.items()):
            if self._heard(path):
                del self._waiting[path]
                self._feed(path, data)

    def _on_ice(self, event: Event) -> None:
        match event:
            case Selected(component, local, remote):
                self._out.append(PathChanged(component, local, remote))
                if component == 1:
                    self._path = Path(local, remote)
                    self._start_client()
            case ConsentLost(component):
                self._out.append(PathChanged(component, None, None))
            case Failed():
                self._out.append(Broken("ICE failed: no pair of candidates works"))

    # --- DTLS ---

    def _heard(self, path: Path) -> bool:
        if self._ice is not None:
            return self._ice.verified(*path)
        return self._path is None or path.remote.address == self._path.remote.address

    def _start_client(self) -> None:
        leg = self._dtls
        if leg is None or leg.setup != "active" or not leg.fingerprints or self._keyed or self._winner is not None:
            return
        if self._path is not None and self._path not in self._associations:
            self._associate(self._path, DtlsRole.CLIENT)

    def _feed(self, path: Path, data: bytes) -> None:
        association = self._associations.get(path)
        if association is None and self._ice is not None and self._associations:
            association = next(iter(self._associations.values()))  # the same peer on another valid pair
        if association is None or association.state in (DtlsState.FAILED, DtlsState.CLOSED):
            if self._dtls is None or self._dtls.setup == "active" or not _client_hello(data):
                return
            if len(self._associations) >= MAX_ASSOCIATIONS:
                return
            association = self._associate(path, DtlsRole.SERVER)
        association.receive(data)
        self._drain_dtls(path, association)

    def _associate(self, path: Path, role: DtlsRole) -> DtlsAssociation:
        assert self._dtls is not None
        context = self._contexts(self._dtls.certificate)
        association = self._associations[path] = DtlsAssociation(context, role, self._dtls.fingerprints)
        self._drain_dtls(path, association)
        return association

    def _drain_dtls(self, path: Path, association: DtlsAssociation) -> None:
        while (data := association.poll_transmit()) is not None:
            self._out.append(Datagram(path.local, path.remote, data))
        if association.state is DtlsState.CONNECTED and association is not self._winner:
            self._won(path, association)
        elif association.state is DtlsState.FAILED and association is not self._winner:
            self._associations.pop(path, None)
            if self._winner is None and not self._associations:
                self._out.append(Broken(f"DTLS failed: {association.failure}"))

        while (message := association.poll_message()) is not None:
            self._out.append(Message(message))

    def _won(self, path: Path, association: DtlsAssociation) -> None:
        self._winner = association
        self._keyed = True
        self._associations = {path: association}
        if association.keys is not None:
            self._out.append(Keyed(association.keys))
        elif self._needs_keys:
            self._out.append(Broken("DTLS failed: no SRTP profile in common"))


def _association(leg: DtlsLeg) -> tuple[object, ...]:
    """What an association is bound to: another one asks for a new handshake (RFC 8842 section 5.1)."""
    return leg.fingerprints, leg.remote_tls_id, leg.certificate


def _client_hello(data: bytes) -> bool:
    """A handshake record of epoch 0 whose message is a ClientHello (RFC 6347 sections 4.1, 4.2.2)."""
    return len(data) > 13 and data[0] == 22 and data[3:5] == b"\0\0" and data[13] == 1
