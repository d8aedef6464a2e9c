"""The door of the stream listeners: who comes in is judged before a byte of his is read.

Theory of operation. A connection is accepted, and closed at once where its address is not on the list, comes too often,
or there is no room. Otherwise it takes a place, which it has until its socket is closed, by whomever: handshakes that
never end and replies that are never read count as much as connections at work. Two kernel timers see to it that sockets
do close: TCP_USER_TIMEOUT (RFC 5482) ends a connection whose peer takes no data or acknowledges none, keep-alive probes
(RFC 9293 section 3.8.4) one whose peer is gone without a word.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from rtprelay.listen.acl import Acl
from rtprelay.listen.limits import TLS_COST, Limits, Places, Rates
from rtprelay.values import Endpoint, Family

BACKLOG = 128
_ACCEPTS = 16
"""Between two turns of the event loop."""
_OUT_OF_FILES = 1.0
"""Seconds to wait where not even a connection to be refused can be accepted."""
_SEND_BUFFER = 64 << 10
"""The kernel doubles it. Left to itself it takes 4 MB."""
_RESET = struct.pack("ii", 1, 0)
"""struct linger (socket(7)): on, for no time."""
_PROBE_IDLE, _PROBE_INTERVAL, _PROBES = 60, 10, 3


class Doorman:
    """What all doors of a relay share: limits, places, rates, and the count of those turned away, by reason."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.clock = clock
        self.places = Places(limits)
        self.rates = Rates(limits.rate)
        self.turned_away: Counter[str] = Counter()


class Door:
    """Listening sockets that lead to the same protocol, with TLS where there is a context."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        doorman: Doorman,
        *,
        acl: Acl | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._factory = factory
        self._doorman = doorman
        self._acl = acl or Acl()
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._entering: set[asyncio.Task[None]] = set()

    def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        family = socket.AF_INET6 if local.family is Family.IP6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((local.address, local.port))
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._sockets.append(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)
        return local.with_port(sock.getsockname()[1])

    async def close(self) -> None:
        """Let nobody in any more. Who is in stays."""
        loop = asyncio.get_running_loop()
        while self._sockets:
            sock = self._sockets.pop()
            loop.remove_reader(sock.fileno())
            sock.close()
        for task in self._entering:
            task.cancel()
        await asyncio.gather(*self._entering, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # Out of files: the connection stays ready to be accepted, and asking at once is asking in vain.
                self._doorman.turned_away["files"] += 1
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                loop.call_later(_OUT_OF_FILES, self._accept_again, listener)
                return
            self._judge(sock, address[0])

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _judge(self, sock: socket.socket, host: str) -> None:
        doorman = self._doorman
        if not self._acl.admits(host):
            reason = "acl"
        elif doorman.rates.wait(host, doorman.clock(), TLS_COST if self._tls else 1):
            reason = "rate"
        elif not doorman.places.take(host):
            reason = "connections"
        else:
            guest = _Guest.take(sock, lambda: doorman.places.leave(host))
            task = asyncio.get_running_loop().create_task(self._enter(guest))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)
            return
        doorman.turned_away[reason] += 1
        sock.close()

    async def _enter(self, guest: _Guest) -> None:
        timeout = self._doorman.limits.timeout
        handshake = timeout if self._tls else None
        try:
            _prepare(guest, timeout)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory, guest, ssl=self._tls, ssl_handshake_timeout=handshake, ssl_shutdown_timeout=handshake
            )
        except OSError:
            # The handshake failed or took too long, or the peer has gone again: ssl.SSLError and TimeoutError are both.
            self._doorman.turned_away["handshake" if self._tls else "gone"] += 1
            guest.close()
        except BaseException:
            guest.close()
            raise


class _Guest(socket.socket):
    """A socket that tells when its transport lets go of it: asyncio closes it, uvloop detaches and closes it itself."""

    _leave: Callable[[], None] | None = None

    @classmethod
    def take(cls, sock: socket.socket, leave: Callable[[], None]) -> Self:
        """`sock` itself is of no more use."""
        guest = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        guest.setblocking(False)
        guest._leave = leave
        return guest

    def close(self) -> None:
        super().close()
        self._left()

    def detach(self) -> int:
        descriptor = super().detach()
        self._left()
        return descriptor

    def _left(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


def hang_up(transport: asyncio.WriteTransport) -> None:
    """End a connection at once, by a reset: what it has not taken is not kept for it, by the kernel neither."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _prepare(sock: socket.socket, timeout: float) -> None:
    # Replies that are not taken stay where they are seen and timed: in the transport.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
