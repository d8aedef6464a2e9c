"""One UDP socket: how those of media ports, and those that several share, are made and read."""

from __future__ import annotations

import functools
import socket
import struct
import sys
from typing import Any

from rtprelay.linux.sockopt import IP_MTU_DISCOVER, set_tos
from rtprelay.values import Endpoint, Family

RECEIVE_BUFFER = 1 << 20
"""Bytes; the kernel doubles it, up to net.core.rmem_max: some 2,700 small packets, 100 ms of a flood of garbage while
this process waits for a core. Unused it costs nothing."""

MAX_DATAGRAM = 65535

IP_PMTUDISC_DONT = 0
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT = 23, 0
IP_FREEBIND, IP_RECVORIGDSTADDR = 15, 20
IPV6_FREEBIND, IPV6_RECVORIGDSTADDR = 78, 74
SO_MARK = 36
SO_RCVBUFFORCE = 33
SO_RCVMARK = 75

_NOWHERE = {Family.IP4: "192.0.0.8", Family.IP6: "100::1"}
"""What a socket is bound to that gets its datagrams by steering: addresses that no host has (RFC 7600, RFC 6666)."""
_ANCILLARY = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(28)
"""Room for a mark and a destination."""
_SOCKADDR_IP4, _SOCKADDR_IP6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xH4x16s4x")
_DESTINATION_LEVELS = {(socket.IPPROTO_IP, IP_RECVORIGDSTADDR), (socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR)}

SourceAddress = tuple[Any, ...]
"""As the socket gives it: two fields for IPv4, four for IPv6."""


def bound(local: Endpoint, tos: int) -> socket.socket:
    """A socket to send and receive at `local`. Raises OSError where the port cannot be had."""
    sock = _socket(local.family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        # A relay does not know its path better than the sender: what does not fit is fragmented, not lost.
        if local.family is Family.IP4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
        set_tos(sock, tos)
        sock.bind((local.address, local.port))
    except OSError:
        sock.close()
        raise
    return sock


def probe(local: Endpoint) -> None:
    """Raises OSError where the port cannot be had."""
    with _socket(local.family) as sock:
        if local.family is Family.IP6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((local.address, local.port))


def shared(family: Family, port: int) -> socket.socket:
    """A socket to be given what comes for others; all of a family have the same `port`, at first 0 for any."""
    sock = _socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is Family.IP4:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
        sock.bind((_NOWHERE[family], port))
    except OSError:
        sock.close()
        raise
    return sock


def ask_for_marks(sock: socket.socket) -> bool:
    """False before Linux 5.19: RTCP the kernel has forwarded cannot be told from RTCP it has not."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
    except OSError:
        return False
    return True


def read(sock: socket.socket) -> tuple[bytes, SourceAddress]:
    return sock.recvfrom(MAX_DATAGRAM)


def read_all(sock: socket.socket) -> tuple[bytes, SourceAddress, int, bytes]:
    """A datagram, its source, its mark (0: none, or not asked for), and where it went (b"": not asked for)."""
    data, ancillary, _, address = sock.recvmsg(MAX_DATAGRAM, _ANCILLARY)
    mark, destination = 0, b""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_MARK:
            mark = int.from_bytes(value[:4], sys.byteorder)
        elif (level, kind) in _DESTINATION_LEVELS:
            destination = value
    return data, address, mark, destination


@functools.lru_cache(maxsize=4096)
def destination_of(raw: bytes) -> Endpoint:
    """What `read_all` tells: struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7))."""
    port, address = (_SOCKADDR_IP4 if len(raw) == _SOCKADDR_IP4.size else _SOCKADDR_IP6).unpack(raw)
    return Endpoint.unpack(address, port)


def _socket(family: Family) -> socket.socket:
    return socket.socket(
        socket.AF_INET if family is Family.IP4 else socket.AF_INET6,
        socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
