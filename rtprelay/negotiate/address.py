"""Which addresses we listen on for a party, and which addresses of a party we are willing to send to."""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

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


ROUND_ROBIN = "round-robin-calls"
"""As the name of an interface: all of them take turns."""
_FAMILIES = {"internal": Family.IP4, "external": Family.IP6}
"""What these names mean where no interface has them (as with rtpproxy)."""


class Interfaces:
    """The named media interfaces; one name may have an address of each family, and further ones for ICE.

    A name may stand for several of them: `pub` for `pub:1` and `pub:2`, which take turns as long as they have ports. A
    party stays where it once is.
    """

    def __init__(
        self, interfaces: Sequence[MediaInterface], aliases: Mapping[str, str] | None = None, *, saving: bool = False
    ) -> None:
        if not interfaces:
            raise ValueError("at least one media interface is needed")
        self.saving = saving
        """Each media has ports at one address only, the first of its family that has some; ICE has to do with it."""
        self._by_address = {i.address: i for i in reversed(interfaces)}
        self._named: dict[str, list[tuple[Family, MediaInterface]]] = {}
        for i in interfaces:
            self._named.setdefault(i.name, []).append((Endpoint(i.address, 0).family, i))
        self._meant: dict[str, tuple[str, ...]] = {}
        for name in self._named:
            base, colon, _ = name.partition(":")
            self._meant[base] = (*self._meant.get(base, ()), name) if colon else (name,)
        self._meant |= {name: (name,) for name in self._named}
        self._meant |= {alias: self._meant[name] for alias, name in (aliases or {}).items()}
        self._usual = self._meant[interfaces[0].name.partition(":")[0]]
        self._turns: Counter[tuple[str, ...]] = Counter()

    def choose(
        self, name: str | None, family: Family | None, present: str, free: Callable[[MediaInterface], bool]
    ) -> MediaInterface:
        """The interface called `name`, at an address of `family` if it has one. Without a name it is the one at
        `present`; an unknown one, or none at all, means the usual one. `free` tells whether there are ports left.
        """
        meant = self._meant.get(name or present)
        if meant is None:
            family = _FAMILIES.get(name or "", family)
            meant = tuple(self._named) if name == ROUND_ROBIN else self._usual
        if present in meant:
            meant = (present,)
        if len(meant) == 1:
            return self._at(meant[0], family, free)
        turn = self._turns[meant] % len(meant)
        self._turns[meant] += 1
        in_turn = [self._at(one, family, free) for one in (*meant[turn:], *meant[:turn])]
        fit = [i for i in in_turn if family in (None, Endpoint(i.address, 0).family)] or in_turn
        return next(filter(free, fit), fit[0])

    def knows(self, name: str) -> bool:
        """The name has a meaning."""
        return name in self._meant or name in _FAMILIES or name == ROUND_ROBIN

    def _at(self, name: str, family: Family | None, free: Callable[[MediaInterface], bool]) -> MediaInterface:
        named = self._named[name]
        fitting = [interface for its_family, interface in named if its_family is family]
        if not fitting:
            return named[0][1]
        return next(filter(free, fitting), fitting[0]) if self.saving else fitting[0]

    def towards(self, local: str | None) -> str | None:
        """The name of the first interface with this address."""
        interface = self._by_address.get(local or "")
        return interface.name if interface else None

    def named(self, name: str) -> list[MediaInterface]:
        """All that share the name, one for each address."""
        return [interface for _, interface in self._named.get(name, ())]

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
