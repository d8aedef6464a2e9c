"""Where bytes become requests and replies become bytes, for whichever transport carries them.

Theory of operation of `receive`: no cookie, no answer; a cookie seen before gets the reply it had (or waits for it);
bytes that make no command are answered with an error at once; everything else is a Request, which `reply` answers later
by its id. Whatever goes wrong with one message is that message's error reply, never an exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from rtprelay.errors import OurFault, PeerFault, RelayError
from rtprelay.signalling import frame, reply
from rtprelay.signalling.command import Body, Request
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.replay import ReplayCache, Seen

PATIENCE = 60.0
"""Seconds after which an unanswered request is given up; the proxy has done so long before."""


class Peer(NamedTuple):
    """Whom to answer: the listener's own number of the socket or connection, and the address as that gave it."""

    channel: int
    address: tuple[Any, ...]

    @property
    def host(self) -> str:
        return str(self.address[0])


class Answer(msgspec.Struct, frozen=True):
    """Bytes to send back now; `fault` is what was wrong with the message, None for a repeated reply."""

    peer: Peer
    data: bytes
    fault: RelayError | None = None


class _Pending(msgspec.Struct, frozen=True, gc=False):
    peer: Peer
    cookie: bytes
    encoding: frame.Encoding
    since: float


class NgSession:
    """One for all datagrams, or one for each connection.

    `ids` numbers requests: sessions that lead to the same relay share it. Without `cookies` a message is its body
    alone, and nothing tells a repeated one from a new one.
    """

    def __init__(
        self,
        replay: ReplayCache | None = None,
        *,
        ids: Iterator[int] | None = None,
        cookies: bool = True,
        longest_reply: int = frame.MAX_DATAGRAM,
        idioms: Idioms | None = None,
    ) -> None:
        self._replay = replay if replay is not None else ReplayCache() if cookies else ReplayCache(max_entries=0)
        self._pending: dict[int, _Pending] = {}
        self._ids = itertools.count(1) if ids is None else ids
        self._split = frame.split if cookies else frame.plain
        self._longest_reply = longest_reply
        self._idioms = idioms or Idioms()

    @property
    def pending(self) -> int:
        """How many requests wait for their reply."""
        return len(self._pending)

    def receive(self, data: bytes, peer: Peer, now: float) -> Request | Answer | None:
        """One message. None: silence is the answer."""
        message = self._split(data)
        if message is None:
            return None
        seen = self._replay.begin(peer, message.cookie, now)
        if isinstance(seen, bytes):
            return Answer(peer, seen)
        if seen is Seen.IN_PROGRESS:
            return None
        self._give_up(now)
        if message.encoding is None:
            return self._refuse(message, peer, PeerFault("Invalid NG data format"))
        try:
            command = self._idioms.read(message)
        except RelayError as fault:
            return self._refuse(message, peer, fault)
        except Exception as error:
            # Ours, not theirs; but a peer that finds it must get an answer, and the others must not notice.
            internal = OurFault("Internal error")
            internal.__cause__ = error
            return self._refuse(message, peer, internal)
        request_id = next(self._ids)
        self._pending[request_id] = _Pending(peer, message.cookie, message.encoding, now)
        return Request(request_id, command, peer.host)

    def reply(self, request_id: int, body: Body) -> tuple[Peer, bytes] | None:
        """The reply's bytes and whom to send them to; None where that request was answered or given up."""
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return None
        try:
            data = frame.join(pending.cookie, pending.encoding, body, self._longest_reply)
        except (TypeError, ValueError, OverflowError):
            data = frame.join(pending.cookie, pending.encoding, reply.error("Internal error"))
        self._replay.finish(pending.peer, pending.cookie, data)
        return pending.peer, data

    def _refuse(self, message: frame.Frame, peer: Peer, fault: RelayError) -> Answer:
        data = frame.join(message.cookie, message.encoding, reply.error(fault))
        self._replay.finish(peer, message.cookie, data)
        return Answer(peer, data, fault)

    def _give_up(self, now: float) -> None:
        while self._pending:
            oldest = next(iter(self._pending))
            if self._pending[oldest].since + PATIENCE > now:
                return
            del self._pending[oldest]
