"""Where packets leave: device, MAC addresses and MTU of each pair of addresses in use, kept true as the net changes.

Theory of operation. A *path* is (our address, their address); each is looked up once, when its first output comes,
and forgotten when nothing has used it for a tick: the next call often goes where the last one went, and asking the
kernel takes 60 us. Events only mark paths as doubtful (`handle`); `work` looks the doubtful ones up again, a
slice at a time so that a default route that flaps under 50,000 calls does not stop the event loop, and names those
that changed.

The kernel's neighbour table does not see us: XDP traffic passes it by, so nothing in it would ever be confirmed or
resolved. A neighbour in use that goes stale is therefore *used* (NTF_USE) on the traffic's behalf, and one that is
unresolved again on every `tick`. The kernel then asks, and its answer is an event like any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

import msgspec

from rtprelay.kernel.netlink import (
    AddressChanged,
    Event,
    EventsLost,
    Link,
    LinkChanged,
    Neighbour,
    NeighbourChanged,
    Route,
    RoutesChanged,
    XdpFeatures,
)
from rtprelay.values import Endpoint

Path = tuple[bytes, bytes]
"""(our address, their address), each of 4 or 16 bytes."""

_MAX_MTU = 0xFFFF
_PROBES_PER_TICK = 256


class Kernel(Protocol):
    """What is asked of netlink (`netlink.Netlink`)."""

    def links(self) -> list[Link]: ...

    def link(self, index: int) -> Link | None: ...

    def route(self, destination: bytes, source: bytes) -> Route | None: ...

    def neighbour(self, index: int, packed: bytes) -> Neighbour: ...

    def use_neighbour(self, index: int, packed: bytes) -> None: ...

    def xdp_features(self, index: int) -> XdpFeatures | None: ...


def takes_redirects(link: Link, features: XdpFeatures | None) -> bool:
    """True where XDP can send to the device. Before Linux 6.3 nobody tells: drivers with native XDP can, but whether a
    veth can is up to its peer, out of our sight."""
    if features is None:
        return link.ethernet and link.kind != "veth"
    return link.ethernet and features.transmit


class NextHop(msgspec.Struct, frozen=True, gc=False):
    """The way of one path. `mac` None: not resolved (yet), the slow path of the kernel may know better."""

    index: int
    """0: there is no route."""
    mtu: int
    source_mac: bytes = bytes(6)
    mac: bytes | None = None
    local: bool = False
    """The destination is this host."""
    transmit: bool = False
    """XDP can send to this device."""


_NO_ROUTE = NextHop(index=0, mtu=_MAX_MTU)


class _Entry:
    __slots__ = ("hop", "neighbour", "users")

    def __init__(self) -> None:
        self.hop = _NO_ROUTE
        self.neighbour: tuple[int, bytes] | None = None
        self.users: dict[Endpoint, int] = {}
        """How many outputs of which ports."""


class NextHops:
    """The paths in use and their next hops."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._paths: dict[Path, _Entry] = {}
        self._links = {link.index: link for link in kernel.links()}
        self._transmit: dict[int, bool] = {}
        self._neighbours: dict[tuple[int, bytes], Neighbour] = {}
        self._users: defaultdict[tuple[int, bytes], set[Path]] = defaultdict(set)
        self._unresolved: dict[tuple[int, bytes], None] = {}
        self._doubtful: dict[Path, None] = {}
        self._prefixes: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        """(bits of the family, bits of the prefix) -> prefixes whose routes changed."""
        self._unused: set[Path] = set()
        """Their last output has left since the last tick; the others, before it."""
        self._unused_for_long: set[Path] = set()

    def acquire(self, path: Path, user: Endpoint) -> NextHop:
        """The next hop of a path that one more output of this port uses."""
        entry = self._paths.get(path)
        if entry is None:
            entry = self._paths[path] = _Entry()
            self._look_up(path, entry)
        entry.users[user] = entry.users.get(user, 0) + 1
        return entry.hop

    def release(self, path: Path, user: Endpoint) -> None:
        users = self._paths[path].users
        others = users.pop(user) - 1
        if others:
            users[user] = others
        elif not users:
            self._unused.add(path)

    def get(self, path: Path) -> NextHop:
        return self._paths[path].hop

    def users(self, path: Path) -> Iterable[Endpoint]:
        """The ports with outputs that use it."""
        return self._paths[path].users

    def handle(self, event: Event) -> None:
        """Take note of an event; `work` draws the consequences."""
        match event:
            case NeighbourChanged(neighbour):
                self._neighbour_changed(neighbour)
            case LinkChanged(link, gone):
                self._link_changed(link, gone)
            case RoutesChanged(prefix, length):
                bits = 8 * len(prefix)
                self._prefixes[bits, length].add(int.from_bytes(prefix) >> (bits - length))
            case EventsLost():
                self._links = {link.index: link for link in self._kernel.links()}
                self._transmit.clear()
                self._neighbours.clear()
                self._doubtful = dict.fromkeys(self._paths)
            case AddressChanged():
                # An address that comes or goes takes its routes along, which have events of their own.
                return

    def features_changed(self) -> None:
        """Devices may have become able, or unable, to take frames from XDP; links tell nothing of it."""
        before, self._transmit = self._transmit, {}
        changed = {
            index
            for index, transmit in before.items()
            if index in self._links and self._can_transmit(self._links[index]) != transmit
        }
        self._doubt({path for path, entry in self._paths.items() if entry.hop.index in changed})

    @property
    def doubtful(self) -> bool:
        """True: `work` has something to do."""
        return bool(self._doubtful or self._prefixes)

    def work(self, limit: int = 1000) -> dict[Path, NextHop]:
        """Look up to `limit` doubtful paths up again; those whose next hop changed."""
        if self._prefixes:
            self._doubt_routes()
        changed = {}
        for path in list(self._doubtful)[:limit]:
            del self._doubtful[path]
            entry = self._paths[path]
            before = entry.hop
            self._look_up(path, entry)
            if entry.hop != before:
                changed[path] = entry.hop
        return changed

    def tick(self) -> None:
        """Every second or so: forget what is out of use, and ask again for neighbours that have not answered, the
        longest waiting first."""
        for path in self._unused_for_long:
            if path in self._paths and not self._paths[path].users:
                self._leave(path, self._paths.pop(path))
                self._doubtful.pop(path, None)
        self._unused_for_long, self._unused = self._unused, set()
        for key in list(self._unresolved)[:_PROBES_PER_TICK]:
            del self._unresolved[key]
            self._unresolved[key] = None
            self._kernel.use_neighbour(*key)

    def _doubt(self, paths: set[Path]) -> None:
        self._doubtful.update(dict.fromkeys(paths))

    def _doubt_routes(self) -> None:
        prefixes, self._prefixes = self._prefixes, defaultdict(set)
        for path in self._paths:
            bits, destination = 8 * len(path[1]), int.from_bytes(path[1])
            if any(
                family == bits and destination >> (bits - length) in changed
                for (family, length), changed in prefixes.items()
            ):
                self._doubtful[path] = None

    def _neighbour_changed(self, neighbour: Neighbour) -> None:
        key = (neighbour.index, neighbour.packed)
        users = self._users.get(key)
        if users is None:
            return
        if neighbour.mac != self._note_neighbour(key, neighbour):
            self._doubt(users)

    def _note_neighbour(self, key: tuple[int, bytes], neighbour: Neighbour) -> bytes | None:
        """Remember it and have it resolved or confirmed where needed; the MAC address known before."""
        before = self._neighbours.get(key)
        self._neighbours[key] = neighbour
        if neighbour.mac is None:
            self._unresolved[key] = None
        else:
            self._unresolved.pop(key, None)
            if neighbour.stale:
                self._kernel.use_neighbour(*key)
        return before.mac if before is not None else None

    def _link_changed(self, link: Link, gone: bool) -> None:
        before = self._links.get(link.index)
        self._transmit.pop(link.index, None)
        if gone:
            self._links.pop(link.index, None)
        else:
            self._links[link.index] = link
        if gone or before != link:
            # Routes over a link that went down vanish without events of their own; one that came up may be the way for
            # those that have none.
            self._doubt({path for path, entry in self._paths.items() if entry.hop.index in (0, link.index)})

    def _look_up(self, path: Path, entry: _Entry) -> None:
        source, destination = path
        route = self._kernel.route(destination, source)
        link = self._link(route.index) if route is not None else None
        if route is None or link is None or not link.up:
            self._leave(path, entry)
            entry.hop = _NO_ROUTE
            return
        mtu = min(route.mtu or _MAX_MTU, link.mtu, _MAX_MTU)
        if route.local:
            self._leave(path, entry)
            entry.hop = NextHop(index=link.index, mtu=mtu, local=True)
            return
        key = (link.index, route.gateway or destination)
        if key != entry.neighbour:
            self._leave(path, entry)
            entry.neighbour = key
            self._users[key].add(path)
        entry.hop = NextHop(
            index=link.index,
            mtu=mtu,
            source_mac=link.mac if link.ethernet else bytes(6),
            mac=self._mac(key) if link.ethernet else None,
            transmit=self._can_transmit(link),
        )

    def _leave(self, path: Path, entry: _Entry) -> None:
        """The path does not use its neighbour any more."""
        key, entry.neighbour = entry.neighbour, None
        if key is None:
            return
        users = self._users[key]
        users.discard(path)
        if not users:
            del self._users[key]
            self._neighbours.pop(key, None)
            self._unresolved.pop(key, None)

    def _mac(self, key: tuple[int, bytes]) -> bytes | None:
        known = self._neighbours.get(key)
        if known is None:
            known = self._kernel.neighbour(*key)
            self._note_neighbour(key, known)
            if known.mac is None:
                self._kernel.use_neighbour(*key)
        return known.mac

    def _link(self, index: int) -> Link | None:
        if index not in self._links:
            link = self._kernel.link(index)
            if link is not None:
                self._links[index] = link
        return self._links.get(index)

    def _can_transmit(self, link: Link) -> bool:
        if link.index not in self._transmit:
            self._transmit[link.index] = takes_redirects(link, self._kernel.xdp_features(link.index))
        return self._transmit[link.index]
