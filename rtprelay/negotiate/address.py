"""Which addresses we listen on for a party, and which addresses of a party we are willing to send to."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence

from rtprelay.call.interface import MediaInterface
from rtprelay.errors import RefusedAddress
from rtprelay.values import Endpoint, Family


@functools.lru_cache(maxsize=65536)
def _unfit(address: str) -> str | None:
    """Why no medium may ever be sent to `address`; None: nothing against it, "loopback" depends on where we listen."""
    ip = ipaddress.ip_address(address)
    if ip.is_loopback:
        return "loopback"
    if ip.is_multicast:
        return "multicast"
    if ip.is_link_local:
        return "link-local"
    if ip.version == 4 and (ip.packed[0] == 0 or ip.packed == b"\xff\xff\xff\xff"):
        return "broadcast"
    return None


class Interfaces:
    """The named media interfaces; one name may have an address of each family."""

    def __init__(self, interfaces: Sequence[MediaInterface]) -> None:
        if not interfaces:
            raise ValueError("at least one media interface is needed")
        self._all = tuple(interfaces)
        self._by_address = {i.address: i for i in reversed(self._all)}
        self._named: dict[str, list[tuple[Family, MediaInterface]]] = {}
        for i in self._all:
            self._named.setdefault(i.name, []).append((Endpoint(i.address, 0).family, i))

    def choose(self, name: str | None, family: Family | None) -> MediaInterface:
        """The interface called `name` (unknown or None: the first one's name) with an address of `family`, if it has
        one.
        """
        named = self._named.get(name or "") or self._named[self._all[0].name]
        for its_family, interface in named:
            if its_family is family:
                return interface
        return named[0][1]

    def named(self, name: str) -> list[MediaInterface]:
        """All that share the name, one for each address."""
        return [interface for _, interface in self._named.get(name, ())]

    def knows(self, name: str) -> bool:
        return name in self._named

    def advertised(self, local: Endpoint) -> str:
        """The address SDP names for the local endpoint."""
        interface = self._by_address.get(local.address)
        return interface.advertised or interface.address if interface else local.address


class AddressPolicy:
    """Refuses media destinations that would make the relay attack itself or others (reflection, loops)."""

    def __init__(self, interfaces: Iterable[MediaInterface], control: Iterable[str]) -> None:
        self._loopback = any(_unfit(i.address) == "loopback" for i in interfaces)
        self._control = frozenset(control)
        self._control_ports = frozenset(int(text.rpartition(":")[2]) for text in self._control)

    def check(self, endpoint: Endpoint) -> None:
        """Raises RefusedAddress."""
        objection = self._objection(endpoint)
        if objection is not None:
            raise RefusedAddress(f"Refusing {objection} as media address")

    def permits(self, endpoint: Endpoint) -> bool:
        return self._objection(endpoint) is None

    def _objection(self, endpoint: Endpoint) -> str | None:
        why = _unfit(endpoint.address)
        if why is not None and not (why == "loopback" and self._loopback):
            return f"{why} address {endpoint.address}"
        if endpoint.port == 0:
            return f"port 0 of {endpoint.address}"
        controls = endpoint.port in self._control_ports and str(endpoint) in self._control
        return f"control address {endpoint}" if controls else None
