"""One ICE and DTLS transport at work: the agents of a media (or of a bundle), fed with the packets of its ports.

Rules:
- STUN goes to the ICE agent. The pair it selects is where the party's packets come from and go to.
- DTLS is heard from verified sources only: with ICE those of a valid pair, without ICE the party's own host. So nobody
  else can race with a ClientHello (CVE-2023-49786). The last flight of a pair that is still being checked is kept and
  heard once it is valid: discarding it would cost the peer's retransmission timer.
- RTCP on a port of its own has a DTLS association of its own (`associations`). Keys come out once the fingerprint has
  been found right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import msgspec
from OpenSSL.SSL import Context as DtlsContext

from rtprelay.call.media import Media
from rtprelay.call.secure import IceLeg
from rtprelay.core.associations import Associations, Broken, Datagram, Keyed, Message, Path
from rtprelay.ice.agent import CONSENT_EXPIRY, ConsentLost, Event, Failed, IceAgent, Role, Selected
from rtprelay.ice.candidate import RTCP, RTP, Candidate
from rtprelay.values import Endpoint

__all__ = ["Broken", "Datagram", "Keyed", "Message", "PathChanged", "Transport"]

MAX_WAITING = 4


class PathChanged(msgspec.Struct, frozen=True, gc=False):
    """A pair was selected for a component, or (remote None) lost."""

    component: int
    local: Endpoint | None
    remote: Endpoint | None


Outcome = Datagram | PathChanged | Keyed | Message | Broken


class Transport:
    """`update` tells what signalling says; `receive` and `tick` feed it; `outcomes` is to be drained after each."""

    def __init__(
        self,
        contexts: Callable[[str], DtlsContext],
        rng: random.Random,
        *,
        consent_expiry: float = CONSENT_EXPIRY,
    ) -> None:
        self._contexts = contexts
        self._random = rng
        self._consent_expiry = consent_expiry
        self._ice: IceAgent | None = None
        self._components: dict[Endpoint, int] = {}
        """Of the ports it is at work on."""
        self._paths: dict[int, Path] = {}
        """Those selected; without ICE, those that signalling says."""
        self._associations: dict[int, Associations] = {}
        self._waiting: dict[Path, bytes] = {}
        self._out: list[Outcome] = []

    def uses(self, local: Endpoint | None) -> bool:
        """Whether it is at work on that port."""
        return local in self._components

    def update(self, media: Media, candidates: tuple[Candidate, ...]) -> None:
        """Take over the media's ICE and DTLS legs; unchanged ones go on undisturbed."""
        self._components = dict.fromkeys(media.rtp_ports, RTP)
        if media.rtp and media.local_rtcp is not None and not media.rtcp_mux:
            self._components[media.local_rtcp] = RTCP
        self._update_ice(media.ice, candidates)
        if self._ice is None:
            ways = {RTP: (media.local, media.expected), RTCP: (media.local_rtcp, media.expected_rtcp)}
            self._paths = {c: Path(local, remote) for c, (local, remote) in ways.items() if local and remote}
        self._update_dtls(media)

    def _update_ice(self, leg: IceLeg | None, candidates: tuple[Candidate, ...]) -> None:
        if leg is None:
            self._ice = None
            return
        restarted = self._ice is not None and self._ice.remote not in (None, leg.remote)
        if self._ice is None or restarted or (self._ice.local, self._ice.lite) != (leg.local, leg.lite):
            role = Role.CONTROLLING if leg.controlling else Role.CONTROLLED
            self._ice = IceAgent(role, leg.local, self._random, lite=leg.lite, consent_expiry=self._consent_expiry)
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

    def _update_dtls(self, media: Media) -> None:
        for component in list(self._associations):
            if media.dtls is None or component not in self._components.values():
                del self._associations[component]
        for component in sorted(set(self._components.values())) if media.dtls is not None else ():
            associations = self._associations.get(component)
            if associations is None:
                associations = self._associations[component] = Associations(self._contexts, component)
            known = media.crypto_receive if component == RTP else media.crypto_rtcp_receive
            assert media.dtls is not None
            associations.update(
                media.dtls, single=self._ice is not None, needs_keys=media.rtp, has_keys=known is not None
            )
            associations.follow(self._paths.get(component))
            self._out.extend(associations.outcomes())

    # --- input ---

    def stun(self, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
        if self._ice is not None:
            self._ice.receive(local, source, data, now)
            self._drain_ice(now)

    def dtls(self, local: Endpoint, source: Endpoint, data: bytes) -> None:
        path = Path(local, source)
        if self._associations_at(local) is None:
            return
        if self._heard(path):
            self._feed(path, data)
        elif self._ice is not None and len(self._waiting) < MAX_WAITING:
            self._waiting[path] = data

    def moved(self, local: Endpoint, source: Endpoint, now: float) -> None:
        """The party's packets come from another pair that is valid."""
        if self._ice is not None:
            self._ice.moved(local, source, now)
            self._drain_ice(now)

    def tick(self, now: float) -> None:
        if self._ice is not None:
            self._ice.handle_timeout(now)
            self._drain_ice(now)
        for associations in self._associations.values():
            associations.tick()
            self._out.extend(associations.outcomes())

    def send(self, message: bytes) -> None:
        """Within DTLS, if it is up."""
        associations = self._associations.get(RTP)
        if associations is not None:
            associations.send(message)
            self._out.extend(associations.outcomes())

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
        self._begin()
        for path, data in list(self._waiting.items()):
            if self._heard(path):
                del self._waiting[path]
                self._feed(path, data)

    def _begin(self) -> None:
        """DTLS need not wait until a pair is selected, a valid one will do: it costs one round trip less."""
        for component, associations in self._associations.items():
            usable = self._ice.usable(component) if self._ice is not None and component not in self._paths else None
            if usable is not None:
                associations.follow(Path(*usable))
                self._out.extend(associations.outcomes())

    def _on_ice(self, event: Event) -> None:
        match event:
            case Selected(component, local, remote):
                self._out.append(PathChanged(component, local, remote))
                self._follow(component, Path(local, remote))
            case ConsentLost(component):
                self._out.append(PathChanged(component, None, None))
                self._paths.pop(component, None)
                if (associations := self._associations.get(component)) is not None:
                    associations.lose()
            case Failed():
                self._out.append(Broken("ICE failed: no pair of candidates works"))

    def _follow(self, component: int, path: Path) -> None:
        self._paths[component] = path
        associations = self._associations.get(component)
        if associations is not None:
            associations.follow(path)
            self._out.extend(associations.outcomes())

    # --- DTLS ---

    def _heard(self, path: Path) -> bool:
        if self._ice is not None:
            return self._ice.verified(*path)
        known = self._paths.get(self._components[path.local])
        return known is None or path.remote.address == known.remote.address

    def _associations_at(self, local: Endpoint) -> Associations | None:
        return self._associations.get(self._components.get(local, 0))

    def _feed(self, path: Path, data: bytes) -> None:
        associations = self._associations_at(path.local)
        if associations is not None:
            associations.receive(path, data)
            self._out.extend(associations.outcomes())
