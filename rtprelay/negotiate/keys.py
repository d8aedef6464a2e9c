"""Keys in offer and answer: each leg has its own, agreed with that party alone by DTLS or SDES (RFC 4568, 8643)."""

from __future__ import annotations

from rtprelay.call.media import Media
from rtprelay.negotiate import dtls
from rtprelay.negotiate.context import Context
from rtprelay.negotiate.sdes import accept, choose, propose, respond, sdes_options
from rtprelay.sdp.view import MediaView, is_savp
from rtprelay.security.sdes import CryptoLine, parse_crypto
from rtprelay.signalling.command import MediaFlags

MAX_LINES = 32
"""Of one media section that are read at all."""


def offered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> None:
    """The keys in an offer, and those we offer on."""
    passthrough = bool(flags.passthrough) and is_savp(ours.protocol) and is_savp(theirs.protocol)
    ours.passthrough = theirs.passthrough = passthrough
    dtls.offered(ours, theirs, view, flags, context)
    options = sdes_options(flags.sdes)
    opportunistic = not is_savp(ours.protocol)
    accepted = not opportunistic or any(word.startswith("accept") for word in flags.osrtp)
    ours.crypto_received = _lines(view) if accepted and not passthrough and ours.dtls is None else ()
    if ours.dtls is None and not ours.crypto_received:
        _forget(ours)
    offers = is_savp(theirs.protocol) or any(word.startswith("offer") for word in flags.osrtp)
    if passthrough or not offers or options.off or theirs.protocol.upper().startswith("UDP/TLS/"):
        theirs.crypto_proposed = ()
        return
    agreed = (theirs.crypto_send,) if theirs.crypto_send is not None and theirs.dtls is None else ()
    before = theirs.crypto_proposed or agreed
    theirs.crypto_proposed = propose(ours.crypto_received, before, options, context.random.randbytes)


def answered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> bool:
    """The key in an answer, and the one we answer with. False: a leg that needs keys has none, the media cannot be."""
    dtls.answered(ours, theirs, view, flags, context)
    options = sdes_options(flags.sdes)
    if theirs.dtls is None:
        agreed = accept(_lines(view), theirs.crypto_proposed)
        theirs.crypto_send, theirs.crypto_receive = agreed if agreed is not None else (None, None)
    chosen = choose(ours.crypto_received, options)
    if chosen is not None:
        ours.crypto_send = respond(chosen, ours.crypto_send, options, context.random.randbytes)
        ours.crypto_receive = chosen
    return all(
        not media.secure or media.dtls is not None or media.crypto_receive is not None for media in (ours, theirs)
    )


def _forget(media: Media) -> None:
    media.crypto_receive = media.crypto_send = None


def attributes(media: Media, flags: MediaFlags, context: Context, *, offering: bool) -> tuple[str, ...]:
    """The a=crypto and DTLS attributes the party is to see: all we offer it, or the one we answer with."""
    chosen = (media.crypto_send,) if media.crypto_send is not None and media.dtls is None else ()
    lines = media.crypto_proposed if offering else chosen
    keys = tuple(f"crypto:{line}" for line in lines)
    return (*keys, *dtls.attributes(media, flags, context, offering=offering))


def _lines(view: MediaView) -> tuple[CryptoLine, ...]:
    return tuple(line for line in map(parse_crypto, view.crypto[:MAX_LINES]) if line is not None)
