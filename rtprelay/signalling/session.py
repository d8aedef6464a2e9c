"""Where bytes become requests and replies become bytes, for whichever transport carries them.

Theory of operation of `receive`: no cookie, no answer; a cookie seen before gets the reply it had (or waits for it);
bytes that make no command are answered with an error at once; everything else is a Request, which `reply` answers later
by its id. Whatever goes wrong with one message is that message's error reply, never an exception.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rtprelay.errors import OurFault, PeerFault, RelayError
from rtprelay.signalling import frame, reply
from rtprelay.signalling.command import Body, Request
from rtprelay.signalling.parse import parse_command
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


class _Pending(NamedTuple):
    peer: Peer
    cookie: bytes
    encoding: frame.Encoding
    since: float


class NgSession:
    """One for all listeners of a relay: request ids are unique within it."""

    def __init__(self, replay: ReplayCache | None = None) -> None:
        self._replay = ReplayCache() if replay is None else replay
        self._pending: dict[int, _Pending] = {}
        self._next_id = 1

    def receive(self, data: bytes, peer: Peer, now: float) -> Request | Answer | None:
        """One message. None: silence is the answer."""
        message = frame.split(data)
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
            command = parse_command(frame.decode(message))
        except RelayError as fault:
            return self._refuse(message, peer, fault)
        except Exception as error:
            # Ours, not theirs; but a peer that finds it must get an answer, and the others must not notice.
            internal = OurFault("Internal error")
            internal.__cause__ = error
            return self._refuse(message, peer, internal)
        request_id, self._next_id = self._next_id, self._next_id + 1
        self._pending[request_id] = _Pending(peer, message.cookie, message.encoding, now)
        return Request(request_id, command, peer.host)

    def reply(self, request_id: int, body: Body) -> tuple[Peer, bytes] | None:
        """The reply's bytes and whom to send them to; None where that request was answered or given up."""
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return None
        try:
            data = frame.join(pending.cookie, pending.encoding, body)
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
