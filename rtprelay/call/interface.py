"""A named local address that media flows through."""

from __future__ import annotations

import msgspec


class MediaInterface(msgspec.Struct, frozen=True, kw_only=True):
    """`[NAME/]ADDRESS[!ADVERTISED]` with its port range, both ends included."""

    name: str
    address: str
    advertised: str | None = None
    """Put into SDP instead of `address` (1:1 NAT)."""
    port_min: int = 30000
    port_max: int = 40000
