"""Floor 0: the small values everything else is made of. No I/O, no clock."""

from __future__ import annotations

import enum
import functools
import ipaddress
from typing import NewType

import msgspec

CallId = NewType("CallId", str)
Tag = NewType("Tag", str)
Ssrc = NewType("Ssrc", int)


class Family(enum.Enum):
    """Address family, spelled as in SDP (RFC 8866 section 9) and in ng replies."""

    IP4 = "IP4"
    IP6 = "IP6"


@functools.lru_cache(maxsize=65536)
def _parse(text: str) -> tuple[str, bytes]:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"address {text!r} has a zone id")
        mapped = address.ipv4_mapped
        if mapped is None:
            return str(address), address.packed
        address = mapped
    return str(address), bytes(10) + b"\xff\xff" + address.packed


def canonical_address(text: str) -> str:
    """The one spelling of an address: IPv4-mapped IPv6 becomes IPv4, IPv6 is compressed.

    Raises ValueError where `text` is no IP address or carries a zone id.
    """
    return _parse(text)[0]


class Endpoint(msgspec.Struct, frozen=True, order=True, array_like=True, cache_hash=True, gc=False):
    """A transport address: canonical IP address text and UDP port (0-65535)."""

    address: str
    port: int

    def __post_init__(self) -> None:
        if _parse(self.address)[0] != self.address:
            raise ValueError(f"address {self.address!r} is not in canonical form")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is out of range")

    @classmethod
    def parse(cls, address: str, port: int) -> Endpoint:
        """An endpoint from any spelling of the address. Raises ValueError."""
        return cls(canonical_address(address), port)

    @classmethod
    def unpack(cls, address: bytes, port: int) -> Endpoint:
        """From 4 or 16 bytes of address in network order. Raises ValueError."""
        return cls(canonical_address(str(ipaddress.ip_address(address))), port)

    @property
    def family(self) -> Family:
        # In canonical form IPv4-mapped addresses are IPv4.
        return Family.IP6 if ":" in self.address else Family.IP4

    def reaches(self, other: Endpoint) -> bool:
        """Packets can go from the one to the other: both are of one address family."""
        return (":" in self.address) is (":" in other.address)

    @property
    def packed(self) -> bytes:
        """16 bytes; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2)."""
        return _parse(self.address)[1]

    @property
    def unspecified(self) -> bool:
        """True for 0.0.0.0 and ::, which SDP uses for hold (RFC 3264 section 8.4)."""
        return self.address in ("0.0.0.0", "::")

    def with_port(self, port: int) -> Endpoint:
        return Endpoint(self.address, port)

    @property
    def pair(self) -> tuple[Endpoint, Endpoint]:
        """This port, of RTP, and the next one, of its RTCP (RFC 3550 section 11)."""
        return self, Endpoint(self.address, self.port + 1)

    def __str__(self) -> str:
        if self.family is Family.IP6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"


class Counts(msgspec.Struct, frozen=True, gc=False):
    packets: int = 0
    bytes: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.packets + other.packets, self.bytes + other.bytes, self.errors + other.errors)
