"""Which network devices are served, and how: tc ingress wherever packets come in, native XDP where it pays.

tc is attached to every device that has an address beyond the link: it knows every rule, and a packet to a media address
may enter by any of them, `lo` included. On a device that has one of the relay's media addresses native XDP in front of
it takes what it can serve alone (elsewhere it would cost the host's TCP its GRO for nothing). That needs a driver that
can also *send* redirected frames, which some (virtio) can only once a program is attached: so it is tried, and taken
back in vain.

Nothing here stops the daemon: a device that cannot be served is reported as it is, and tried again when it changes.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence
from pathlib import Path

from rtprelay.errors import BackendFault
from rtprelay.kernel import libbpf
from rtprelay.kernel.backend import InterfaceMode
from rtprelay.kernel.netlink import Link, Netlink
from rtprelay.kernel.nexthop import takes_redirects
from rtprelay.kernel.pins import Pins

_ACCEPT_LOCAL = Path("/proc/sys/net/ipv4/conf/lo/accept_local")


def allow_local_delivery() -> None:
    """What tc hands to a socket of this host comes in at `lo`, from an address of ours: the IPv4 stack takes that for
    forged unless told otherwise. Only this host can send on `lo`, so nobody gains by it."""
    with contextlib.suppress(OSError):
        _ACCEPT_LOCAL.write_text("1")


def filter_handle(root: Path) -> int:
    """Several relays may serve one device: each has a filter of its own there, by where its pins are."""
    return 1 + zlib.crc32(bytes(root)) % 0xFFFE


def _link_local(packed: bytes) -> bool:
    """fe80::/10: every device has one, whether it is used or not (bridge ports, containers' ends)."""
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


class Attachments:
    """The devices served now. `reconcile` whenever links or addresses may have changed."""

    def __init__(self, pins: Pins, netlink: Netlink, addresses: frozenset[bytes], use_xdp: bool) -> None:
        self._pins = pins
        self._netlink = netlink
        self._addresses = addresses
        self._use_xdp = use_xdp
        self._handle = filter_handle(pins.root)
        self._links: dict[int, Link] = {}
        self._media: set[int] = set()
        """The devices with media addresses."""
        self._modes: dict[int, InterfaceMode] = {}
        self._xdp: dict[int, libbpf.Link] = {}

    def modes(self) -> Sequence[InterfaceMode]:
        return tuple(self._modes[index] for index in sorted(self._modes))

    def reconcile(self) -> None:
        """Serve the devices that have addresses now, and no others."""
        known = {link.index: link for link in self._netlink.links()}
        addresses = [a for a in self._netlink.addresses() if a.index in known and not _link_local(a.packed)]
        wanted = {address.index: known[address.index] for address in addresses}
        media = {address.index for address in addresses if address.packed in self._addresses}
        for index in self._modes.keys() - wanted.keys():
            self._detach(index, gone=index not in known)
        for index, link in wanted.items():
            mode = self._modes.get(index)
            changed = (index in media) != (index in self._media)
            if changed or mode is None or mode.mode == "none" or mode.interface != link.name:
                self._media = self._media - {index} | {index} & media
                self._attach(link)
        self._sweep()

    def again(self) -> None:
        """Put the programs at hand in place of those that are attached, and look at every device anew."""
        for link in list(self._links.values()):
            self._attach(link)
        self.reconcile()

    def close(self) -> None:
        """Let go of the descriptors; pinned links and tc filters stay."""
        for link in self._xdp.values():
            link.close()
        self._xdp.clear()

    def _attach(self, link: Link) -> None:
        self._links[link.index] = link
        try:
            libbpf.tc_attach(link.index, self._pins.tc, self._handle)
        except BackendFault as fault:
            self._modes[link.index] = InterfaceMode(link.name, "none", fault.reason)
            return
        obstacle = self._attach_xdp(link)
        if obstacle is None:
            self._modes[link.index] = InterfaceMode(link.name, "native", "the driver takes and sends XDP frames")
        else:
            self._modes[link.index] = InterfaceMode(link.name, "tc", obstacle)

    def _attach_xdp(self, link: Link) -> str | None:
        """None where native XDP is attached, otherwise why it is not."""
        obstacle = self._why_not_xdp(link)
        if obstacle is None:
            try:
                self._put_xdp(link)
            except BackendFault as fault:
                obstacle = f"XDP: {fault.reason}"
            else:
                if takes_redirects(link, self._netlink.xdp_features(link.index)):
                    return None
                obstacle = "the driver cannot send frames that XDP redirects to it"
        self._take_xdp(link.index)
        return obstacle

    def _why_not_xdp(self, link: Link) -> str | None:
        """What speaks against even trying."""
        if link.index not in self._media:
            return "no media address here, but packets to one may come in"
        if not self._use_xdp:
            return "XDP is switched off"
        if link.loopback:
            return "the loopback device has no native XDP"
        if not link.ethernet:
            return "not an Ethernet device"
        if link.kind == "vlan":
            return "a VLAN device has no native XDP"
        features = self._netlink.xdp_features(link.index)
        if features is not None and not (features.basic and features.redirect):
            return "the driver has no native XDP"
        if link.kind == "veth" and features is None:
            return "this kernel (before 6.3) does not tell whether the peer of a veth takes redirected frames"
        if link.kind == "veth" and not takes_redirects(link, features):
            return "the peer of this veth has neither an XDP program nor GRO, so it takes no redirected frames"
        return None

    def _put_xdp(self, link: Link) -> None:
        """Attach, or replace our own program that is there."""
        path = self._pins.link(link.index)
        attached = self._xdp.get(link.index)
        if attached is None and path.exists():
            attached = libbpf.Link.open(path)
            if attached.ifindex != link.index:
                # Of a device that is gone, and had this number before.
                attached.close()
                path.unlink()
                attached = None
        if attached is not None:
            self._xdp[link.index] = attached
            attached.update(self._pins.xdp)
            return
        self._xdp[link.index] = libbpf.Link.xdp(self._pins.xdp, link.index)
        self._xdp[link.index].pin(path)

    def _take_xdp(self, index: int) -> None:
        """Native XDP off, if it is ours: the link goes with its last reference."""
        attached = self._xdp.pop(index, None)
        if attached is not None:
            attached.close()
        self._pins.link(index).unlink(missing_ok=True)

    def _detach(self, index: int, gone: bool) -> None:
        del self._links[index]
        self._media.discard(index)
        del self._modes[index]
        self._take_xdp(index)
        if not gone:
            libbpf.tc_detach(index, self._handle)

    def _sweep(self) -> None:
        """Links a predecessor left at devices that are no longer served."""
        served = {self._pins.link(index) for index in self._xdp}
        for path in self._pins.links():
            if path not in served:
                path.unlink()
