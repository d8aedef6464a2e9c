"""One dump by netlink(7), read to its end.

Not by pyroute2, which is imported late on purpose: 260 ms against 0.2 ms.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301


def dump(protocol: int, kind: int, request: bytes) -> Iterator[bytes]:
    """The payload of each message of the answer. Raises OSError where the kernel refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        netlink.send(HEADER.pack(HEADER.size + len(request), kind, _REQUEST_DUMP, 1, 0) + request)
        while True:
            chunk = netlink.recv(1 << 16)
            at = 0
            while at < len(chunk):
                length, answered, *_ = HEADER.unpack_from(chunk, at)
                if answered == _DONE:
                    return
                if answered == _ERROR:
                    raise OSError("netlink refuses the dump")
                yield chunk[at + HEADER.size : at + length]
                at += length + -length % 4
