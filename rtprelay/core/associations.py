"""The DTLS associations of one port: contenders, and the one that has won (RFC 5763, RFC 5764).

Rules:
- A client starts when there is a path; a server answers a ClientHello.
- Without ICE there may be one association per source, a few at most: the first whose peer shows the signalled
  certificate wins, the others never disturb it. With ICE the party is one, on whichever pair it speaks.
- A new ClientHello while an association is up comes from a party that has lost it, or begins anew: it is answered, and
  the association that is up goes on until the newcomer has shown the signalled certificate as well. Where the party
  says that it closes the association, and we are the client, it is for us to begin anew: so does Chromium when the
  section ends that carried a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from OpenSSL.SSL import Context as DtlsContext

from rtprelay.call.secure import DtlsLeg
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, DtlsState, SrtpKeys
from rtprelay.values import Endpoint

MAX_CONTENDERS = 4
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_OPENING = frozenset({20, _HANDSHAKE})
"""Content types of records by which an association comes up (RFC 6347 section 4.1)."""
_FRAGMENT_OFFSET = slice(19, 22)
_RANDOM = slice(27, 59)
"""Of a ClientHello in the first record of a datagram."""


class Path(NamedTuple):
    local: Endpoint
    remote: Endpoint


class Datagram(msgspec.Struct, frozen=True, gc=False):
    local: Endpoint
    remote: Endpoint
    data: bytes


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """The DTLS handshake of a component has given keys."""

    keys: SrtpKeys
    component: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """What the peer sent within DTLS (data channels)."""

    data: bytes


class Broken(msgspec.Struct, frozen=True, gc=False):
    """ICE or DTLS has failed for good."""

    reason: str


class _Contender(msgspec.Struct):
    path: Path
    association: DtlsAssociation
    hello: bytes
    """The random of the peer's ClientHello: one seen before is a retransmission."""


class Associations:
    """`component` as in ICE: 1 RTP and what is multiplexed with it, 2 RTCP on a port of its own, which has its own
    association (RFC 5764 section 3). `outcomes` is to be drained after each input.
    """

    def __init__(self, contexts: Callable[[str], DtlsContext], component: int) -> None:
        self._contexts = contexts
        self._component = component
        self._leg: DtlsLeg | None = None
        self._needs_keys = True
        self._single = False
        self._path: Path | None = None
        self._contenders: list[_Contender] = []
        self._winner: _Contender | None = None
        self._keyed = False
        self._out: list[Datagram | Keyed | Message | Broken] = []

    def update(self, leg: DtlsLeg, *, single: bool, needs_keys: bool, has_keys: bool) -> None:
        """What signalling says. `single`: ICE vouches for whoever is heard."""
        before, self._leg = self._leg, leg
        self._single = single
        self._needs_keys = needs_keys
        if before is None:
            self._keyed = has_keys  # taken over from a predecessor, keys and all
        elif before.fingerprints and _bound_to(before) != _bound_to(leg):
            self._contenders.clear()
            self._winner = None
            self._keyed = False
        for each in list(self._contenders):
            if leg.fingerprints:
                each.association.expect(leg.fingerprints)
            self._drain(each)
        self._start()

    def follow(self, path: Path | None) -> None:
        """The party is spoken to there from now on; None: that is not known."""
        self._path = path
        if path is not None and self._single:
            for each in (*filter(None, (self._winner,)), *self._contenders):
                each.path = path
        self._start()

    def lose(self) -> None:
        """Nothing may be sent to the party any more (RFC 7675 section 5.1)."""
        self._path = None
        self._contenders.clear()

    def receive(self, path: Path, data: bytes) -> None:
        """A datagram of a source that may be heard."""
        each = self._addressed(path, data)
        if each is not None:
            each.association.receive(data)
            self._drain(each)

    def send(self, message: bytes) -> None:
        """Within DTLS, if it is up."""
        if self._winner is not None:
            self._winner.association.send(message)
            self._drain(self._winner)

    def tick(self) -> None:
        for each in list(self._contenders):
            each.association.handle_timeout()
            self._drain(each)

    def poll_timeout(self, now: float) -> float | None:
        times = (each.association.poll_timeout(now) for each in self._contenders)
        return min((time for time in times if time is not None), default=None)

    def outcomes(self) -> Iterator[Datagram | Keyed | Message | Broken]:
        while self._out:
            yield self._out.pop(0)

    def _start(self) -> None:
        """As the client, if that is what we are."""
        leg = self._leg
        if leg is None or leg.setup != "active" or not leg.fingerprints or self._keyed or self._winner is not None:
            return
        if self._path is not None and all(each.path != self._path for each in self._contenders):
            self._contend(self._path, DtlsRole.CLIENT, b"")

    def _addressed(self, path: Path, data: bytes) -> _Contender | None:
        """Whose datagram it is; None: nobody's."""
        hello = _hello(data)
        contender = next((each for each in self._contenders if self._single or each.path == path), None)
        winner = self._winner if self._winner is not None and (self._single or self._winner.path == path) else None
        if winner is not None and contender is not None and hello not in (None, winner.hello, contender.hello):
            self._contenders.remove(contender)  # the party has given that one up
            contender = None
        if contender is None and hello is not None and (winner is None or hello != winner.hello):
            return self._answering(path, hello)
        return contender if contender is not None and (winner is None or data[0] in _OPENING) else winner

    def _answering(self, path: Path, hello: bytes) -> _Contender | None:
        assert self._leg is not None
        if self._leg.setup == "active" or len(self._contenders) >= MAX_CONTENDERS:
            return None
        return self._contend(path, DtlsRole.SERVER, hello)

    def _contend(self, path: Path, role: DtlsRole, hello: bytes) -> _Contender:
        assert self._leg is not None
        context = self._contexts(self._leg.certificate)
        contender = _Contender(path, DtlsAssociation(context, role, self._leg.fingerprints), hello)
        self._contenders.append(contender)
        self._drain(contender)
        return contender

    def _drain(self, each: _Contender) -> None:
        association = each.association
        while (data := association.poll_transmit()) is not None:
            self._out.append(Datagram(each.path.local, each.path.remote, data))
        if each is self._winner:
            self._notice_end(each)
        elif association.state is DtlsState.CONNECTED:
            self._won(each)
        elif association.state in (DtlsState.FAILED, DtlsState.CLOSED):
            self._contenders.remove(each)
            if self._winner is None and not self._contenders:
                self._out.append(Broken(f"DTLS failed: {association.failure}"))
        while (message := association.poll_message()) is not None:
            self._out.append(Message(message))

    def _notice_end(self, winner: _Contender) -> None:
        """The party has closed the association: its keys hold until it has another one."""
        if winner.association.state is DtlsState.CLOSED:
            self._winner = None
            self._keyed = False
            self._start()

    def _won(self, each: _Contender) -> None:
        self._winner = each
        self._contenders.clear()
        self._keyed = True
        if each.association.keys is not None:
            self._out.append(Keyed(each.association.keys, self._component))
        elif self._needs_keys:
            self._out.append(Broken("DTLS failed: no SRTP profile in common"))


def _bound_to(leg: DtlsLeg) -> tuple[object, ...]:
    """Another one of these asks for a new association (RFC 8842 section 5.1)."""
    return leg.fingerprints, leg.remote_tls_id, leg.certificate, leg.tls_id


def _hello(data: bytes) -> bytes | None:
    """The random of a ClientHello in a handshake record of epoch 0 (RFC 6347 sections 4.1, 4.2.2); None: it is none, or
    a further fragment of one.
    """
    opening = len(data) > 25 and data[0] == _HANDSHAKE and data[3:5] == b"\0\0" and data[13] == _CLIENT_HELLO
    return data[_RANDOM] if opening and data[_FRAGMENT_OFFSET] == bytes(3) else None
