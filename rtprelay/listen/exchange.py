"""What all transports of ng have in common: a message in, a request to the relay, its reply out, at once or later.

A request that fails costs its own reply only: an internal error on the wire, the exception with the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Iterator

import msgspec

from rtprelay.errors import RelayError
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Request
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.replay import ReplayCache
from rtprelay.signalling.session import Answer, NgSession, Peer

Respond = Callable[[Body], None]
Handler = Callable[[Request, Respond], None]
Complaint = Callable[[Peer, RelayError], None]
Stopwatch = Callable[[Request, float], None]


def _nobody(*_: object) -> None:
    """Nobody wants to know."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What every ng listener of a relay leads to.

    `handle` gets each request and what to call with its reply, at once or later. `complain` is told of messages that
    were refused, `took` how many seconds a reply took. `ids` numbers the requests of all. `clock` is CLOCK_MONOTONIC.
    """

    handle: Handler
    complain: Complaint = _nobody
    took: Stopwatch = _nobody
    clock: Callable[[], float] = time.monotonic
    ids: Iterator[int] = msgspec.field(default_factory=lambda: itertools.count(1))
    idioms: Idioms = msgspec.field(default_factory=Idioms)


LONGEST_REPLY = 4 << 20
"""On a connection; a datagram holds less."""
_REPLAY_BYTES = 256 << 10


def connection_session(service: Service) -> NgSession:
    """A session for one connection: its cookies are nobody else's."""
    return NgSession(
        ReplayCache(max_bytes=_REPLAY_BYTES), ids=service.ids, longest_reply=LONGEST_REPLY, idioms=service.idioms
    )


class Exchange:
    """Between one session and the relay; `send` takes the replies back."""

    def __init__(self, session: NgSession, service: Service, send: Callable[[Peer, bytes], None]) -> None:
        self._session = session
        self._service = service
        self._send = send

    @property
    def pending(self) -> int:
        """How many requests wait for their reply."""
        return self._session.pending

    def receive(self, data: bytes, peer: Peer) -> bool:
        """One message. False: no reply will come."""
        service = self._service
        now = service.clock()
        message = self._session.receive(data, peer, now)
        if message is None:
            return False
        if isinstance(message, Answer):
            self._send(message.peer, message.data)
            if message.fault is not None:
                service.complain(message.peer, message.fault)
            return True
        respond = functools.partial(self._reply, message, now)
        try:
            service.handle(message, respond)
        except Exception as error:
            # One request's failure must not end the loop that serves the others.
            respond(reply.error("Internal error"))
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"request from {peer.host} failed", "exception": error}
            )
        return True

    def _reply(self, request: Request, since: float, body: Body) -> None:
        answer = self._session.reply(request.request_id, body)
        if answer is not None:
            self._send(*answer)
            self._service.took(request, self._service.clock() - since)


class Question:
    """An exchange for those who wait for each reply: HTTP requests, and WebSockets, which take turns with their own."""

    def __init__(self, session: NgSession, service: Service, patience: float) -> None:
        self._exchange = Exchange(session, service, self._arrived)
        self._patience = patience
        self._waiting: dict[Peer, asyncio.Future[bytes]] = {}

    async def ask(self, data: bytes, peer: Peer) -> bytes | None:
        """The reply to a message; None: there is none. One at a time for each peer. Raises TimeoutError."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[peer] = future
        try:
            if not self._exchange.receive(data, peer):
                return None
            async with asyncio.timeout(self._patience):
                return await future
        finally:
            del self._waiting[peer]

    def _arrived(self, peer: Peer, data: bytes) -> None:
        future = self._waiting.get(peer)
        if future is not None and not future.done():
            future.set_result(data)
