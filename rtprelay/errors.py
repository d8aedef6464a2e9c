"""One error tree: their fault (a request we refuse) or ours. The text is the ng `error-reason`."""

from __future__ import annotations


class RelayError(Exception):
    """Base of all; `reason` goes on the wire, `label` into metrics."""

    label = "error"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PeerFault(RelayError):
    """The request cannot be carried out as it stands; the sender has to change it."""

    label = "peer_fault"


class MalformedMessage(PeerFault):
    """Bytes that are no message of the expected encoding."""

    label = "malformed_message"


class MalformedSdp(PeerFault):
    label = "malformed_sdp"


class UnknownCall(PeerFault):
    label = "unknown_call"

    def __init__(self, reason: str = "Unknown call-id") -> None:
        super().__init__(reason)


class RefusedAddress(PeerFault):
    """A media address no relay may send to (security: loops, reflection)."""

    label = "refused_address"


class OurFault(RelayError):
    """The request was fine; we could not serve it."""

    label = "our_fault"


class PortsExhausted(OurFault):
    """Kamailio and OpenSIPS compare this text to fail over to another node."""

    label = "ports_exhausted"

    def __init__(self) -> None:
        super().__init__("Ran out of ports")


class BackendFault(OurFault):
    label = "backend"


class PinsInUse(OurFault):
    """Another relay runs with the same pins. Like a busy port no reason to do without the kernel: an error."""

    label = "pins_in_use"
