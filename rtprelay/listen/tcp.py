"""ng over TCP, and over TLS: unframed, pipelined; replies leave in the order in which they are ready.

Theory of operation of a connection. Bytes go to a Splitter, whole messages one by one to the session, the first of a
read at once and each further one in its turn (Rota). While there is something to do, or the peer does not take its
replies, or has used up its rate, or many of its requests wait for the relay, nothing more is read: TCP holds the peer
back, and the connection costs no more than one message, one reply and the buffers of its socket.

The first message has to be there in `timeout`, and so has the rest of each message once begun; replies have to be
taken in that time. Between messages a connection may be silent as long as its peer lives. With tokens the first line
has to be `Bearer TOKEN`, unless TLS has seen a client's certificate. What is not ng ends the connection, after the
error reply.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from rtprelay.errors import PeerFault
from rtprelay.listen.acl import Acl
from rtprelay.listen.door import Door, Doorman, hang_up
from rtprelay.listen.exchange import Exchange, Service, connection_session
from rtprelay.listen.limits import Rota
from rtprelay.listen.tokens import Tokens
from rtprelay.signalling.session import Peer
from rtprelay.signalling.stream import Splitter
from rtprelay.values import Endpoint

MAX_PENDING = 64
"""Requests of a connection that wait for the relay; more are not read."""
MAX_FIRST_LINE = 1024


class NgTcp:
    """All ng/TCP listeners of a relay with the same rules."""

    def __init__(
        self,
        service: Service,
        doorman: Doorman,
        rota: Rota,
        *,
        acl: Acl | None = None,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.service = service
        self.doorman = doorman
        self.rota = rota
        self.tokens = tokens or Tokens()
        self.connections: set[_Connection] = set()
        self._door = Door(lambda: _Connection(self), doorman, acl=acl, tls=tls)

    def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        return self._door.open(local)

    async def close(self) -> None:
        """Stop listening and drop whoever is connected."""
        await self._door.close()
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, listener: NgTcp) -> None:
        self._listener = listener
        service = listener.service
        self._limits = listener.doorman.limits
        self._splitter = Splitter(self._limits.message)
        self._exchange = Exchange(connection_session(service), service, lambda _, data: self._write(data))
        self._transport: asyncio.Transport
        self._peer = Peer(0, ("", 0))
        self._admitted = True
        self._reading = True
        self._writable = True
        self._ended = False
        """The peer has sent all it will; replies are still on their way."""
        self._closing = False
        self._message: bytes | None = None
        """Taken, and held back by the rate."""
        self._in_rota = False
        self._deadline: asyncio.TimerHandle | None = None
        """For the rest of a message, for replies to be taken, or for those that the relay owes."""
        self._delay: asyncio.TimerHandle | None = None

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = Peer(0, transport.get_extra_info("peername"))
        self._admitted = not self._listener.tokens or bool(transport.get_extra_info("peercert"))
        self._listener.connections.add(self)
        self._arm(self._limits.timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._listener.connections.discard(self)
        self._disarm()
        if self._delay is not None:
            self._delay.cancel()

    def data_received(self, data: bytes) -> None:
        self._splitter.feed(data)
        if not self._held():
            self._work()

    def eof_received(self) -> bool:
        self._ended = True
        if not self._held():
            self._work()
        # True: replies still go out. TLS has no such half-open state.
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._writable = False
        self._read(False)
        self._arm(self._limits.timeout)

    def resume_writing(self) -> None:
        self._writable = True
        self._disarm()
        self._go_on()

    # --- what follows from it ---

    def abort(self) -> None:
        hang_up(self._transport)

    def _held(self) -> bool:
        """Something else will call `_work`."""
        return self._closing or self._in_rota or self._delay is not None or not self._writable

    def _work(self) -> None:
        """Carry out one message, and see to what comes next."""
        if not self._admitted and not self._admit():
            self._rest()
            return
        if self._message is None:
            self._message = self._splitter.take()
        if self._message is None:
            self._rest()
            return
        self._disarm()
        doorman = self._listener.doorman
        wait = doorman.rates.wait(self._peer.host, doorman.clock())
        if wait:
            self._read(False)
            self._delay = asyncio.get_running_loop().call_later(wait, self._delayed)
            return
        message, self._message = self._message, None
        self._exchange.receive(message, self._peer)
        if self._splitter.broken:
            self._close()
        else:
            self._go_on()

    def _admit(self) -> bool:
        """Judge the first line, once it is there."""
        line = self._splitter.take_line(MAX_FIRST_LINE)
        if line is None:
            return False
        if not self._splitter.broken and self._listener.tokens.admit(line.decode("utf-8", "surrogateescape")):
            self._admitted = True
            return True
        self._listener.doorman.turned_away["token"] += 1
        self._listener.service.complain(self._peer, PeerFault("No valid token in the first line"))
        self._write(b"A line `Bearer TOKEN` is expected first\n")
        self._close()
        return False

    def _go_on(self) -> None:
        """Have the next message, if there is one, carried out in its turn."""
        if self._held():
            return
        if self._exchange.pending >= MAX_PENDING:
            self._read(False)
            self._arm(self._limits.patience)
        elif self._message is not None or len(self._splitter):
            self._read(False)
            self._in_rota = True
            self._listener.rota.enter(self._my_turn)
        else:
            self._rest()

    def _my_turn(self) -> None:
        self._in_rota = False
        if not self._held():
            self._work()

    def _delayed(self) -> None:
        self._delay = None
        self._go_on()

    def _rest(self) -> None:
        """Nothing can be done before more comes."""
        if self._closing:
            return
        if self._ended and not self._exchange.pending:
            self._close()
        elif self._ended:
            self._arm(self._limits.patience)
        else:
            if len(self._splitter) and self._deadline is None:
                self._arm(self._limits.timeout)
            self._read(True)

    def _read(self, on: bool) -> None:
        if on != self._reading and not self._closing:
            self._reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _write(self, data: bytes) -> None:
        if self._closing:
            return
        self._transport.write(data)
        if not self._reading or self._ended:
            self._go_on()

    def _close(self) -> None:
        """After what is still to be sent; the socket's own timer limits that."""
        self._closing = True
        self._disarm()
        self._transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
