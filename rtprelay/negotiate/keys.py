"""Keys in offer and answer: each leg has its own, agreed with that party alone (SDES; RFC 4568, RFC 8643)."""

from __future__ import annotations

from rtprelay.call.media import Media
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
    options = sdes_options(flags.sdes)
    opportunistic = not is_savp(ours.protocol)
    wanted = not passthrough and (not opportunistic or any(word.startswith("accept") for word in flags.osrtp))
    ours.crypto_received = _lines(view) if wanted else ()
    if not is_savp(ours.protocol) and not ours.crypto_received:
        ours.crypto_receive = ours.crypto_send = None
    offers = is_savp(theirs.protocol) or any(word.startswith("offer") for word in flags.osrtp)
    if passthrough or not offers or options.off:
        theirs.crypto_proposed = ()
        return
    agreed = (theirs.crypto_send,) if theirs.crypto_send is not None else ()
    before = theirs.crypto_proposed or agreed
    theirs.crypto_proposed = propose(ours.crypto_received, before, options, context.random.randbytes)


def answered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> bool:
    """The key in an answer, and the one we answer with. False: a leg that needs keys has none, the media cannot be."""
    options = sdes_options(flags.sdes)
    agreed = accept(_lines(view), theirs.crypto_proposed)
    theirs.crypto_send, theirs.crypto_receive = agreed if agreed is not None else (None, None)
    chosen = choose(ours.crypto_received, options)
    if chosen is not None:
        ours.crypto_send = respond(chosen, ours.crypto_send, options, context.random.randbytes)
        ours.crypto_receive = chosen
    return all(not media.secure or media.crypto_receive is not None for media in (ours, theirs))


def attributes(media: Media, *, offering: bool) -> tuple[str, ...]:
    """The a=crypto attributes the party is to see: all we offer it, or the one we answer with."""
    lines = media.crypto_proposed if offering else (media.crypto_send,) if media.crypto_send is not None else ()
    return tuple(f"crypto:{line}" for line in lines)


def _lines(view: MediaView) -> tuple[CryptoLine, ...]:
    return tuple(line for line in map(parse_crypto, view.crypto[:MAX_LINES]) if line is not None)
