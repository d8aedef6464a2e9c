"""Frames by the book, for comparison: Ethernet, 802.1Q, IPv4/IPv6, UDP, RTP, with checksums calculated in full.

Nothing here shares a line or an idea with the programs under test, which only ever adapt checksums.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from rtprelay.values import Endpoint, Family

ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
UDP = 17


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Rtp:
    sequence: int = 1000
    timestamp: int = 50_000
    ssrc: int = 0xAABBCCDD
    payload_type: int = 0
    marker: bool = False
    payload: bytes = bytes(range(160))

    def __bytes__(self) -> bytes:
        marker_type = self.marker << 7 | self.payload_type
        return struct.pack("!BBHII", 0x80, marker_type, self.sequence, self.timestamp, self.ssrc) + self.payload


@dataclass(frozen=True)
class Frame:
    """A UDP datagram in a frame; `bytes(frame)` is how it looks on the wire."""

    source: Endpoint
    destination: Endpoint
    payload: bytes
    destination_mac: bytes = bytes.fromhex("020000000001")
    source_mac: bytes = bytes.fromhex("020000000002")
    vlan: tuple[int, ...] = ()
    tos: int = 0
    ttl: int = 57
    identification: int = 0x1234
    flags_and_offset: int = 0x4000
    flow_label: int = 0
    options: bytes = b""
    udp_checksum: int | None = None
    """None: the right one."""

    @property
    def v6(self) -> bool:
        return self.source.family is Family.IP6

    def _addresses(self) -> bytes:
        return ipaddress.ip_address(self.source.address).packed + ipaddress.ip_address(self.destination.address).packed

    @property
    def pseudo_sum(self) -> int:
        """What the checksum field holds in a packet with CHECKSUM_PARTIAL."""
        length = 8 + len(self.payload)
        return ones_complement_sum(self._addresses() + struct.pack("!II", length, UDP))

    def _udp(self) -> bytes:
        length = 8 + len(self.payload)
        ports = struct.pack("!HHH", self.source.port, self.destination.port, length)
        checksum = self.udp_checksum
        if checksum is None:
            pseudo = self._addresses() + struct.pack("!II", length, UDP)
            checksum = ~ones_complement_sum(pseudo + ports + b"\0\0" + self.payload) & 0xFFFF or 0xFFFF
        return ports + struct.pack("!H", checksum) + self.payload

    def _network(self) -> bytes:
        udp = self._udp()
        if self.v6:
            first = 6 << 28 | self.tos << 20 | self.flow_label
            return struct.pack("!IHBB", first, len(udp), UDP, self.ttl) + self._addresses() + udp
        length = 20 + len(self.options) + len(udp)
        first = 4 << 4 | (20 + len(self.options)) // 4
        header = struct.pack(
            "!BBHHHBBH", first, self.tos, length, self.identification, self.flags_and_offset, self.ttl, UDP, 0
        )
        header += self._addresses() + self.options
        checksum = ~ones_complement_sum(header) & 0xFFFF
        return header[:10] + struct.pack("!H", checksum) + header[12:] + udp

    def __bytes__(self) -> bytes:
        frame = self.destination_mac + self.source_mac
        protocols = [ETH_P_8021AD, ETH_P_8021Q] if len(self.vlan) == 2 else [ETH_P_8021Q]
        for protocol, tag in zip(protocols, self.vlan, strict=False):
            frame += struct.pack("!HH", protocol, tag)
        return frame + struct.pack("!H", ETH_P_IPV6 if self.v6 else ETH_P_IP) + self._network()
