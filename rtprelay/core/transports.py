"""The ICE and DTLS transports of all calls: made and renewed as signalling says, fed with packets and time; what they
come to (paths, keys) goes into the call and its flows."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core.effects import Effect, Notify, SendDatagram
from rtprelay.core.identity import DtlsIdentity
from rtprelay.core.timers import Timers
from rtprelay.core.transport import Broken, Datagram, Keyed, Message, PathChanged, Transport
from rtprelay.ice.candidate import RTP
from rtprelay.negotiate.ice import candidates
from rtprelay.security.sdes import CryptoLine
from rtprelay.values import CallId, Endpoint

if TYPE_CHECKING:
    from rtprelay.core.registry import Registry


class Key(NamedTuple):
    call_id: CallId
    party: int
    section: int


class Transports:
    def __init__(self, identity: DtlsIdentity) -> None:
        self.identity = identity
        self._transports: dict[Key, Transport] = {}
        self._keys: defaultdict[CallId, set[Key]] = defaultdict(set)
        self._timers: Timers[Key] = Timers()

    def sync(self, registry: Registry, call: Call, now: float) -> Iterable[Effect]:
        """The call has been negotiated: its transports follow."""
        wanted = {
            Key(call.call_id, party.number, media.index): media
            for party, media in call.medias()
            if media.local is not None and media.transport is None and (media.ice or media.dtls) is not None
        }
        if not wanted and call.call_id not in self._keys:
            return ()
        self._succeed(call, wanted)
        effects: list[Effect] = []
        for key, media in wanted.items():
            transport = self._transports.get(key)
            if transport is None:
                transport = self._transports[key] = Transport(
                    self.identity.context,
                    registry.random,
                    consent_expiry=registry.settings.ice_consent_timeout,
                )
                self._keys[call.call_id].add(key)
            transport.update(media, candidates(media, registry.interfaces.advertised))
            effects += self._settle(registry, key, call, media, now)
        return effects

    def _succeed(self, call: Call, wanted: Mapping[Key, Media]) -> None:
        """Transports of sections that have none any more go, unless another section carries their bundle on."""
        for key in self._keys.get(call.call_id, set()) - wanted.keys():
            transport = self._transports[key]
            heirs = (k for k, m in wanted.items() if k.party == key.party and transport.uses(m.local))
            heir = next((k for k in heirs if k not in self._transports), None)
            self._drop(key)
            if heir is not None:
                self._transports[heir] = transport
                self._keys[call.call_id].add(heir)

    def rename(self, call_id: CallId, other: CallId, shift: int) -> None:
        """The parties of a call are those of another one from now on, under numbers that are greater by `shift`."""
        for key in list(self._keys.get(call_id, ())):
            transport, due = self._transports[key], self._timers.due(key)
            self._drop(key)
            new = Key(other, key.party + shift, key.section)
            self._transports[new] = transport
            self._keys[other].add(new)
            if due is not None:
                self._timers.schedule(new, due)

    def forget(self, call_id: CallId) -> None:
        for key in list(self._keys.get(call_id, ())):
            self._drop(key)

    def stun(self, registry: Registry, key: Key, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
        transport = self._transports.get(key)
        if transport is not None and transport.uses(local):
            transport.stun(local, source, data, now)
            registry.emit(*self._settled(registry, key, now))

    def dtls(self, registry: Registry, key: Key, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
        transport = self._transports.get(key)
        if transport is not None and transport.uses(local):
            transport.dtls(local, source, data)
            registry.emit(*self._settled(registry, key, now))

    def moved(self, registry: Registry, key: Key, local: Endpoint, source: Endpoint, now: float) -> None:
        transport = self._transports.get(key)
        if transport is not None:
            transport.moved(local, source, now)
            registry.emit(*self._settled(registry, key, now))

    def verified(self, key: Key, local: Endpoint, source: Endpoint) -> bool:
        transport = self._transports.get(key)
        return transport is not None and transport.verified(local, source)

    def tick(self, registry: Registry, now: float) -> None:
        for key in self._timers.pop_due(now):
            # One by one, so that a fault in one does not stop the others.
            registry.queue.later(functools.partial(self._tick, registry, key, now), key.call_id)

    def _tick(self, registry: Registry, key: Key, now: float) -> Iterable[Effect]:
        transport = self._transports.get(key)
        if transport is None:
            return ()
        transport.tick(now)
        return self._settled(registry, key, now)

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    def _drop(self, key: Key) -> None:
        del self._transports[key]
        self._keys[key.call_id].remove(key)
        if not self._keys[key.call_id]:
            del self._keys[key.call_id]
        self._timers.forget(key)

    def _settled(self, registry: Registry, key: Key, now: float) -> Iterable[Effect]:
        call = registry.calls[key.call_id]
        return self._settle(registry, key, call, call.parties[key.party].medias[key.section], now)

    def _settle(self, registry: Registry, key: Key, call: Call, media: Media, now: float) -> Iterable[Effect]:
        """What the transport has come to, as effects; a new path or key changes the flows first."""
        transport = self._transports[key]
        before = _settled_on(media)
        effects: list[Effect] = []
        for outcome in transport.outcomes():
            match outcome:
                case Datagram(local, remote, data):
                    effects.append(SendDatagram(local, remote, data))
                case Message(data):
                    effects += self._pass_on(registry, key, call, media, data, now)
                case _:
                    effects.append(_take_over(outcome, media, call))
        if _settled_on(media) != before:
            effects = [*registry.replan(call), registry.persist(call), *effects]
        due = transport.poll_timeout(now)
        if due is not None:
            self._timers.schedule(key, due)
        return effects

    def _pass_on(
        self, registry: Registry, key: Key, call: Call, carrier: Media, message: bytes, now: float
    ) -> Iterator[Effect]:
        """What came within DTLS goes on within the DTLS of the other side's data channel."""
        party = call.parties[key.party]
        channels = {m.index for m in party.medias if m.channel and m.live and party.carrier(m) is carrier}
        for s in call.subscriptions:
            muted = s.blocked or party.blocked
            sink = call.media(s.sink)
            if s.source.party != key.party or s.source.index not in channels or muted or sink is None:
                continue
            other = Key(call.call_id, s.sink.party, call.parties[s.sink.party].carrier(sink).index)
            transport = self._transports.get(other)
            if transport is not None:
                transport.send(message)
                registry.touch(call.call_id, now)
                registry.totals.user.add(1, len(message), 0)
                yield from self._settled(registry, other, now)


def _settled_on(media: Media) -> tuple[object, ...]:
    """What the flows are made of."""
    paths = (media.local, media.source, media.source_rtcp)
    return (*paths, media.crypto_receive, media.crypto_rtcp_receive)


def _take_over(outcome: PathChanged | Keyed | Broken, media: Media, call: Call) -> Notify:
    """Carries the outcome over into the media."""
    match outcome:
        case PathChanged(component, local, remote):
            if component == RTP and local is not None and remote is not None:
                media.use(local, remote)
            elif component == RTP:
                media.source = None
            else:
                media.source_rtcp = remote
            fields = {"port": str(media.local), "component": component, "source": str(remote)}
            return Notify("path selected" if remote is not None else "consent lost", call.call_id, fields)
        case Keyed(keys, component):
            send, receive = CryptoLine(0, keys.send), CryptoLine(0, keys.receive)
            if component == RTP:
                media.crypto_send, media.crypto_receive = send, receive
            else:
                media.crypto_rtcp_send, media.crypto_rtcp_receive = send, receive
            fields = {"port": str(media.local), "component": component, "suite": keys.send.suite.name}
            return Notify("DTLS connected", call.call_id, fields)
        case Broken(reason):
            fields = {"port": str(media.local), "reason": reason}
            return Notify("transport failed", call.call_id, fields, level="warning")
