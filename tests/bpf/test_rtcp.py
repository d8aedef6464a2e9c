"""RTCP that the kernel may forward itself: one copy goes on to the receiver, the original up to the daemon, to be read.

in0 --> up0 [relay_tc] --+--> down0 --> out0      addresses and ports of the output, contents untouched
                         |
                         +--> the daemon's socket  as it was received, marked
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rtprelay.kernel import abi
from rtprelay.values import Endpoint, Family
from tests.bpf.conftest import require_programs
from tests.bpf.frames import Frame
from tests.bpf.plane import MAC_IN, MAC_OUT, Plane
from tests.bpf.stage import Stage

pytestmark = [pytest.mark.root, pytest.mark.netns]

SO_RCVMARK = 75
SO_MARK = 36
REPORT = struct.pack("!BBHI", 0x80, 201, 1, 0xAABBCCDD) + struct.pack(
    "!BBHI5sB", 0x81, 202, 2, 0xAABBCCDD, b"\1\3abc", 0
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    require_programs()
    with Plane() as plane:
        built = Stage(plane, receivers=1)
        built.relay.sysctl("net.ipv4.conf.all.rp_filter", "0")
        built.relay.sysctl("net.ipv4.conf.up0.rp_filter", "0")
        built.relay.sysctl("net.ipv6.conf.all.disable_ipv6", "0")
        built.relay.address("lo", "198.51.100.10/32", "2001:db8::10/128")
        built.relay.ip("route", "add", "192.0.2.0/24", "dev", "up0")
        built.relay.ip("-6", "route", "add", "2001:db8:1::/64", "dev", "up0")
        built.attach_tc()
        yield built
        built.close()


class Leg:
    """A flow for RTCP alone, in one family."""

    def __init__(self, stage: Stage, family: Family) -> None:
        v6 = family is Family.IP6
        self.stage = stage
        self.sender = Endpoint("2001:db8:1::1", 4001) if v6 else Endpoint("192.0.2.1", 4001)
        self.source = Endpoint("2001:db8:2::5", 30003) if v6 else Endpoint("203.0.113.5", 30003)
        self.receiver = Endpoint("2001:db8:2::77", 5005) if v6 else Endpoint("203.0.113.77", 5005)
        self.daemon = stage.relay.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.daemon.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        self.daemon.bind(("2001:db8::10" if v6 else "198.51.100.10", 0))
        self.daemon.settimeout(5)
        self.local = Endpoint(*self.daemon.getsockname()[:2])
        self.frame = Frame(self.sender, self.local, REPORT, destination_mac=stage.mac("up0"))

    def install(self, rtcp_output: int = 3, flags: int = abi.OutputFlag.PRESENT | abi.OutputFlag.READY) -> None:
        plane = self.stage.plane
        plane.reset()
        plane.put_output(3, self.source, self.receiver, ifindex=self.stage.down[0], flags=flags, tos=0x88)
        plane.put_flow(self.local, None, rtcp_expected=self.sender, rtcp_output=rtcp_output)

    def forwarded(self) -> bytes:
        return bytes(
            replace(
                self.frame,
                source=self.source,
                destination=self.receiver,
                destination_mac=MAC_OUT,
                source_mac=MAC_IN,
                ttl=64,
                tos=0x88,
            )
        )

    def read(self) -> tuple[bytes, int, Endpoint]:
        """(data, mark, sender) of what the daemon gets."""
        data, controls, _, address = self.daemon.recvmsg(2048, socket.CMSG_SPACE(4))
        marks = [
            struct.unpack("=I", value)[0]
            for level, kind, value in controls
            if (level, kind) == (socket.SOL_SOCKET, SO_MARK)
        ]
        return data, marks[0] if marks else 0, Endpoint(*address[:2])


@pytest.fixture(params=[Family.IP4, Family.IP6], ids=["ip4", "ip6"])
def leg(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Leg]:
    stage.heard(0)
    made = Leg(stage, request.param)
    yield made
    made.daemon.close()


def test_rtcp_is_sent_on_and_handed_up_as_it_came(leg: Leg) -> None:
    leg.install()
    leg.stage.send(bytes(leg.frame))
    assert leg.stage.heard(1) == [(0, leg.forwarded())]
    assert leg.read() == (REPORT, abi.Limits.MARK_FORWARDED, leg.sender)
    state, aside = leg.stage.plane.state(), leg.stage.plane.aside()
    assert (state.packets, state.bytes, aside.rtcp_packets, aside.rtcp_bytes) == (1, len(REPORT), 1, len(REPORT))
    assert (aside.punted, leg.stage.plane.sent(3).packets) == (0, 1)
    assert (state.ssrc.packets, state.last_seen > 0) == (0, True)
    assert leg.stage.plane.counts() == {"rtcp_forwarded": 1}


def test_the_handed_up_original_has_a_right_checksum(leg: Leg) -> None:
    """It was rewritten twice: a mistake would be counted by the stack and never reach the socket."""
    leg.install()
    errors = leg.stage.relay.snmp().get("InCsumErrors", 0)
    leg.stage.send(bytes(leg.frame))
    assert leg.read()[0] == REPORT
    assert leg.stage.relay.snmp().get("InCsumErrors", 0) == errors


def test_rtcp_for_userspace_is_handed_up_alone_and_unmarked(leg: Leg) -> None:
    leg.install(rtcp_output=abi.NONE)
    leg.stage.send(bytes(leg.frame))
    assert leg.read() == (REPORT, 0, leg.sender)
    assert leg.stage.heard(0) == []
    assert leg.stage.plane.counts() == {"punt_rtcp": 1}


def test_rtcp_whose_next_hop_is_unknown_is_left_to_userspace(leg: Leg) -> None:
    leg.install(flags=abi.OutputFlag.PRESENT)
    leg.stage.send(bytes(leg.frame))
    assert leg.read() == (REPORT, 0, leg.sender)
    assert leg.stage.plane.counts() == {"punt_rtcp": 1}


def test_without_a_daemon_rtcp_is_sent_on_and_the_sender_hears_no_icmp(leg: Leg) -> None:
    leg.install()
    leg.daemon.close()
    leg.stage.send(bytes(leg.frame))
    assert leg.stage.heard(1) == [(0, leg.forwarded())]
    assert leg.stage.relay.snmp("Icmp")["OutDestUnreachs"] == 0
