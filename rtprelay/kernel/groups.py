"""Devmaps: how XDP sends. Each entry runs the egress program, see `ebpf/lib/broadcast.h`.

`rtprelay_devices` has every device XDP may send to, for packets with a single output. A fan-out has a devmap of its own
with one entry for each output, on its device. Such a devmap is made once, put into the map of groups once - an
update there waits for all running programs, milliseconds - and given to one flow after the other. A broadcast walks a
devmap to its end, so there are some of each size.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import BPF_MAP_TYPE_DEVMAP, Map, Program

_ORDERS = (2, 4, 6, 8)
"""Devmaps have room for 4, 16, 64 or 256 outputs."""
_CHUNK = 16
"""So many are made at once: they are waited for together."""


class Group(msgspec.Struct):
    """One devmap, and the places of it that are filled."""

    index: int
    order: int
    devices: Map
    filled: set[int] = msgspec.field(default_factory=set)


class Groups:
    """The devmaps; `egress` is the program of their entries."""

    def __init__(self, devices: Map, groups: Map, egress: Program) -> None:
        self._devices = devices
        self._groups = groups
        self._egress = egress
        self._served: set[int] = set()
        self._unused = list(range(groups.max_entries - 1, -1, -1))
        self._free: dict[int, list[Group]] = {order: [] for order in _ORDERS}

    def serve(self, ifindex: int) -> bool:
        """See to it that XDP can send to this device; False where it cannot."""
        if ifindex in self._served:
            return True
        try:
            self._devices.update(_key(ifindex), self._entry(ifindex))
        except BackendFault:
            return False
        self._served.add(ifindex)
        return True

    def forget(self, ifindex: int) -> None:
        """The device is gone, and the kernel has taken it out of all devmaps."""
        self._served.discard(ifindex)

    def _entry(self, ifindex: int) -> bytes:
        return bytes(abi.GroupEntry(ifindex=ifindex, program_fd=self._egress.fd))

    def take(self, order: int) -> Group | None:
        """A group with room for 2**order outputs; None where no more can be made: then tc makes the copies."""
        order = next(size for size in _ORDERS if size >= order)
        if not self._free[order]:
            try:
                self._make(order)
            except BackendFault:
                return None
        return self._free[order].pop() if self._free[order] else None

    def _make(self, order: int) -> None:
        size = abi.LAYOUT[abi.GroupEntry][0]
        made: list[Group] = []
        try:
            while self._unused and len(made) < _CHUNK:
                devices = Map.create(BPF_MAP_TYPE_DEVMAP, "rtprelay_group", 4, size, 1 << order)
                made.append(Group(self._unused.pop(), order, devices))
            self._groups.update_batch({_key(group.index): _key(group.devices.fd) for group in made})
        except BackendFault:
            for group in made:
                group.devices.close()
                self._unused.append(group.index)
            raise
        self._free[order] += made

    def reserve(self, indices: set[int]) -> None:
        """A predecessor's flows use these: nothing else may be put there yet."""
        self._unused = [index for index in self._unused if index not in indices]

    def hand_back(self, indices: set[int]) -> None:
        """No flow uses these reserved ones any more."""
        self._unused += indices

    def put(self, group: Group, devices: Mapping[int, int]) -> None:
        """Fill these places with these devices (ifindex)."""
        for place, ifindex in devices.items():
            group.devices.update(_key(place), self._entry(ifindex))
            group.filled.add(place)

    def free(self, group: Group) -> None:
        """No program looks at it any more."""
        for place in group.filled:
            group.devices.delete(_key(place))
        group.filled.clear()
        self._free[group.order].append(group)

    def close(self) -> None:
        for groups in self._free.values():
            for group in groups:
                group.devices.close()


def _key(index: int) -> bytes:
    return index.to_bytes(4, "little")
