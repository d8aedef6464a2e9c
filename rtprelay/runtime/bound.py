"""Whether a port can be had: a look at all the host's sockets once a second, a bind only where that leaves a doubt.

Binding each port costs a socket, 6 us, and does not notice either who comes a moment later: a port that is steered is
not in the kernel's tables (`kernel/steer.py`). The look, by sock_diag(7), costs 25 us and 0.6 us a socket.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

from rtprelay.linux import netlink
from rtprelay.runtime import udp
from rtprelay.values import Endpoint

FRESH = 1.0
"""Seconds."""

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, no extensions; in all states; whatever address."""
_PORT_AT = 4
"""In the answer, struct inet_diag_msg: two bytes in network order."""
_ANY_STATE = 0xFFFFFFFF
_EVERY_PORT = frozenset(range(1 << 16))


class BoundPorts:
    """As of a second ago at most."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._stale = now()
        self._ports: frozenset[int] = frozenset()
        """Of whatever address."""
        self._addresses: set[str] = set()
        """Those this host has: a port could be bound there."""

    def check(self, local: Endpoint) -> None:
        """Raises OSError where the port cannot be had."""
        now = self._now()
        if now >= self._stale:
            self._stale = now + FRESH
            self._ports = bound_ports()
            self._addresses.clear()
        if local.port in self._ports or local.address not in self._addresses:
            udp.probe(local)
            self._addresses.add(local.address)


def bound_ports() -> frozenset[int]:
    """Of all UDP sockets in this network namespace; where the kernel does not tell (no udp_diag), any may be."""
    try:
        return frozenset(port for family in (socket.AF_INET, socket.AF_INET6) for port in _ports(family))
    except OSError:
        return _EVERY_PORT


def _ports(family: int) -> Iterator[int]:
    request = _REQUEST.pack(family, socket.IPPROTO_UDP, 0, _ANY_STATE)
    for message in netlink.dump(_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, request):
        yield message[_PORT_AT] << 8 | message[_PORT_AT + 1]
