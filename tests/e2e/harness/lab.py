"""Where the calls take place: two labs with the same names for things.

`VethLab`, native XDP on the relay's two interfaces:

    caller namespace           relay namespace            callee namespace
    192.0.2.2     wire ------- west 192.0.2.1     (Kamailio, relay, ng on 127.0.0.1)
    2001:db8:1::2                   2001:db8:1::1
                                    198.51.100.1  east ------- wire 198.51.100.2
                                    2001:db8:2::1                   2001:db8:2::2

The relay namespace does not route: media that arrives came through the relay.

`LoopbackLab`, everybody on `lo` of one namespace, where only tc sees packets:

    127.0.0.2 caller      127.0.0.1 west, 127.0.0.4 east      127.0.0.3 callee
    2001:db8:1::2         2001:db8:1::1   2001:db8:2::1       2001:db8:2::2
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tools.netns import Namespace, checksum_offload, veth


@dataclass(frozen=True)
class Site:
    """Where one party lives."""

    namespace: Namespace
    interface: str
    ip4: str
    ip6: str

    def address(self, family: int) -> str:
        return self.ip4 if family == 4 else self.ip6


@dataclass(frozen=True)
class Lab:
    caller: Site
    callee: Site
    west: Site
    """The relay's side towards the caller; the default one."""
    east: Site

    @property
    def relay(self) -> Namespace:
        return self.west.namespace

    @property
    def on_loopback(self) -> bool:
        return self.west.interface == "lo"

    def offload(self, on: bool) -> None:
        """Whether senders leave the UDP checksum to a card that does not exist."""
        for site in {site.namespace.name: site for site in (self.caller, self.callee)}.values():
            checksum_offload(site.namespace, site.interface, on)


@contextmanager
def veth_lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        caller, relay, callee = (stack.enter_context(Namespace(label)) for label in ("caller", "relay", "callee"))
        for namespace in (caller, relay, callee):
            stack.callback(_end_leftovers, namespace)
        veth(caller, "wire", relay, "west")
        veth(callee, "wire", relay, "east")
        lab = Lab(
            caller=Site(caller, "wire", "192.0.2.2", "2001:db8:1::2"),
            callee=Site(callee, "wire", "198.51.100.2", "2001:db8:2::2"),
            west=Site(relay, "west", "192.0.2.1", "2001:db8:1::1"),
            east=Site(relay, "east", "198.51.100.1", "2001:db8:2::1"),
        )
        for site in (lab.caller, lab.callee, lab.west, lab.east):
            site.namespace.address(site.interface, f"{site.ip4}/24", f"{site.ip6}/64")
        for user, gateway in ((lab.caller, lab.west), (lab.callee, lab.east)):
            user.namespace.route("default", gateway.ip4)
            user.namespace.route("default", gateway.ip6)
        relay.sysctl("net.ipv4.ip_forward", "0")
        relay.sysctl("net.ipv6.conf.all.forwarding", "0")
        yield lab


@contextmanager
def loopback_lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace("lo"))
        stack.callback(_end_leftovers, namespace)
        lab = Lab(
            caller=Site(namespace, "lo", "127.0.0.2", "2001:db8:1::2"),
            callee=Site(namespace, "lo", "127.0.0.3", "2001:db8:2::2"),
            west=Site(namespace, "lo", "127.0.0.1", "2001:db8:1::1"),
            east=Site(namespace, "lo", "127.0.0.4", "2001:db8:2::1"),
        )
        for site in (lab.caller, lab.callee, lab.west, lab.east):
            namespace.address("lo", f"{site.ip6}/128")
        # What tc puts back into the stack (a further copy, a packet that changed its IP version) is routed anew, and
        # without this the kernel takes a packet to 127.0.0.0/8 that is routed, not just delivered, for a martian.
        namespace.sysctl("net.ipv4.conf.lo.route_localnet", "1")
        yield lab


def _end_leftovers(namespace: Namespace) -> None:
    """A program that outlives its test would keep the namespace; all in here were started by this run."""
    for pid in namespace.processes():
        namespace.run("kill", "-9", str(pid), check=False)
