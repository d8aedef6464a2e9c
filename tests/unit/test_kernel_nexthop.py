"""Next hops follow the network, told by a kernel that is a table in memory."""

from __future__ import annotations

from rtprelay.kernel.netlink import (
    EventsLost,
    Link,
    LinkChanged,
    Neighbour,
    NeighbourChanged,
    Route,
    RoutesChanged,
    XdpFeatures,
)
from rtprelay.kernel.nexthop import NextHop, NextHops
from rtprelay.values import Endpoint

ETH = Link(index=2, name="eth0", up=True, ethernet=True, loopback=False, kind="", mtu=1500, mac=b"\x02" * 6)
WAN = Link(index=3, name="wan0", up=True, ethernet=True, loopback=False, kind="", mtu=9000, mac=b"\x03" * 6)
LO = Link(index=1, name="lo", up=True, ethernet=False, loopback=True, kind="", mtu=65536, mac=bytes(6))
US, THEM, OTHER, GATEWAY = (bytes([10, 0, 0, n]) for n in (1, 2, 3, 254))
USER = Endpoint("10.0.0.1", 10000)
MAC, NEW_MAC = b"\xaa" * 6, b"\xbb" * 6
REDIRECT = XdpFeatures(basic=True, redirect=True, transmit=True)


class FakeKernel:
    def __init__(self) -> None:
        self.known_links = {link.index: link for link in (LO, ETH, WAN)}
        self.routes = {THEM: Route(2, None, None, False), OTHER: Route(2, GATEWAY, 1400, False)}
        self.neighbours = {(2, THEM): MAC, (2, GATEWAY): MAC}
        self.stale: set[tuple[int, bytes]] = set()
        self.used: list[tuple[int, bytes]] = []
        self.asked = 0
        self.features = {2: REDIRECT, 3: XdpFeatures(True, True, False)}

    def links(self) -> list[Link]:
        return list(self.known_links.values())

    def link(self, index: int) -> Link | None:
        return self.known_links.get(index)

    def route(self, destination: bytes, source: bytes) -> Route | None:
        self.asked += 1
        return self.routes.get(destination)

    def neighbour(self, index: int, packed: bytes) -> Neighbour:
        self.asked += 1
        return Neighbour(index, packed, self.neighbours.get((index, packed)), (index, packed) in self.stale)

    def use_neighbour(self, index: int, packed: bytes) -> None:
        self.used.append((index, packed))

    def xdp_features(self, index: int) -> XdpFeatures | None:
        return self.features.get(index)


READY = NextHop(index=2, mtu=1500, source_mac=ETH.mac, mac=MAC, transmit=True)


def test_a_neighbour_on_the_link_is_the_next_hop() -> None:
    assert NextHops(FakeKernel()).acquire((US, THEM), USER) == READY


def test_a_gateway_is_the_next_hop_and_the_route_limits_the_mtu() -> None:
    assert NextHops(FakeKernel()).acquire((US, OTHER), USER) == NextHop(2, 1400, ETH.mac, MAC, transmit=True)


def test_a_path_in_use_is_not_asked_for_again() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    asked = kernel.asked
    hops.acquire((US, THEM), USER)
    hops.release((US, THEM), USER)
    assert hops.get((US, THEM)) == READY
    assert kernel.asked == asked


def test_a_destination_of_this_host_is_local() -> None:
    kernel = FakeKernel()
    kernel.routes[THEM] = Route(1, None, None, True)
    hop = NextHops(kernel).acquire((US, THEM), USER)
    assert (hop.local, hop.mac, hop.transmit, hop.mtu) == (True, None, False, 65535)


def test_without_a_route_there_is_no_device_until_one_comes() -> None:
    kernel = FakeKernel()
    route = kernel.routes.pop(THEM)
    hops = NextHops(kernel)
    assert hops.acquire((US, THEM), USER).index == 0
    kernel.routes[THEM] = route
    hops.handle(RoutesChanged(bytes(4), 0))
    assert hops.work() == {(US, THEM): READY}


def test_an_unresolved_neighbour_is_asked_for_until_it_answers() -> None:
    kernel = FakeKernel()
    del kernel.neighbours[2, THEM]
    hops = NextHops(kernel)
    assert hops.acquire((US, THEM), USER).mac is None
    assert kernel.used == [(2, THEM)]
    hops.tick()
    assert kernel.used == [(2, THEM)] * 2
    hops.handle(NeighbourChanged(Neighbour(2, THEM, MAC)))
    assert hops.work() == {(US, THEM): READY}
    hops.tick()
    assert kernel.used == [(2, THEM)] * 2


def test_a_neighbour_with_a_new_mac_changes_all_its_paths_and_no_others() -> None:
    hops = NextHops(FakeKernel())
    hops.acquire((US, OTHER), USER)
    hops.acquire((US, THEM), USER)
    hops.handle(NeighbourChanged(Neighbour(2, GATEWAY, NEW_MAC)))
    changed = hops.work()
    assert {path: hop.mac for path, hop in changed.items()} == {(US, OTHER): NEW_MAC}


def test_a_neighbour_that_fails_is_no_next_hop() -> None:
    hops = NextHops(FakeKernel())
    hops.acquire((US, THEM), USER)
    hops.handle(NeighbourChanged(Neighbour(2, THEM, None)))
    assert hops.work()[US, THEM].mac is None


def test_a_stale_neighbour_in_use_is_confirmed() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    assert kernel.used == []
    hops.handle(NeighbourChanged(Neighbour(2, THEM, MAC, stale=True)))
    assert kernel.used == [(2, THEM)]
    assert hops.work() == {}


def test_a_path_that_is_used_again_within_a_tick_is_not_asked_for_again() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    asked = kernel.asked
    hops.release((US, THEM), USER)
    hops.tick()
    assert hops.acquire((US, THEM), USER) == READY
    hops.tick()
    hops.tick()
    assert hops.get((US, THEM)) == READY
    assert kernel.asked == asked


def test_neighbours_nobody_has_used_for_a_tick_are_of_no_interest() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    hops.release((US, THEM), USER)
    hops.tick()
    hops.tick()
    hops.handle(NeighbourChanged(Neighbour(2, THEM, MAC, stale=True)))
    assert kernel.used == []
    assert not hops.doubtful


def test_only_destinations_within_a_changed_prefix_are_looked_up_again() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    hops.acquire((US, OTHER), USER)
    asked = kernel.asked
    hops.handle(RoutesChanged(bytes([10, 0, 0, 2]), 31))
    hops.handle(RoutesChanged(bytes([192, 168, 0, 0]), 16))
    hops.handle(RoutesChanged(bytes(16), 0))
    kernel.routes[THEM] = kernel.routes[OTHER] = Route(3, THEM, None, False)
    kernel.neighbours[3, THEM] = NEW_MAC
    moved = NextHop(index=3, mtu=9000, source_mac=WAN.mac, mac=NEW_MAC, transmit=False)
    assert hops.work() == {(US, THEM): moved, (US, OTHER): moved}
    assert kernel.asked == asked + 3
    hops.handle(RoutesChanged(bytes([10, 0, 0, 2]), 32))
    kernel.routes.clear()
    assert set(hops.work()) == {(US, THEM)}


def test_work_is_done_a_slice_at_a_time() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    for n in range(5):
        kernel.routes[bytes([10, 1, 0, n])] = kernel.routes[THEM]
        hops.acquire((US, bytes([10, 1, 0, n])), USER)
    kernel.routes.clear()
    hops.handle(RoutesChanged(bytes(4), 0))
    assert len(hops.work(3)) == 3
    assert hops.doubtful
    assert len(hops.work(3)) == 2
    assert not hops.doubtful


def test_a_link_that_goes_down_takes_its_paths_along_until_it_is_back() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    down = Link(2, "eth0", False, True, False, "", 1500, ETH.mac)
    kernel.known_links[2] = down
    hops.handle(LinkChanged(down, gone=False))
    assert hops.work()[US, THEM].index == 0
    kernel.known_links[2] = ETH
    hops.handle(LinkChanged(ETH, gone=False))
    assert hops.work() == {(US, THEM): READY}


def test_features_of_a_device_may_change_without_an_event_of_the_link() -> None:
    kernel = FakeKernel()
    kernel.features[2] = XdpFeatures(True, True, False)
    hops = NextHops(kernel)
    assert not hops.acquire((US, THEM), USER).transmit
    kernel.features[2] = REDIRECT
    hops.features_changed()
    assert hops.work() == {(US, THEM): READY}


def test_before_linux_6_3_hardware_is_trusted_and_a_veth_is_not() -> None:
    kernel = FakeKernel()
    kernel.features.clear()
    kernel.known_links[3] = Link(3, "veth0", True, True, False, "veth", 1500, WAN.mac)
    kernel.routes[OTHER] = Route(3, None, None, False)
    hops = NextHops(kernel)
    assert hops.acquire((US, THEM), USER).transmit
    assert not hops.acquire((US, OTHER), USER).transmit


def test_lost_events_make_everything_doubtful() -> None:
    kernel = FakeKernel()
    hops = NextHops(kernel)
    hops.acquire((US, THEM), USER)
    kernel.neighbours[2, THEM] = NEW_MAC
    hops.handle(EventsLost())
    assert hops.work()[US, THEM].mac == NEW_MAC
