"""What the operator decides about the relay, as values; `config/` reads them from files and options."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rtprelay.call.interface import MediaInterface
from rtprelay.ice.agent import CONSENT_EXPIRY
from rtprelay.security.dtls import CIPHERS, MTU
from rtprelay.signalling.command import EndpointLearning

__all__ = ["MediaInterface", "Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds; 0 switches a timeout off."""

    interfaces: tuple[MediaInterface, ...]
    """The first is the default one."""
    interface_aliases: Mapping[str, str] = {}
    """Further names of interfaces."""
    save_interface_ports: bool = False
    """Ports at one address of an interface only."""
    timeout: float = 60.0
    silent_timeout: float = 3600.0
    offer_timeout: float = 3600.0
    final_timeout: float = 0.0
    delete_delay: float = 30.0
    endpoint_learning: EndpointLearning = EndpointLearning.HEURISTIC
    tos: int = 0
    port_quarantine: float = 5.0
    """A closed port is not given out again for so long: late packets of the old call."""
    max_sessions: int = -1
    """-1: no limit; 0: no new call."""
    max_load: float = 0.0
    """Load average of the host above which no new call is taken; 0: any. So are the next two."""
    max_cpu: float = 0.0
    """Percent of all cores."""
    max_bandwidth: int = 0
    """Bytes of media per second."""
    unheard_bandwidth: int = 1_000_000
    """Bytes per second for a party that was never heard; 0: any."""
    ice_consent_timeout: float = CONSENT_EXPIRY
    """Of legs made from now on."""
    dtls_ciphers: str = CIPHERS
    """Of handshakes, as OpenSSL writes them."""
    dtls_mtu: int = MTU
    """Of handshake datagrams."""
    reject_invalid_sdp: bool = False
    """SDP is refused for lines that are none of SDP, which are passed on otherwise."""
    control_tos: int = 0
    """IP TOS of replies over ng/UDP."""
    control_addresses: tuple[str, ...] = ()
    """Never a media destination."""
