"""The pools of all local addresses, and one command's claims on them: kept or undone as a whole."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from rtprelay.call.interface import MediaInterface
from rtprelay.call.ports import PortPool
from rtprelay.values import Endpoint


class Ports:
    """One pool per local address; interfaces that share an address share its ports."""

    def __init__(self, interfaces: Iterable[MediaInterface], quarantine: float, rng: random.Random) -> None:
        self.pools: dict[str, PortPool] = {}
        for i in interfaces:
            if i.address not in self.pools:
                self.pools[i.address] = PortPool(i.address, i.port_min, i.port_max, quarantine, rng)

    def claim(self, rtp: Iterable[Endpoint]) -> None:
        """Ports of restored calls."""
        by_address: defaultdict[str, list[int]] = defaultdict(list)
        for endpoint in rtp:
            by_address[endpoint.address].append(endpoint.port)
        for address, ports in by_address.items():
            if address in self.pools:
                self.pools[address].claim(ports)

    def give_back(self, rtp: Endpoint, now: float, *, clean: bool = False) -> None:
        if rtp.address in self.pools:
            self.pools[rtp.address].give_back(rtp, now, clean=clean)


class PortTransaction:
    """The PortSource of one command."""

    def __init__(self, ports: Ports, now: float) -> None:
        self._ports = ports
        self._now = now
        self.taken: list[tuple[Endpoint, Endpoint]] = []
        self.given: list[Endpoint] = []

    def take(self, interface: MediaInterface) -> tuple[Endpoint, Endpoint]:
        pair = self._ports.pools[interface.address].take(self._now)
        self.taken.append(pair)
        return pair

    def free(self, interface: MediaInterface) -> bool:
        return self._ports.pools[interface.address].free(self._now)

    def give_back(self, rtp: Endpoint) -> None:
        self.given.append(rtp)

    def commit(self) -> None:
        for rtp in self.given:
            self._ports.give_back(rtp, self._now)

    def roll_back(self, unusable: Endpoint | None = None) -> None:
        """Undo all; the pair that `unusable` belongs to goes into quarantine."""
        for pair in self.taken:
            self._ports.give_back(pair[0], self._now, clean=unusable not in pair)
        self.taken, self.given = [], []
