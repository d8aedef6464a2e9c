"""Options of IP sockets, the same for signalling and media (ip(7), ipv6(7))."""

from __future__ import annotations

import socket

IP_MTU_DISCOVER = 10
"""1 wants the path's MTU, 0 does not."""


def set_tos(sock: socket.socket, tos: int) -> None:
    """What leaves has this IP TOS or traffic class."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
