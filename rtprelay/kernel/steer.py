"""Holding media ports without a socket for each: `ebpf/steer.bpf.c` hands what comes up for them to a few sockets.

Program, maps and link live as long as this process, as sockets would: nothing is pinned. Where no daemon is, nobody
listens, and `relay_tc` drops what it would have handed up.

The kernel does not know that such a port is in use. Whether another program has it is found out when it is opened
(`runtime/bound.py`). So that no other gets it afterwards without asking for it by number, those of the kernel's
ephemeral ports that may be media ports are reserved (`ip_local_reserved_ports`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import Link, Object
from rtprelay.values import Endpoint, Family

QUEUES = int(abi.Limits.STEER_QUEUES)
"""Sockets of a family."""

_OBJECT = Path(__file__).parent / "objects" / "steer.bpf.o"
_NAMESPACE = Path("/proc/thread-self/ns/net")
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
_EPHEMERAL = _RESERVED.with_name("ip_local_port_range")
_EPHEMERAL_LEFT = 4096
_HELD = ctypes.sizeof(abi.SteerHeld)

PortRange = tuple[int, int]
"""First and last."""


class SocketSteering:
    """The ports that are held, in the network namespace of this process. Raises BackendFault where it cannot be."""

    def __init__(self) -> None:
        self._object = Object(_OBJECT)
        try:
            self._object.load()
            maps = self._object.maps
            self._homes, self._queues = maps["rtprelay_homes"], maps["rtprelay_queues"]
            self._held = maps["rtprelay_held"].mmap(writable=True)
            self._link = _attach(self._object)
        except BackendFault:
            self._object.close()
            raise
        self._numbers: dict[str, int] = {}
        """Of the addresses."""

    def hold(self, local: Endpoint) -> bool:
        """From now on its queue gets what comes for it. False: there is no room for another address."""
        number = self._number(local)
        if number is None:
            return False
        self._held[number * _HELD + local.port // 8] |= 1 << local.port % 8
        return True

    def release(self, local: Endpoint) -> None:
        """Not held: nothing happens."""
        number = self._numbers.get(local.address)
        if number is not None:
            self._held[number * _HELD + local.port // 8] &= ~(1 << local.port % 8)

    def queue(self, local: Endpoint) -> int:
        """Which one gets what comes for it."""
        return local.port % QUEUES + (QUEUES if local.family is Family.IP6 else 0)

    def serve(self, queue: int, descriptor: int) -> None:
        """The socket of a queue: of its family, bound, with SO_REUSEPORT or without; it is forgotten when closed."""
        self._queues.update(queue.to_bytes(4, "little"), descriptor.to_bytes(8, "little"))

    def close(self) -> None:
        self._link.close()
        self._held.close()
        self._object.close()

    def _number(self, local: Endpoint) -> int | None:
        number = self._numbers.get(local.address)
        if number is None and len(self._numbers) < self._homes.max_entries:
            number = len(self._numbers)
            self._homes.update(local.packed, number.to_bytes(4, "little"))
            self._numbers[local.address] = number
        return number


def _attach(loaded: Object) -> Link:
    namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Link.sk_lookup(loaded.programs["rtprelay_steer"], namespace)
    finally:
        os.close(namespace)


def reserve(ranges: Iterable[PortRange]) -> None:
    """Have the kernel give out none of these ports by itself. Raises BackendFault where it must not."""
    first, last = map(int, _EPHEMERAL.read_text().split())
    ephemeral = set(range(first, last + 1))
    before = _ports(_RESERVED.read_text())
    wanted = before | {port for low, high in ranges for port in range(low, high + 1) if port in ephemeral}
    if wanted == before:
        return
    if len(ephemeral - wanted) < _EPHEMERAL_LEFT:
        raise BackendFault(f"media ports leave too few of {first}-{last} to other programs (ip_local_port_range)")
    try:
        _RESERVED.write_text(_text(wanted))
    except OSError as error:
        raise BackendFault(f"{_RESERVED} cannot be written: {error.strerror}") from error


def _ports(text: str) -> set[int]:
    """Of the kernel's notation: 8080,30000-40000."""
    found: set[int] = set()
    for item in filter(None, text.strip().split(",")):
        first, _, last = item.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _text(ports: set[int]) -> str:
    firsts = sorted(port for port in ports if port - 1 not in ports)
    lasts = sorted(port for port in ports if port + 1 not in ports)
    return ",".join(f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)) + "\n"
