"""DTLS-SRTP in offer and answer (RFC 5763, RFC 8842): each leg has its own association.

The other side is offered DTLS wherever its profile is a secure one, unless `DTLS=off`; beside SDES it may choose, and
in UDP/TLS/... there is nothing else. Where a party offers or answers both, DTLS is taken. Our role towards an `actpass`
offer is active, unless `DTLS=passive` (in the answer) or `DTLS-reverse=passive` (in the offer) says otherwise.
"""

from __future__ import annotations

from msgspec import structs

from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg
from rtprelay.negotiate.context import Context
from rtprelay.sdp.view import MediaView, is_savp
from rtprelay.signalling.command import MediaFlags

MAX_FINGERPRINTS = 8
OFF = "off"


def offered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> None:
    passthrough = ours.passthrough and theirs.passthrough
    ours.dtls = None if passthrough else _take(ours.dtls, view, _reply(view.setup, flags.dtls_reverse), context)
    if passthrough:
        theirs.dtls = None
    else:
        proposed(theirs, flags, context)


def proposed(theirs: Media, flags: MediaFlags, context: Context) -> None:
    """What a party will be offered."""
    if not _wanted(theirs, flags):
        theirs.dtls = None
    elif theirs.dtls is None or flags.reset or not context.identity.knows(theirs.dtls.certificate):
        theirs.dtls = DtlsLeg(setup="actpass", tls_id=_tls_id(context), certificate=context.identity.newest())


def agreed(theirs: Media, view: MediaView, context: Context) -> None:
    """What a party answered."""
    if theirs.dtls is not None:
        theirs.dtls = _take(theirs.dtls, view, "passive" if view.setup == "active" else "active", context)


def replied(ours: Media, flags: MediaFlags) -> None:
    """What the offerer will be answered: the last word on our role, as long as nothing has been said to it."""
    if ours.dtls is not None and flags.dtls == OFF:
        ours.dtls = None
    elif ours.dtls is not None and flags.dtls == "passive" and ours.dtls.choice and ours.crypto_send is None:
        ours.dtls.setup = "passive"


def taken(media: Media, view: MediaView, flags: MediaFlags, context: Context) -> None:
    """An offer we answer ourselves (publish)."""
    wished = flags.dtls if flags.dtls != OFF else None
    media.dtls = None if flags.dtls == OFF else _take(media.dtls, view, _reply(view.setup, wished), context)


def attributes(media: Media, flags: MediaFlags, context: Context, *, offering: bool) -> tuple[str, ...]:
    leg = media.dtls
    if leg is None:
        return ()
    if not context.identity.knows(leg.certificate):
        # Lost in a restart, or long expired: the party is told of the one we have now, and of a new association.
        media.dtls = leg = structs.replace(leg, tls_id=_tls_id(context), certificate=context.identity.newest())
    if leg.lost:
        # Chromium begins anew only where the fingerprint changes: the same certificate, by another hash.
        name = "sha-256" if leg.fingerprint_hash == "sha-384" else "sha-384"
        media.dtls = leg = structs.replace(leg, tls_id=_tls_id(context), fingerprint_hash=name, lost=False)
    setup = "actpass" if offering else leg.setup
    name = leg.fingerprint_hash or flags.dtls_fingerprint.lower()
    fingerprint = context.identity.fingerprint(leg.certificate, name)
    tls_id = () if flags.no_tls_id else (f"tls-id:{leg.tls_id}",)
    return (f"setup:{setup}", f"fingerprint:{name} {fingerprint}", *tls_id)


def _wanted(theirs: Media, flags: MediaFlags) -> bool:
    return flags.dtls != OFF and (is_savp(theirs.protocol) or theirs.channel)


def _reply(setup: str | None, wished: str | None) -> str:
    """Our role towards an offered a=setup (RFC 5763 section 5)."""
    if setup == "active":
        return "passive"
    return "passive" if setup != "passive" and wished == "passive" else "active"


def _take(leg: DtlsLeg | None, view: MediaView, setup: str, context: Context) -> DtlsLeg | None:
    """The party's certificate; the same one under the same tls-id goes on with the association there is."""
    if not view.fingerprints or not (view.is_savp or view.is_channel):
        return None
    fingerprints = view.fingerprints[:MAX_FINGERPRINTS]
    if leg is None or not context.identity.knows(leg.certificate):
        leg = DtlsLeg(setup=setup, tls_id=_tls_id(context), certificate=context.identity.newest())
    elif leg.fingerprints and (leg.fingerprints, leg.remote_tls_id) == (fingerprints, view.tls_id):
        return leg
    elif leg.fingerprints:
        leg = structs.replace(leg, tls_id=_tls_id(context), certificate=context.identity.newest())
    choice = view.setup not in ("active", "passive")
    return structs.replace(leg, setup=setup, choice=choice, fingerprints=fingerprints, remote_tls_id=view.tls_id)


def offered_again(leg: DtlsLeg | None) -> DtlsLeg | None:
    """The same offer, answered by another device (forking)."""
    return leg and DtlsLeg(setup="actpass", tls_id=leg.tls_id, certificate=leg.certificate)


def _tls_id(context: Context) -> str:
    """RFC 8842 section 4: at least 120 bits of chance."""
    return f"{context.random.getrandbits(128):032x}"
