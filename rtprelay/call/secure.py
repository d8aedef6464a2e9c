"""What a media's SDP says of ICE and DTLS, as long as the call lives; the agents at work are the core's."""

from __future__ import annotations

import msgspec

from rtprelay.ice.agent import Credentials
from rtprelay.ice.candidate import Candidate


class IceLeg(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """ICE with one party (RFC 8445, RFC 8839)."""

    local: Credentials
    remote: Credentials | None = None
    """None: the party has not answered yet."""
    candidates: tuple[Candidate, ...] = ()
    """The party's, trickled ones included."""
    ended: bool = False
    """It names no more."""
    controlling: bool = False
    """We made the offer."""
    untried: bool = False
    """Offered to a party that is reached without, and goes on so until it answers (RFC 3261 section 14.1)."""
    lite: bool = False
    """We are lite towards this party."""
    remote_lite: bool = False
    relayed: bool = False
    """Our candidates are shown as relayed ones (`ICE=force-relay`)."""


class DtlsLeg(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """DTLS-SRTP with one party (RFC 5763)."""

    certificate: str = ""
    """Which of ours the party is shown: its SHA-256 fingerprint."""
    setup: str
    """Our a=setup: actpass in an offer, then active or passive."""
    choice: bool = False
    """The party left our role to us (actpass, or nothing said)."""
    fingerprints: tuple[str, ...] = ()
    """The party's a=fingerprint values."""
    tls_id: str = ""
    """Ours (RFC 8842): a new one asks for a new association."""
    remote_tls_id: str | None = None
    lost: bool = False
    """The association died with a former process, and what it carried needs one: the party is to be told."""
    fingerprint_hash: str = ""
    """By which the party knows our certificate since then; empty: as the proxy says."""
