"""ng over UDP: sockets on one side, an NgSession on the other.

Datagrams are read in batches, so that a burst costs one wake-up, and at most BATCH of them before the loop turns to
other things. Nothing waits for a peer: a reply that does not fit the socket's buffer is dropped, and given again from
the cache when the peer asks again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import time
from collections.abc import Callable

from rtprelay.errors import RelayError
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Request
from rtprelay.signalling.session import Answer, NgSession, Peer
from rtprelay.values import Endpoint, Family

BATCH = 64
_MAX_DATAGRAM = 65_535
_BUFFER = 4 << 20
"""Asked of the kernel, which may give less: some 5,000 offers, for the moments in which the loop is busy."""

Respond = Callable[[Body], None]
Handler = Callable[[Request, Respond], None]
Complaint = Callable[[Peer, RelayError], None]


class NgUdp:
    """All ng/UDP sockets of a relay.

    `handle` gets each request and what to call with its reply, at once or later. `complain` is told of messages that
    were refused. `clock` is CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        session: NgSession,
        handle: Handler,
        *,
        complain: Complaint = lambda peer, fault: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._handle = handle
        self._complain = complain
        self._clock = clock
        self._sockets: dict[int, socket.socket] = {}
        self._channels = itertools.count()

    def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        family = socket.AF_INET6 if local.family is Family.IP6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((local.address, local.port))
        except BaseException:
            sock.close()
            raise
        channel = next(self._channels)
        self._sockets[channel] = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._drain, channel)
        return local.with_port(sock.getsockname()[1])

    def close(self) -> None:
        """Stop listening; datagrams not read are lost."""
        while self._sockets:
            _, sock = self._sockets.popitem()
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    def _drain(self, channel: int) -> None:
        for _ in range(BATCH):
            sock = self._sockets.get(channel)
            if sock is None:  # closed by what the last datagram asked for
                return
            try:
                data, address = sock.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error some earlier reply met; the datagrams behind it are fine.
                continue
            self._receive(data, Peer(channel, address))

    def _receive(self, data: bytes, peer: Peer) -> None:
        message = self._session.receive(data, peer, self._clock())
        if isinstance(message, Answer):
            self._send(message.peer, message.data)
            if message.fault is not None:
                self._complain(message.peer, message.fault)
        elif message is not None:
            respond = functools.partial(self._reply, message.request_id)
            try:
                self._handle(message, respond)
            except Exception as error:
                # One request's failure must not end the loop that serves the others.
                respond(reply.error("Internal error"))
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"request from {peer.host} failed", "exception": error}
                )

    def _reply(self, request_id: int, body: Body) -> None:
        answer = self._session.reply(request_id, body)
        if answer is not None:
            self._send(*answer)

    def _send(self, peer: Peer, data: bytes) -> None:
        sock = self._sockets.get(peer.channel)
        if sock is None:
            return
        try:
            sock.sendto(data, peer.address)
        except OSError:
            # Buffer full or peer unreachable: it will ask again, and the reply is in the cache.
            return
