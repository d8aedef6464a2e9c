"""ng over UDP: sockets on one side, an NgSession on the other.

Datagrams are read in batches, so that a burst costs one wake-up, and at most BATCH of them before the loop turns to
other things. Of those that wait, a few are received one after the other, then carried out, then answered: the kernel's
code is in the caches, and a core that sleeps is woken for several replies. Nothing waits for a peer: a reply that does
not fit the socket's buffer is dropped, and given again from the cache when the peer asks again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
from typing import Any

from rtprelay.linux.sockopt import IP_MTU_DISCOVER, set_tos
from rtprelay.listen.acl import Acl
from rtprelay.listen.exchange import Exchange, Service
from rtprelay.signalling.session import NgSession, Peer
from rtprelay.values import Endpoint, Family

BATCH = 64
TOGETHER = 4
"""A reply waits for three more commands at most, and for none that has not come yet."""
_MAX_DATAGRAM = 65_535
_BUFFER = 4 << 20
"""Asked of the kernel, which may give less: some 5,000 offers, for the moments in which the loop is busy."""

_peer = functools.lru_cache(1024)(Peer)
"""Every reply that is remembered names its peer; proxies are few."""


class NgUdp:
    """All ng/UDP sockets of a relay. Datagrams from elsewhere than `acl` admits are not looked at. `discover_mtu`: the
    path's, over IPv4 (RFC 1191), or never, so that routers may cut replies; None: as the host does.
    """

    def __init__(
        self,
        service: Service,
        session: NgSession | None = None,
        *,
        acl: Acl | None = None,
        discover_mtu: bool | None = None,
    ) -> None:
        self._exchange = Exchange(session or NgSession(ids=service.ids, idioms=service.idioms), service, self._send)
        self._acl = acl or Acl()
        self._sockets: dict[int, socket.socket] = {}
        self._channels = itertools.count()
        self.turned_away = 0
        self._held: list[tuple[Peer, bytes]] | None = None
        """Replies that wait for those of the datagrams beside theirs."""
        self._tos = 0
        self._discover_mtu = discover_mtu

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
            elif self._discover_mtu is not None:
                sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, int(self._discover_mtu))
            set_tos(sock, self._tos)
            sock.bind((local.address, local.port))
        except BaseException:
            sock.close()
            raise
        channel = next(self._channels)
        self._sockets[channel] = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._drain, channel)
        return local.with_port(sock.getsockname()[1])

    def mark(self, tos: int) -> None:
        """Replies have this IP TOS from now on."""
        self._tos = tos
        for sock in self._sockets.values():
            set_tos(sock, tos)

    def close(self) -> None:
        """Stop listening; datagrams not read are lost."""
        while self._sockets:
            _, sock = self._sockets.popitem()
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    def _drain(self, channel: int) -> None:
        for _ in range(BATCH // TOGETHER):
            datagrams = self._read(channel)
            self._held = []
            try:
                for data, address in datagrams:
                    self._take(channel, data, address)
            finally:
                held, self._held = self._held, None
                for peer, reply in held:
                    self._send(peer, reply)
            if len(datagrams) < TOGETHER:
                return

    def _read(self, channel: int) -> list[tuple[bytes, tuple[Any, ...]]]:
        """As many as are there, of TOGETHER."""
        datagrams: list[tuple[bytes, tuple[Any, ...]]] = []
        sock = self._sockets.get(channel)
        if sock is None:  # closed by what the last datagrams asked for
            return datagrams
        for _ in range(TOGETHER):
            try:
                datagrams.append(sock.recvfrom(_MAX_DATAGRAM))
            except BlockingIOError:
                break
            except OSError:
                # An ICMP error some earlier reply met; the datagrams behind it are fine.
                continue
        return datagrams

    def _take(self, channel: int, data: bytes, address: tuple[Any, ...]) -> None:
        if not self._acl.admits(address[0]):
            self.turned_away += 1
        elif channel in self._sockets:  # not closed by what a datagram before has asked for
            self._exchange.receive(data, _peer(channel, address))

    def _send(self, peer: Peer, data: bytes) -> None:
        if self._held is not None:
            self._held.append((peer, data))
            return
        sock = self._sockets.get(peer.channel)
        if sock is None:
            return
        try:
            sock.sendto(data, peer.address)
        except OSError:
            # Buffer full or peer unreachable: it will ask again, and the reply is in the cache.
            return
