"""Local UDP ports: RTP on an even one, RTCP on the next (RFC 3550 section 11).

Free pairs wait in a queue, in random order at first; a released pair goes to the end and is not taken before its
quarantine is over: an old peer may go on sending for a while, and its packets must not reach the next call.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

from rtprelay.errors import PortsExhausted
from rtprelay.values import Endpoint


class PortPool:
    """The pairs of one local address."""

    def __init__(self, address: str, port_min: int, port_max: int, quarantine: float, rng: random.Random) -> None:
        self._range = range(port_min + port_min % 2, port_max, 2)
        pairs = list(self._range)
        rng.shuffle(pairs)
        self.address = address
        self.total = 2 * len(pairs)
        self._quarantine = quarantine
        self._free: deque[tuple[int, float]] = deque((port, float("-inf")) for port in pairs)
        self._used: set[int] = set()

    @property
    def used(self) -> int:
        """Ports in use, RTCP ports included."""
        return 2 * len(self._used)

    def free(self, now: float) -> bool:
        return bool(self._free) and self._free[0][1] <= now

    def take(self, now: float) -> tuple[Endpoint, Endpoint]:
        """An RTP and an RTCP endpoint. Raises PortsExhausted."""
        if not self.free(now):
            raise PortsExhausted
        port, _ = self._free.popleft()
        self._used.add(port)
        return Endpoint(self.address, port), Endpoint(self.address, port + 1)

    def give_back(self, rtp: Endpoint, now: float, *, clean: bool = False) -> None:
        """Release the pair of `rtp`. `clean`: it never carried a packet, no quarantine."""
        if rtp.port not in self._used:
            return
        self._used.remove(rtp.port)
        if rtp.port not in self._range:
            return  # restored from a time when the range was another one
        if clean:
            self._free.appendleft((rtp.port, now))
        else:
            self._free.append((rtp.port, now + self._quarantine))

    def claim(self, ports: Iterable[int]) -> None:
        """These RTP ports are in use already (calls restored after a restart)."""
        claimed = set(ports)
        self._used |= claimed
        self._free = deque(entry for entry in self._free if entry[0] not in claimed)
