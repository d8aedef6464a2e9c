"""What the relay asks of rtnetlink(7) and of the `netdev` generic netlink family, and no more.

pyroute2 is not used here: in 0.9 its synchronous API refuses to run inside an event loop, and decoding a reply takes it
far longer than the kernel needs to answer (a route lookup and its decoding here: 19 us). Every call of `Netlink` is
answered within the system call, so it may be made from the event loop.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import msgspec

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_GENERIC = struct.Struct("=BBxx")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_ERROR = struct.Struct("=i")

_REQUEST, _ACKNOWLEDGE, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_MESSAGE_ERROR, _MESSAGE_DONE = 2, 3
_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_NEIGHBOUR, _DEL_NEIGHBOUR, _GET_NEIGHBOUR = 28, 29, 30
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_: links, neighbours, addresses and routes of both families."""

_FLAG_UP, _FLAG_LOOPBACK, _FLAG_RUNNING = 0x1, 0x8, 0x40
_TYPE_ETHERNET, _TYPE_LOOPBACK = 1, 772
_ROUTE_UNICAST, _ROUTE_LOCAL = 1, 2
_NEIGHBOUR_USE = 0x1
_NEIGHBOUR_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
"""NUD_: reachable, stale, delay, probe, noarp, permanent."""
_NEIGHBOUR_STALE = 0x04

_GENERIC_PROTOCOL = 16
"""NETLINK_GENERIC, which the socket module does not name."""
_CONTROL_FAMILY, _GET_FAMILY = 16, 3
_NETDEV_GET = 1
_MTU_METRIC = 2
_RECEIVE_BYTES = 1 << 18
_MONITOR_BUFFER = 4 << 20


class XdpFeatures(msgspec.Struct, frozen=True):
    """What a device's driver does for XDP (`netdev_xdp_act` in the kernel's netdev.yaml)."""

    basic: bool
    redirect: bool
    transmit: bool
    """Takes frames that a program redirects to it (ndo_xdp_xmit)."""


class Link(msgspec.Struct, frozen=True):
    index: int
    name: str
    up: bool
    ethernet: bool
    loopback: bool
    kind: str
    """`veth`, `vlan`, `bridge` ...; empty for hardware."""
    mtu: int
    mac: bytes


class Address(msgspec.Struct, frozen=True):
    index: int
    packed: bytes
    """4 or 16 bytes."""


class Route(msgspec.Struct, frozen=True):
    index: int
    gateway: bytes | None
    """None: the destination is on the link."""
    mtu: int | None
    local: bool


class Neighbour(msgspec.Struct, frozen=True):
    index: int
    packed: bytes
    mac: bytes | None
    """None where it is not known, or known no more."""
    stale: bool = False


class LinkChanged(msgspec.Struct, frozen=True):
    link: Link
    gone: bool


class AddressChanged(msgspec.Struct, frozen=True):
    address: Address
    gone: bool


class RoutesChanged(msgspec.Struct, frozen=True):
    """A route to `prefix`/`length` came, went or changed."""

    prefix: bytes
    length: int


class NeighbourChanged(msgspec.Struct, frozen=True):
    neighbour: Neighbour


class EventsLost(msgspec.Struct, frozen=True):
    """The socket overflowed: everything has to be read anew."""


Event = LinkChanged | AddressChanged | RoutesChanged | NeighbourChanged | EventsLost


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += length + 3 & ~3


def _link(body: bytes) -> Link:
    _, hardware, index, flags, _ = _LINK.unpack_from(body)
    attributes = _attributes(body[_LINK.size :])
    info = _attributes(attributes.get(18, b""))
    return Link(
        index=index,
        name=attributes.get(3, b"").rstrip(b"\0").decode("utf-8", "replace"),
        up=flags & (_FLAG_UP | _FLAG_RUNNING) == _FLAG_UP | _FLAG_RUNNING,
        ethernet=hardware == _TYPE_ETHERNET,
        loopback=hardware == _TYPE_LOOPBACK,
        kind=info.get(1, b"").rstrip(b"\0").decode("ascii", "replace"),
        mtu=_U32.unpack(attributes.get(4, bytes(4)))[0],
        mac=attributes.get(1, b""),
    )


def _address(body: bytes) -> Address:
    index = _ADDRESS.unpack_from(body)[4]
    attributes = _attributes(body[_ADDRESS.size :])
    # On point-to-point links IFA_ADDRESS is the peer and IFA_LOCAL ours; IPv6 usually has only the former.
    return Address(index, attributes.get(2) or attributes.get(1, b""))


def _neighbour(body: bytes, gone: bool = False) -> Neighbour:
    _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    attributes = _attributes(body[_NEIGHBOUR.size :])
    mac = attributes.get(2)
    known = not gone and state & _NEIGHBOUR_VALID and mac is not None and len(mac) == 6
    return Neighbour(index, attributes.get(1, b""), mac if known else None, bool(state & _NEIGHBOUR_STALE))


def _family(packed: bytes) -> int:
    return socket.AF_INET if len(packed) == 4 else socket.AF_INET6


class Netlink:
    """Questions to the kernel of the current network namespace. Raises OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._route = self._open(socket.NETLINK_ROUTE)
        self._generic = self._open(_GENERIC_PROTOCOL)
        self._netdev = self._find_netdev()

    @staticmethod
    def _open(protocol: int) -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        opened.bind((0, 0))
        opened.settimeout(1.0)
        return opened

    def close(self) -> None:
        self._route.close()
        self._generic.close()

    def links(self) -> list[Link]:
        return [_link(body) for body in self._dump(_GET_LINK, _LINK.pack(0, 0, 0, 0, 0))]

    def link(self, index: int) -> Link | None:
        try:
            return _link(self._ask(self._route, _GET_LINK, 0, _LINK.pack(0, 0, index, 0, 0))[0])
        except OSError:
            return None

    def addresses(self) -> list[Address]:
        return [_address(body) for body in self._dump(_GET_ADDRESS, _ADDRESS.pack(0, 0, 0, 0, 0))]

    def route(self, destination: bytes, source: bytes) -> Route | None:
        """How a packet from our address `source` goes to `destination`; None: it does not."""
        bits = 8 * len(destination)
        body = _ROUTE.pack(_family(destination), bits, bits, 0, 0, 0, 0, 0, 0)
        body += _attribute(1, destination) + _attribute(2, source)
        try:
            reply = self._ask(self._route, _GET_ROUTE, 0, body)[0]
        except OSError:
            return None
        kind = _ROUTE.unpack_from(reply)[7]
        attributes = _attributes(reply[_ROUTE.size :])
        if kind not in (_ROUTE_UNICAST, _ROUTE_LOCAL) or 4 not in attributes:
            return None
        # RTA_VIA (a family and an address): an IPv4 destination behind an IPv6 gateway.
        gateway = attributes.get(5) or (attributes[18][2:] if 18 in attributes else None)
        mtu = _attributes(attributes.get(8, b"")).get(_MTU_METRIC)
        return Route(
            index=_U32.unpack(attributes[4])[0],
            gateway=gateway,
            mtu=_U32.unpack(mtu)[0] if mtu else None,
            local=kind == _ROUTE_LOCAL,
        )

    def neighbour(self, index: int, packed: bytes) -> Neighbour:
        body = _NEIGHBOUR.pack(_family(packed), index, 0, 0, 0) + _attribute(1, packed)
        try:
            return _neighbour(self._ask(self._route, _GET_NEIGHBOUR, 0, body)[0])
        except OSError:
            return Neighbour(index, packed, None)

    def use_neighbour(self, index: int, packed: bytes) -> None:
        """Have the kernel resolve or confirm the neighbour as if it had just sent a packet there."""
        body = _NEIGHBOUR.pack(_family(packed), index, 0, _NEIGHBOUR_USE, 0) + _attribute(1, packed)
        try:
            self._ask(self._route, _NEW_NEIGHBOUR, _CREATE | _ACKNOWLEDGE, body)
        except OSError:
            # The device is down or has just gone: its own event says so.
            return

    def xdp_features(self, index: int) -> XdpFeatures | None:
        """None where the kernel does not tell (before 6.3)."""
        if self._netdev is None:
            return None
        body = _GENERIC.pack(_NETDEV_GET, 1) + _attribute(1, _U32.pack(index))
        try:
            reply = self._ask(self._generic, self._netdev, 0, body)[0]
        except OSError:
            return None
        bits = _U64.unpack(_attributes(reply[_GENERIC.size :]).get(3, bytes(8)))[0]
        return XdpFeatures(bool(bits & 1), bool(bits & 2), bool(bits & 4))

    def _find_netdev(self) -> int | None:
        body = _GENERIC.pack(_GET_FAMILY, 1) + _attribute(2, b"netdev\0")
        try:
            reply = self._ask(self._generic, _CONTROL_FAMILY, 0, body)[0]
        except OSError:
            return None
        return int(_U16.unpack(_attributes(reply[_GENERIC.size :])[1])[0])

    def _ask(self, to: socket.socket, kind: int, flags: int, body: bytes) -> list[bytes]:
        to.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body)
        return [reply for _, reply in self._answers(to.recv(_RECEIVE_BYTES))]

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        to = self._route
        to.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 0, 0) + body)
        while True:
            for answer, reply in self._answers(to.recv(_RECEIVE_BYTES)):
                if answer == _MESSAGE_DONE:
                    return
                yield reply

    @staticmethod
    def _answers(data: bytes) -> Iterator[tuple[int, bytes]]:
        for kind, body in _messages(data):
            if kind == _MESSAGE_ERROR:
                error = -_ERROR.unpack_from(body)[0]
                if error:
                    raise OSError(error, os.strerror(error))
            yield kind, body


class Monitor:
    """Events as they happen, from a socket for the event loop to watch."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MONITOR_BUFFER)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def events(self) -> Iterator[Event]:
        """All that waits in the socket."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield EventsLost()
                continue
            for kind, body in _messages(data):
                event = _event(kind, body)
                if event is not None:
                    yield event


def _event(kind: int, body: bytes) -> Event | None:
    if kind in (_NEW_LINK, _DEL_LINK):
        # The bridge code sends its ports' state under the same message type.
        return None if body[0] == socket.AF_BRIDGE else LinkChanged(_link(body), kind == _DEL_LINK)
    if kind in (_NEW_ADDRESS, _DEL_ADDRESS):
        return AddressChanged(_address(body), kind == _DEL_ADDRESS)
    if kind in (_NEW_ROUTE, _DEL_ROUTE):
        family, length = _ROUTE.unpack_from(body)[:2]
        prefix = _attributes(body[_ROUTE.size :]).get(1, bytes(4 if family == socket.AF_INET else 16))
        return RoutesChanged(prefix, length)
    if kind in (_NEW_NEIGHBOUR, _DEL_NEIGHBOUR):
        if body[0] not in (socket.AF_INET, socket.AF_INET6):
            return None
        return NeighbourChanged(_neighbour(body, kind == _DEL_NEIGHBOUR))
    return None
