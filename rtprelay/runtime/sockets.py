"""The media ports: held with a socket each or without one, read in fair batches.

Theory of operation. A port is held in one of two ways, and nobody outside can tell which:

* It has a UDP socket for as long as it is open.
* What comes for it is steered to a *queue*, a socket it shares with others (`kernel/steer.py`). Beside a data plane in
  the kernel most ports never receive anything here, and a socket costs a descriptor, memory and time. A port gets one
  when something is sent from it, and loses it again when `SENDERS` others have needed one since.

All sockets that are read sit in one epoll set, and only that set's descriptor is registered with the event loop: 40,000
ports are one reader, whatever loop runs. When the set is readable, rounds of epoll_wait are made. With many ready
sockets each gives one datagram per round: no read is in vain (an empty one costs an exception, 1 us). With few, each
gives up to an equal share of `ROUND`. So a flooded port gets no more turns than any other, and after `BATCH` datagrams
the event loop has its own: signalling is served under a flood. Ports that share a queue share its turns and its buffer:
a flood concerns one in 256 (stochastic fairness), and `ebpf/lib/punt.h` bounds what strangers can do.

Sockets are not connected, so the kernel reports no ICMP error on them; what a send can still meet (no buffer, no route,
a packet filter) is counted by name and is never anybody's exception.
"""

from __future__ import annotations

import errno
import functools
import select
import socket
from collections import Counter
from collections.abc import Callable

from rtprelay.kernel._abi import Limits
from rtprelay.kernel.backend import Steering
from rtprelay.linux.sockopt import set_tos
from rtprelay.runtime import udp
from rtprelay.runtime.bound import BoundPorts
from rtprelay.values import Endpoint, Family

BATCH = 256
"""Datagrams between two turns of the event loop: about 2 ms of userspace forwarding."""

ROUND = 16
"""Datagrams of a round with few ready sockets, shared among them: an epoll_wait costs as much as a read."""

SENDERS = 2048
"""Ports without a socket of their own that may have one to send."""

STEERED_SOCKETS = SENDERS + 2 * int(Limits.STEER_QUEUES)
"""At most, where ports are steered, however many there are."""

KNOWN_SOURCES = 64
"""Per port. A flood from made-up addresses empties the cache, never fills memory."""

Receiver = Callable[[Endpoint, Endpoint, bytes, int], None]
"""(local, source, data, mark): `mark` is the packet's SO_MARK, 0 where there is none or the kernel cannot tell."""


class _Port:
    __slots__ = ("local", "socket", "sources", "steered", "tos")

    def __init__(self, local: Endpoint, tos: int, steered: bool) -> None:
        self.local = local
        self.tos = tos
        self.steered = steered
        self.socket: socket.socket | None = None
        """One that receives, or, of a port that is steered, one that sends for a while."""
        self.sources: dict[udp.SourceAddress, Endpoint] = {}

    def shut(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


Arrival = tuple[_Port | None, bytes, udp.SourceAddress, int]
"""At which port (None: one that has been closed meanwhile), what, from where, with which mark."""


class MediaSockets:
    """Open ports by local endpoint. `marks`: tell each datagram's mark (needed beside tc, costs 1 us per datagram).
    `steering`: hold ports without a socket.
    """

    def __init__(self, receive: Receiver, marks: bool = False, steering: Steering | None = None) -> None:
        self._receive = receive
        self._marks = marks
        self._steering = steering
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], Arrival]] = {}
        """By descriptor."""
        self._by_local: dict[Endpoint, _Port] = {}
        self._queues: dict[int, socket.socket] = {}
        self._queue_port: dict[Family, int] = {}
        self._bound = BoundPorts()
        self._senders: dict[_Port, None] = {}
        """Those that are steered and have a socket; in the order they got it."""
        self.counters: Counter[str] = Counter()

    def fileno(self) -> int:
        """To be watched for reading by the event loop, with `read_ready` as callback."""
        return self._epoll.fileno()

    def __len__(self) -> int:
        return len(self._by_local)

    def __contains__(self, local: Endpoint) -> bool:
        return local in self._by_local

    def open(self, local: Endpoint, tos: int = 0) -> None:
        """Hold `local`. Raises OSError where the port cannot be had."""
        port = _Port(local, tos, self._steering is not None and self._steer(local, self._steering))
        if not port.steered:
            port.socket = udp.bound(local, tos)
            self._watch(port.socket, functools.partial(self._arrived_at, port, port.socket))
        self._by_local[local] = port

    def _steer(self, local: Endpoint, steering: Steering) -> bool:
        """False: the port has to have a socket."""
        self._bound.check(local)
        number = steering.queue(local)
        if number not in self._queues:
            family = local.family
            queue = udp.shared(family, self._queue_port.get(family, 0))
            self._queue_port[family] = queue.getsockname()[1]
            self._queues[number] = queue
            self._watch(queue, functools.partial(self._arrived_in, queue))
            steering.serve(number, queue.fileno())
        return steering.hold(local)

    def _watch(self, sock: socket.socket, read: Callable[[], Arrival]) -> None:
        if self._marks:
            # Before Linux 5.19: RTCP the kernel has forwarded cannot be told from RTCP it has not.
            self._marks = udp.ask_for_marks(sock)
        self._epoll.register(sock, select.EPOLLIN)
        self._readers[sock.fileno()] = read

    def mark(self, local: Endpoint, tos: int) -> None:
        """Unknown: nothing happens."""
        port = self._by_local.get(local)
        if port is not None:
            port.tos = tos
            if port.socket is not None:
                set_tos(port.socket, tos)

    def close(self, local: Endpoint) -> None:
        """Unknown: nothing happens."""
        port = self._by_local.pop(local, None)
        if port is None:
            return
        if port.steered and self._steering is not None:
            self._steering.release(local)
            self._senders.pop(port, None)
        elif port.socket is not None:
            del self._readers[port.socket.fileno()]
        port.shut()

    def close_all(self) -> None:
        for local in list(self._by_local):
            self.close(local)
        for queue in self._queues.values():
            queue.close()
        self._epoll.close()

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> bool:
        """False, and counted, when the datagram did not leave."""
        port = self._by_local.get(local)
        if port is None:
            self.counters["send_no_socket"] += 1
            return False
        try:
            sock = port.socket or self._sender(port)
            sock.sendto(data, (remote.address, remote.port))
        except OSError as error:
            self.counters[f"send_{errno.errorcode.get(error.errno or 0, 'failed')}"] += 1
            return False
        return True

    def _sender(self, port: _Port) -> socket.socket:
        """A socket for a port that is steered: nothing is received there, steering comes first."""
        if len(self._senders) >= SENDERS:
            oldest = next(iter(self._senders))
            del self._senders[oldest]
            oldest.shut()
        port.socket = udp.bound(port.local, port.tos)
        self._senders[port] = None
        return port.socket

    def read_ready(self) -> None:
        """Hand over what has arrived, at most about `BATCH` datagrams."""
        left = BATCH
        while left > 0:
            ready = self._epoll.poll(0, left)
            if not ready:
                return
            turns = max(1, ROUND // len(ready))
            for fd, _ in ready:
                reader = self._readers.get(fd)
                # None: closed by what an earlier datagram of this round led to.
                if reader is not None:
                    left -= self._read(reader, turns)

    def _read(self, reader: Callable[[], Arrival], turns: int) -> int:
        """Hand over at most `turns` datagrams; how many reads it took."""
        for turn in range(turns):
            try:
                port, data, address, mark = reader()
            except BlockingIOError:
                return max(turn, 1)
            except OSError as error:
                # Bad descriptor: the datagram before this one has led to the port's end.
                if error.errno != errno.EBADF:
                    self.counters[f"receive_{errno.errorcode.get(error.errno or 0, 'failed')}"] += 1
                return max(turn, 1)
            if port is None:
                continue
            source = port.sources.get(address) or self._learn(port, address)
            if source is not None:
                self._receive(port.local, source, data, mark)
        return turns

    def _arrived_at(self, port: _Port, sock: socket.socket) -> Arrival:
        if not self._marks:
            return port, *udp.read(sock), 0
        data, address, mark, _ = udp.read_all(sock)
        return port, data, address, mark

    def _arrived_in(self, queue: socket.socket) -> Arrival:
        data, address, mark, destination = udp.read_all(queue)
        return self._by_local.get(udp.destination_of(destination)), data, address, mark

    def _learn(self, port: _Port, address: udp.SourceAddress) -> Endpoint | None:
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
