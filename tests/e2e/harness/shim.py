"""A bad path between a peer and the relay: two sockets that stand for each other's far end.

    peer  <----->  near [ Shim ] far  <----->  relay

The relay is told that the peer is at `far`, the peer that the relay is at `near`. STUN and DTLS go through `treat`,
which says what of a datagram is delivered, and when; media passes as it is.
"""

from __future__ import annotations

import random
import re
import select
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.e2e.harness.lab import Site

Treat = Callable[[bytes], list[bytes]]


def lossy(seed: int, loss: float, hold: float) -> Treat:
    """Drops some datagrams and holds some back until the next one has passed."""
    chance = random.Random(seed)
    held: list[bytes] = []

    def treat(datagram: bytes) -> list[bytes]:
        if chance.random() < loss:
            return []
        if not held and chance.random() < hold:
            held.append(datagram)
            return []
        passed = [datagram, *held]
        held.clear()
        return passed

    return treat


class Shim:
    """At `site`, between its peer and the relay. `treat` makes one treatment for each direction."""

    def __init__(self, site: Site, treat: Callable[[], Treat]) -> None:
        self._address = site.ip4
        self._sockets = [site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in self._sockets:
            end.bind((site.ip4, 0))
        self._near, self._far = self._sockets
        self._treat = {self._near: treat(), self._far: treat()}
        self._peer: tuple[str, int] | None = None
        self._relay: tuple[str, int] | None = None
        self.dropped = 0
        self._over, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join(5)
        for end in (*self._sockets, self._over):
            end.close()

    def from_peer(self, sdp: str) -> str:
        """The peer's SDP as the relay sees it."""
        self._peer = self._where(sdp)
        return self._instead(sdp, self._far)

    def from_relay(self, sdp: str) -> str:
        """The relay's SDP as the peer sees it."""
        self._relay = self._where(sdp)
        return self._instead(sdp, self._near)

    @staticmethod
    def _where(sdp: str) -> tuple[str, int]:
        found = re.search(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", sdp, re.M | re.I)
        assert found, sdp
        return found[1], int(found[2])

    def _instead(self, sdp: str, end: socket.socket) -> str:
        port = end.getsockname()[1]
        ours = f"a=candidate:1 1 udp 2130706431 {self._address} {port} typ host"
        lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate:")]
        at = next(index for index, line in enumerate(lines) if line.startswith("a=ice-ufrag:"))
        return "\r\n".join([*lines[:at], ours, *lines[at:], ""])

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([*self._sockets, self._over], [], [])
            if self._over in ready:
                return
            for end in ready:
                self._pass(end)

    def _pass(self, end: socket.socket) -> None:
        datagram, _ = end.recvfrom(65536)
        other, target = (self._far, self._relay) if end is self._near else (self._near, self._peer)
        passed = self._treat[end](datagram) if datagram[:1] < b"\x40" else [datagram]
        self.dropped += not passed
        if target is not None:
            for part in passed:
                other.sendto(part, target)
