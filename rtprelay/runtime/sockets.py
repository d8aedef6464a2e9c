"""The media sockets: one UDP socket per local port, bound exactly, read in fair batches.

Theory of operation. All sockets sit in one epoll set of their own, and only that set's descriptor is registered with
the event loop: opening a port is one epoll_ctl, whatever loop runs, and 40,000 ports are one reader. When the set is
readable, rounds of epoll_wait are made. With many ready sockets each gives one datagram per round: no read is in vain
(an empty one costs an exception, 1 us). With few, each gives up to an equal share of `ROUND`. So a flooded port gets no
more turns than any other, and after `BATCH` datagrams the event loop has its own: signalling is served under a flood.

Sockets are not connected, so the kernel reports no ICMP error on them; what a send can still meet (no buffer, no route,
a packet filter) is counted by name and is never anybody's exception.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from rtprelay.values import Endpoint, Family

BATCH = 256
"""Datagrams between two turns of the event loop: about 2 ms of userspace forwarding."""

ROUND = 16
"""Datagrams of a round with few ready sockets, shared among them: an epoll_wait costs as much as a read."""

RECEIVE_BUFFER = 1 << 20
"""Bytes; the kernel doubles it, up to net.core.rmem_max: some 2,700 small packets, 100 ms of a flood of garbage while
this process waits for a core. Unused it costs nothing."""

MAX_DATAGRAM = 65535
KNOWN_SOURCES = 64
"""Per port. A flood from made-up addresses empties the cache, never fills memory."""

IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT = 23, 0
SO_RCVMARK = 75
SO_MARK = 36

SourceAddress = tuple[Any, ...]
"""As the socket gives it: two fields for IPv4, four for IPv6."""
Receiver = Callable[[Endpoint, Endpoint, bytes, int], None]
"""(local, source, data, mark): `mark` is the packet's SO_MARK, 0 where there is none or the kernel cannot tell."""


class _Port:
    __slots__ = ("local", "socket", "sources")

    def __init__(self, local: Endpoint, sock: socket.socket) -> None:
        self.local = local
        self.socket = sock
        self.sources: dict[SourceAddress, Endpoint] = {}


class MediaSockets:
    """Open ports by local endpoint. `marks`: tell each datagram's mark (needed beside tc, costs 1 us per datagram)."""

    def __init__(self, receive: Receiver, marks: bool = False) -> None:
        self._receive = receive
        self._marks = marks
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Port] = {}
        self._by_local: dict[Endpoint, _Port] = {}
        self.counters: Counter[str] = Counter()

    def fileno(self) -> int:
        """To be watched for reading by the event loop, with `read_ready` as callback."""
        return self._epoll.fileno()

    def __len__(self) -> int:
        return len(self._by_local)

    def __contains__(self, local: Endpoint) -> bool:
        return local in self._by_local

    def open(self, local: Endpoint, tos: int = 0) -> None:
        """Bind `local`. Raises OSError where the port cannot be had."""
        sock = _bind(local, tos)
        if self._marks:
            self._ask_for_marks(sock)
        port = _Port(local, sock)
        self._epoll.register(sock, select.EPOLLIN)
        self._by_fd[sock.fileno()] = self._by_local[local] = port

    def mark(self, local: Endpoint, tos: int) -> None:
        """Unknown: nothing happens."""
        port = self._by_local.get(local)
        if port is not None:
            _set_tos(port.socket, local.family, tos)

    def close(self, local: Endpoint) -> None:
        """Unknown: nothing happens."""
        port = self._by_local.pop(local, None)
        if port is not None:
            del self._by_fd[port.socket.fileno()]
            port.socket.close()

    def close_all(self) -> None:
        for local in list(self._by_local):
            self.close(local)
        self._epoll.close()

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> bool:
        """False, and counted, when the datagram did not leave."""
        port = self._by_local.get(local)
        if port is None:
            self.counters["send_no_socket"] += 1
            return False
        try:
            port.socket.sendto(data, (remote.address, remote.port))
        except OSError as error:
            self.counters[f"send_{errno.errorcode.get(error.errno or 0, 'failed')}"] += 1
            return False
        return True

    def read_ready(self) -> None:
        """Hand over what has arrived, at most about `BATCH` datagrams."""
        left = BATCH
        while left > 0:
            ready = self._epoll.poll(0, left)
            if not ready:
                return
            turns = max(1, ROUND // len(ready))
            for fd, _ in ready:
                port = self._by_fd.get(fd)
                # None: closed by what an earlier datagram of this round led to.
                if port is not None:
                    left -= self._read(port, turns)

    def _read(self, port: _Port, turns: int) -> int:
        """Hand over at most `turns` datagrams; how many reads it took."""
        read = self._read_marked if self._marks else self._read_plain
        for turn in range(turns):
            try:
                data, address, mark = read(port.socket)
            except BlockingIOError:
                return max(turn, 1)
            except OSError as error:
                # Bad descriptor: the datagram before this one has led to the port's end.
                if error.errno != errno.EBADF:
                    self.counters[f"receive_{errno.errorcode.get(error.errno or 0, 'failed')}"] += 1
                return max(turn, 1)
            source = port.sources.get(address) or self._learn(port, address)
            if source is not None:
                self._receive(port.local, source, data, mark)
        return turns

    def _read_plain(self, sock: socket.socket) -> tuple[bytes, SourceAddress, int]:
        data, address = sock.recvfrom(MAX_DATAGRAM)
        return data, address, 0

    def _read_marked(self, sock: socket.socket) -> tuple[bytes, SourceAddress, int]:
        data, ancillary, _, address = sock.recvmsg(MAX_DATAGRAM, 32)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_MARK:
                return data, address, int.from_bytes(value[:4], sys.byteorder)
        return data, address, 0

    def _learn(self, port: _Port, address: SourceAddress) -> Endpoint | None:
        try:
            source = Endpoint.parse(address[0], address[1])
        except ValueError:
            # Link-local with a zone: no media address (RFC 6874 keeps zones out of wires).
            self.counters["receive_zone"] += 1
            return None
        if len(port.sources) >= KNOWN_SOURCES:
            port.sources.clear()
        port.sources[address] = source
        return source

    def _ask_for_marks(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        except OSError:
            # Before Linux 5.19: RTCP the kernel has forwarded cannot be told from RTCP it has not.
            self._marks = False


def _bind(local: Endpoint, tos: int) -> socket.socket:
    family = local.family
    sock = socket.socket(
        socket.AF_INET if family is Family.IP4 else socket.AF_INET6,
        socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        # A relay does not know its path better than the sender: what does not fit is fragmented, not lost.
        if family is Family.IP4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
        _set_tos(sock, family, tos)
        sock.bind((local.address, local.port))
    except OSError:
        sock.close()
        raise
    return sock


def _set_tos(sock: socket.socket, family: Family, tos: int) -> None:
    if family is Family.IP4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
