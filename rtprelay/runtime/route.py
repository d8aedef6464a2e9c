"""What the kernel knows of this host's addresses, asked without a packet: which reach another host, which are there."""

from __future__ import annotations

import socket

_ANY_PORT = 9
"""To connect a datagram socket takes one."""


def local_address_towards(peer: str) -> str | None:
    """The source address of what is sent to `peer`; None: there is no way."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((peer, _ANY_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def unusable(address: str) -> str | None:
    """Why no socket can have `address` now; None: one can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.strerror
    return None
