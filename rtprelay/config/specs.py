"""The little languages inside options: media interfaces, listening addresses and access lists."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

from rtprelay.config.addresses import HostAddress
from rtprelay.config.options import InterfaceTable
from rtprelay.config.schema import LISTENERS, ConfigError, Network
from rtprelay.core.settings import MediaInterface
from rtprelay.values import Endpoint, canonical_address


def media_interfaces(
    specs: Sequence[str | InterfaceTable], ports: tuple[int, int], host: Sequence[HostAddress]
) -> tuple[MediaInterface, ...]:
    """The interfaces that `[NAME/]ADDRESS[!ADVERTISED]` or tables name; an ADDRESS may stand for several."""
    found: list[MediaInterface] = []
    for spec in specs:
        if _is_alias(spec):
            continue
        table = _split(spec) if isinstance(spec, str) else spec
        low, high = table.port_min or ports[0], table.port_max or ports[1]
        check_ports(low, high, f"interface {table.address}: ")
        if {";", "/"} & set(table.name):
            raise ConfigError(f"interface {table.name!r}: no name has ';' or '/'; give each interface by itself")
        advertised = None if table.advertised is None else _address(table.advertised)
        addresses = _local_addresses(table.address, host)
        if advertised is not None and len(addresses) > 1:
            # One public address stands for one private one; `any!203.0.113.1` means the addresses of its family.
            addresses = [address for address in addresses if (":" in address) == (":" in advertised)]
        found += [
            MediaInterface(name=table.name, address=address, advertised=advertised, port_min=low, port_max=high)
            for address in addresses
        ]
    twice = {(item.name, item.address) for item in found if found.count(item) > 1}
    if twice:
        raise ConfigError(f"interface {'/'.join(twice.pop())} is given twice")
    return tuple(found)


def check_ports(low: int, high: int, where: str = "") -> None:
    """A range holds a pair at least: RTP's port, an even one, and the next (RFC 3550 section 11)."""
    if low > high:
        raise ConfigError(f"{where}port-min {low} is above port-max {high}")
    if low + low % 2 >= high:
        raise ConfigError(f"{where}from port-min {low} to port-max {high} there is no even port and the next")


def interface_aliases(specs: Sequence[str | InterfaceTable], interfaces: Sequence[MediaInterface]) -> dict[str, str]:
    """What `ALIAS=NAME` among the interfaces says."""
    names = {item.name for item in interfaces}
    found: dict[str, str] = {}
    for spec in specs:
        if _is_alias(spec):
            alias, _, name = str(spec).partition("=")
            if not alias or alias in names or name not in names:
                raise ConfigError(f"interface {spec!r}: {name!r} is no interface, or {alias!r} is one")
            found[alias] = name
    return found


def _is_alias(spec: str | InterfaceTable) -> bool:
    return isinstance(spec, str) and "=" in spec


def listen_endpoints(spec: str | int) -> tuple[Endpoint, ...]:
    """`[HOST:]PORT`. A bare port means every address, a host name all addresses it has."""
    text = str(spec)
    host, _, port_text = text.rpartition(":")
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ConfigError(f"{text!r} is no [HOST:]PORT")
    hosts = _resolve(host) if host else _every_address()
    return tuple(Endpoint(address, int(port_text)) for address in hosts)


def access_lists(specs: Sequence[str]) -> Mapping[str, tuple[Network, ...]]:
    """`[KIND=]CIDR[,CIDR...]` by kind of listener. A list without one is for every kind that has none of its own."""
    named: dict[str, tuple[Network, ...]] = {}
    for spec in specs:
        kind, equals, networks = spec.rpartition("=")
        if equals and kind not in LISTENERS:
            raise ConfigError(f"control-acl {spec!r}: {kind!r} is none of {', '.join(LISTENERS)}")
        named[kind] = named.get(kind, ()) + tuple(_network(text.strip()) for text in networks.split(","))
    return {kind: named.get(kind, named.get("", ())) for kind in LISTENERS}


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"control-acl: {error}") from error
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        # Sources are compared as what they are, IPv4: it would admit nobody.
        raise ConfigError(f"control-acl: {text} is an IPv4 network in IPv6 spelling")
    return network


def _split(spec: str) -> InterfaceTable:
    name, slash, rest = spec.rpartition("/")
    address, bang, advertised = rest.partition("!")
    if not address or (slash and not name) or (bang and not advertised):
        raise ConfigError(f"{spec!r} is no [NAME/]ADDRESS[!ADVERTISED]")
    return InterfaceTable(name=name or "default", address=address, advertised=advertised or None)


def _local_addresses(text: str, host: Sequence[HostAddress]) -> list[str]:
    if text == "any":
        return [item.address for item in host if item.public] or [item.address for item in host if _loopback(item)]
    on_device = [item for item in host if item.device == text]
    if on_device:
        public = [item.address for item in on_device if item.public]
        return public or [item.address for item in on_device if _loopback(item)]
    return _resolve(text)


def _loopback(item: HostAddress) -> bool:
    return item.address == "::1" or item.address.startswith("127.")


def _address(text: str) -> str:
    try:
        return canonical_address(text.strip("[]"))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no IP address") from error


def _resolve(host: str) -> list[str]:
    """An address as it is; a name by one look-up, at start."""
    try:
        return [canonical_address(host.strip("[]"))]
    except ValueError:
        pass
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError(f"{host!r} is neither an address, a device of this host nor a name that resolves") from error
    return list(dict.fromkeys(canonical_address(str(answer[4][0])) for answer in answers))


def _every_address() -> list[str]:
    """Both families, or IPv4 alone where the kernel has IPv6 switched off."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return ["0.0.0.0"]
    return ["0.0.0.0", "::"]
