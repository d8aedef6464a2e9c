"""Devmaps: how XDP sends. Each entry runs the egress program, see `ebpf/lib/broadcast.h`.

`rtprelay_devices` has every device XDP may send to, for packets with a single output. A fan-out needs a devmap with one
entry for each output, on its device: a *group*. All that a group says is how many outputs are on which device, so
fan-outs for which that is the same share one; on a relay with a few devices, all rooms of a size do.

A broadcast walks a devmap to its end, and an empty entry costs it 13 ns: a group has exactly as many as it needs. One
nobody uses any more is kept as it is for the next one who wants the same, until its place or its size is wanted.
To put a devmap into the map of groups waits for all running programs, milliseconds: so the sizes that a room will want
next as it grows are made along, and as many again of a size that is wanted for other devices too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import BPF_MAP_TYPE_DEVMAP, Map, Program

_CHUNK = 16
"""So many are made at once: they are waited for together."""
_ENTRY = abi.LAYOUT[abi.GroupEntry][0]


class Group(msgspec.Struct, eq=False):
    """One devmap: the devices (ifindex) of its entries, and by how many fan-outs it is used."""

    index: int
    devmap: Map
    devices: tuple[int, ...] = ()
    users: int = 0


class Groups:
    """The devmaps; `egress` is the program of their entries."""

    def __init__(self, devices: Map, groups: Map, egress: Program) -> None:
        self._devices = devices
        self._groups = groups
        self._egress = egress
        self._served: set[int] = set()
        self._unused = list(range(groups.max_entries - 1, -1, -1))
        self._filled: dict[tuple[int, ...], Group] = {}
        self._idle: defaultdict[int, list[Group]] = defaultdict(list)
        """Without users, by size: new ones, and those that may still be wanted as they are."""
        self._made: Counter[int] = Counter()
        """How many there have been, by size."""

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
        for devices in [devices for devices in self._filled if ifindex in devices]:
            del self._filled[devices]

    def _entry(self, ifindex: int) -> bytes:
        return bytes(abi.GroupEntry(ifindex=ifindex, program_fd=self._egress.fd))

    def take(self, devices: Iterable[int]) -> Group | None:
        """The group of these devices, one for each output; None where there can be no more: then tc makes the copies.

        Each taken is to be released.
        """
        wanted = tuple(sorted(devices))
        group = self._filled.get(wanted)
        if group is None:
            try:
                group = self._fill(wanted)
            except BackendFault:
                return None
        if not group.users:
            self._idle[len(wanted)].remove(group)
        group.users += 1
        return group

    def release(self, *groups: Group) -> None:
        """One user less of each; no program knows of that one any more."""
        for group in groups:
            group.users -= 1
            if not group.users:
                self._idle[len(group.devices)].append(group)

    def _fill(self, devices: tuple[int, ...]) -> Group:
        """Make an idle group the one of these devices."""
        idle = self._idle[len(devices)]
        if not idle:
            self._make(len(devices))
        group = idle[0]
        if self._filled.get(group.devices) is group:
            del self._filled[group.devices]
        group.devices = devices
        for place, ifindex in enumerate(devices):
            group.devmap.update(_key(place), self._entry(ifindex))
        self._filled[devices] = group
        return group

    def _make(self, size: int) -> None:
        """Idle groups of this size, and some of the next ones if there are none."""
        larger = range(size + 1, abi.Limits.MAX_OUTPUTS + 1)
        again = [size] * max(1, self._made[size])
        sizes = [*again, *(other for other in larger if not self._idle[other])][:_CHUNK]
        if not self._unused:
            self._give_up_one()
        made: list[Group] = []
        try:
            for each in sizes[: len(self._unused)]:
                devmap = Map.create(BPF_MAP_TYPE_DEVMAP, "rtprelay_group", 4, _ENTRY, each)
                made.append(Group(self._unused.pop(), devmap))
            self._groups.update_batch({_key(group.index): _key(group.devmap.fd) for group in made})
        except BackendFault:
            for group in made:
                group.devmap.close()
                self._unused.append(group.index)
            raise
        for group in made:
            self._idle[group.devmap.max_entries].append(group)
            self._made[group.devmap.max_entries] += 1

    def _give_up_one(self) -> None:
        """Have the place of an idle group, the largest: it will be missed least."""
        size = max((size for size, groups in self._idle.items() if groups), default=0)
        if not size:
            raise BackendFault(f"all {self._groups.max_entries} groups of devices are in use")
        group = self._idle[size].pop(0)
        if self._filled.get(group.devices) is group:
            del self._filled[group.devices]
        group.devmap.close()
        self._unused.append(group.index)

    def reserve(self, indices: set[int]) -> None:
        """A predecessor's flows use these: nothing else may be put there yet."""
        self._unused = [index for index in self._unused if index not in indices]

    def hand_back(self, indices: set[int]) -> None:
        """No flow uses these reserved ones any more."""
        self._unused += indices

    def close(self) -> None:
        for groups in (self._filled.values(), *self._idle.values()):
            for group in groups:
                group.devmap.close()


def _key(index: int) -> bytes:
    return index.to_bytes(4, "little")
