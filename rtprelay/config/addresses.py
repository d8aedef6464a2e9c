"""The host's own addresses, asked of the kernel by one RTM_GETADDR dump (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct

import msgspec

from rtprelay.linux import netlink
from rtprelay.values import canonical_address

_RTM_GETADDR = 22
_IFADDRMSG = struct.Struct("=BBBBI")
_RTATTR = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_UNUSABLE = 0x08 | 0x20 | 0x40
"""dadfailed, deprecated, tentative: not to be bound, or not for long (RFC 4862)."""
_SCOPE_LINK = 253
"""RT_SCOPE_LINK; RT_SCOPE_HOST is 254. From here on an address means nothing to another host."""


class HostAddress(msgspec.Struct, frozen=True):
    """An address of this host, the device it is on, and whether other hosts can mean it."""

    device: str
    address: str
    public: bool


def host_addresses() -> list[HostAddress]:
    """All usable addresses, in the kernel's order: by device, IPv4 first."""
    messages = netlink.dump(socket.NETLINK_ROUTE, _RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0))
    addresses = [address for address in map(_parse, messages) if address is not None]
    return sorted(addresses, key=lambda item: ":" in item.address)


def _parse(message: bytes) -> HostAddress | None:
    family, _, flags, scope, index = _IFADDRMSG.unpack_from(message)
    if family not in (socket.AF_INET, socket.AF_INET6) or flags & _IFA_F_UNUSABLE:
        return None
    attributes: dict[int, bytes] = {}
    offset = _IFADDRMSG.size
    while offset < len(message):
        length, kind = _RTATTR.unpack_from(message, offset)
        attributes[kind] = message[offset + _RTATTR.size : offset + length]
        offset += length + -length % 4
    # On a point-to-point link IFA_ADDRESS is the other end's.
    packed = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
    if packed is None:
        return None
    text = canonical_address(socket.inet_ntop(family, packed))
    public = scope < _SCOPE_LINK and not text.startswith(("127.", "169.254."))
    return HostAddress(socket.if_indextoname(index), text, public)
