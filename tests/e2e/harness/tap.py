"""A tap on a wire: what really left and reached an interface, seen by a packet socket, whoever sent it.

For user agents that bring their own RTP stack (sipp, baresip, ffmpeg) and so cannot be asked what they sent. On `lo` a
tap is of no use: it sits in front of tc, and sees packets before they are rewritten.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Self

from tests.e2e.harness.lab import Site
from tests.e2e.harness.polling import until

_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33
_PACKET_STATISTICS = 6
_SOL_PACKET = 263


@dataclass(frozen=True)
class Captured:
    """One UDP datagram that passed; `sent` as seen from the site."""

    sent: bool
    source: tuple[str, int]
    destination: tuple[str, int]
    data: bytes
    tos: int

    @property
    def is_rtp(self) -> bool:
        """RTP version 2 and not RTCP (RFC 5761 section 4)."""
        return len(self.data) >= 12 and self.data[0] >> 6 == 2 and not 192 <= self.data[1] <= 223

    @property
    def payload_type(self) -> int:
        return self.data[1] & 0x7F

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.data[2:4], "big")


class Tap:
    """Watches the wire of one site until closed."""

    def __init__(self, site: Site) -> None:
        assert site.interface != "lo"
        # Bound with protocol 0 and only then to the interface, so that nothing from another one slips in.
        self._socket = site.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        site.namespace.call(lambda: self._socket.bind((site.interface, _ETH_P_ALL)))
        self._socket.setblocking(False)
        self._captured: list[Captured] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def collect(self) -> list[Captured]:
        """Every UDP datagram since the start."""
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                break
            captured = _parse(frame, sent=address[2] == socket.PACKET_OUTGOING)
            if captured:
                self._captured.append(captured)
        _, missed = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert not missed, f"the tap missed {missed} packets"
        return self._captured

    def hears(self, count: int, seconds: float = 10.0) -> None:
        """Wait until this many RTP packets have reached the site."""
        until(lambda: self.rtp(sent=False).total() >= count, f"{count} RTP packets on the wire", seconds)

    def rtp(self, *, sent: bool) -> Counter[bytes]:
        """The RTP packets that left (or reached) the site, each as often as it was seen."""
        return Counter(packet.data for packet in self.collect() if packet.sent is sent and packet.is_rtp)


def _parse(frame: bytes, *, sent: bool) -> Captured | None:
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800 and frame[23] == socket.IPPROTO_UDP:
        at = 14 + (frame[14] & 0x0F) * 4
        hosts = frame[26:30], frame[30:34]
        tos = frame[15]
    elif kind == 0x86DD and frame[20] == socket.IPPROTO_UDP:
        at = 54
        hosts = frame[22:38], frame[38:54]
        tos = (frame[14] << 4 | frame[15] >> 4) & 0xFF
    else:
        return None
    source_port, destination_port, length = struct.unpack_from("!HHH", frame, at)
    source, destination = (str(ipaddress.ip_address(host)) for host in hosts)
    return Captured(sent, (source, source_port), (destination, destination_port), frame[at + 8 : at + length], tos)
