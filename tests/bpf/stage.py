"""A relay between a sender and receivers, in namespaces, with the programs attached by hand.

    sender ns            relay ns                      receivers ns
    in0 <--- veth ---> up0 [programs] down0 <--- veth ---> out0
                                      down1 <--- veth ---> out1

The receivers listen with packet sockets, so every byte that arrives is seen, wrong checksums and addresses included.
"""

from __future__ import annotations

import contextlib
import functools
import json
import select
import socket
import struct
import time
from collections.abc import Iterator

from rtprelay.kernel.libbpf import Link, tc_attach
from tests.bpf.frames import UDP
from tests.bpf.plane import Plane
from tools.netns import Namespace, veth

ETH_P_ALL = 3
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
SO_RCVBUFFORCE = 33
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6


def is_udp(protocol: int, frame: bytes) -> bool:
    """Neighbours and multicast listeners talk as well."""
    return (protocol == ETH_P_IP and frame[23] == UDP) or (protocol == ETH_P_IPV6 and frame[20] == UDP)


class Stage:
    def __init__(self, plane: Plane, receivers: int = 2) -> None:
        self.plane = plane
        self._stack = contextlib.ExitStack()
        self.sender, self.relay, self.receivers = (
            self._stack.enter_context(Namespace(label)) for label in ("bpf-a", "bpf-r", "bpf-b")
        )
        veth(self.sender, "in0", self.relay, "up0")
        self.up = self.index("up0")
        self.down: list[int] = []
        self.ears: list[socket.socket] = []
        for i in range(receivers):
            veth(self.relay, f"down{i}", self.receivers, f"out{i}")
            self.down.append(self.index(f"down{i}"))
            self.ears.append(self._stack.enter_context(self._ear(f"out{i}", self.receivers)))
        self.ears.append(self._stack.enter_context(self._ear("in0", self.sender)))
        self.home = receivers
        """The device, as `heard` names it, of what comes back to the sender."""
        self._mouth = self._stack.enter_context(self._mouth_of("in0"))
        # Router solicitations and the like are no traffic of ours.
        for namespace in (self.sender, self.relay, self.receivers):
            namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")

    def index(self, interface: str) -> int:
        return self.relay.call(lambda: socket.if_nametoindex(interface))

    def mac(self, interface: str) -> bytes:
        (link,) = json.loads(self.relay.ip("-j", "link", "show", interface))
        return bytes.fromhex(link["address"].replace(":", ""))

    def _ear(self, interface: str, namespace: Namespace) -> socket.socket:
        ear = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        ear.bind((interface, ETH_P_ALL))
        return ear

    def _mouth_of(self, interface: str) -> socket.socket:
        mouth = self.sender.socket(socket.AF_PACKET, socket.SOCK_RAW)
        mouth.bind((interface, 0))
        return mouth

    def attach_xdp(self) -> None:
        for ifindex in (self.up, *self.down):
            self.relay.call(functools.partial(self.plane.serve, ifindex))
        link = self.relay.call(lambda: Link.xdp(self.plane.programs["relay_xdp"], self.up))
        self._stack.enter_context(link)

    def attach_tc(self, interface: str = "up0") -> None:
        index = self.index(interface)
        self.relay.call(lambda: tc_attach(index, self.plane.programs["relay_tc"]))

    def send(self, frame: bytes) -> None:
        self._mouth.send(frame)

    def heard(self, count: int, patience: float = 5.0) -> list[tuple[int, bytes]]:
        """(device, frame) of all that arrived: waits for `count`, then takes whatever there is beyond."""
        return list(self._hear(count, time.monotonic() + patience))

    def _hear(self, count: int, deadline: float) -> Iterator[tuple[int, bytes]]:
        heard = 0
        while True:
            wait = 0.0 if heard >= count else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(self.ears, [], [], wait)
            if not ready:
                return
            for ear in ready:
                frame, address = ear.recvfrom(65535)
                if address[2] == PACKET_OUTGOING or not is_udp(address[1], frame):
                    continue
                heard += 1
                yield self.ears.index(ear), frame

    def unheard(self) -> int:
        """Frames that came but found the receive buffers full: the test's own loss."""
        lost = 0
        for ear in self.ears:
            lost += struct.unpack("II", ear.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return lost

    def close(self) -> None:
        self._stack.close()
