"""Who may come in, by source address: CIDR lists (RFC 4632)."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Acl:
    """Without networks: everyone."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)
        # Proxies are few and datagrams many: 0.1 us instead of 3.
        self.admits = functools.lru_cache(maxsize=1024)(self._admits)

    def become(self, networks: Sequence[Network]) -> None:
        """Another list, for all who hold this one."""
        self._networks = tuple(networks)
        self.admits.cache_clear()

    def _admits(self, host: str) -> bool:
        """`host` as a socket names it: maybe an IPv4-mapped IPv6 address, maybe with a zone id."""
        if not self._networks:
            return True
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
