"""The benchmark's network, one per daemon under test, nothing on the host's own interfaces.

senders 10.90.1.2 ---- veth ---- 10.90.1.1  relay  10.90.2.1 ---- veth ---- 10.90.2.2 receivers
device out                       devices side-a, side-b; ng on lo                     device in
"""

from __future__ import annotations

import itertools
import json
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bench.ng import NgClient
from tools.netns import Namespace, veth

SENDER, RELAY_A, RELAY_B, RECEIVER = "10.90.1.2", "10.90.1.1", "10.90.2.1", "10.90.2.2"


class Topology:
    """Three namespaces in a row. Use as a context manager."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.senders = stack.enter_context(Namespace("snd"))
            self.relay = stack.enter_context(Namespace("rly"))
            self.receivers = stack.enter_context(Namespace("rcv"))
            for namespace in (self.senders, self.relay, self.receivers):
                # Router solicitations and multicast reports would be counted as the relay's work.
                namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
            # Media ports are nearly all the others: a relay does not share them with whoever wants any.
            self.relay.sysctl("net.ipv4.ip_local_port_range", "3000 9000")
            veth(self.senders, "out", self.relay, "side-a")
            veth(self.relay, "side-b", self.receivers, "in")
            self.senders.address("out", f"{SENDER}/24")
            self.relay.address("side-a", f"{RELAY_A}/24")
            self.relay.address("side-b", f"{RELAY_B}/24")
            self.receivers.address("in", f"{RECEIVER}/24")
            # The generator makes whole frames and needs the relay's MAC; the relay learns its neighbours as ever.
            self.sender_mac = _mac(self.senders, "out")
            self.relay_mac = _mac(self.relay, "side-a")
            self._spares = itertools.count()
            self._stack = stack.pop_all()

    def spare(self) -> str:
        """A device without traffic, for a generator's program to be attached to; it goes with the topology."""
        name = f"spare{next(self._spares)}"
        veth(self.senders, name, self.senders, f"{name}-peer")
        return name

    def client(self) -> NgClient:
        return NgClient(self.relay.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _mac(namespace: Namespace, device: str) -> str:
    return str(json.loads(namespace.ip("-json", "link", "show", "dev", device))[0]["address"])
