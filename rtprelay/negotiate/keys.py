"""Keys in offer and answer: each leg has its own, agreed with that party alone by DTLS or SDES (RFC 4568).

Keys in plain RTP/AVP (opportunistic SRTP, RFC 8643) are offered on, and taken if the other side answers with keys or
the answer says `OSRTP=accept`. Where a profile is asked for by name, the legs go their own ways: the keys are taken,
and none are offered to a plain one. With `OSRTP=offer` keys are offered in any case.
"""

from __future__ import annotations

from rtprelay.call.media import Media
from rtprelay.negotiate import dtls
from rtprelay.negotiate.context import Context
from rtprelay.negotiate.sdes import SdesOptions, accept, acceptable, choose, propose, respond, sdes_options
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
    lines = _lines(view) if not passthrough and ours.dtls is None else ()
    ours.crypto_received = acceptable(lines, options)
    opportunistic = not is_savp(ours.protocol) and bool(ours.crypto_received)
    ours.crypto_optional = opportunistic and (flags.transport_protocol is None or _osrtp(flags, "offer"))
    if ours.dtls is None and not ours.crypto_received:
        _forget(ours)
    offers = is_savp(theirs.protocol) or ours.crypto_optional or (theirs.rtp and _osrtp(flags, "offer"))
    _propose(theirs, lines, options, context, offers=offers and not passthrough)


def _osrtp(flags: MediaFlags, what: str) -> bool:
    """`OSRTP=offer`, `OSRTP=accept-RFC` ..."""
    return bool(flags.osrtp) and any(word.startswith(what) for word in flags.osrtp)


def answered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> bool:
    """The key in an answer, and the one we answer with. False: a leg that needs keys has none, the media cannot be."""
    keyed = subscribed(theirs, view, context)
    dtls.replied(ours, flags)
    options = sdes_options(flags.sdes)
    chosen = choose(ours.crypto_received, options)
    if ours.crypto_optional and not theirs.secure and not _osrtp(flags, "accept"):
        _forget(ours)
    elif chosen is not None:
        _respond(ours, chosen, options, context)
    return keyed and _keyed(ours)


def published(media: Media, view: MediaView, flags: MediaFlags, context: Context) -> bool:
    """A publisher's offer, which we answer ourselves. False: it needs keys and there are none in common."""
    dtls.taken(media, view, flags, context)
    options = sdes_options(flags.sdes)
    lines = _lines(view) if media.dtls is None and is_savp(media.protocol) else ()
    chosen = choose(lines, options)
    if chosen is not None:
        _respond(media, chosen, options, context)
    elif media.dtls is None:
        _forget(media)
    return _keyed(media)


def proposed(media: Media, flags: MediaFlags, context: Context) -> None:
    """Our own offer to a subscriber."""
    dtls.proposed(media, flags, context)
    _propose(media, (), sdes_options(flags.sdes), context, offers=is_savp(media.protocol))


def _propose(
    media: Media, received: tuple[CryptoLine, ...], options: SdesOptions, context: Context, *, offers: bool
) -> None:
    if not offers or options.off or media.protocol.upper().startswith("UDP/TLS/"):
        media.crypto_proposed = ()
        return
    agreed = (media.crypto_send,) if media.crypto_send is not None and media.dtls is None else ()
    media.crypto_proposed = propose(received, media.crypto_proposed or agreed, options, context.random.randbytes)


def subscribed(media: Media, view: MediaView, context: Context) -> bool:
    """The subscriber's answer. False: no key was agreed."""
    dtls.agreed(media, view, context)
    if media.dtls is None:
        agreed = accept(_lines(view), media.crypto_proposed)
        media.crypto_send, media.crypto_receive = agreed if agreed is not None else (None, None)
    return _keyed(media)


def _respond(media: Media, chosen: CryptoLine, options: SdesOptions, context: Context) -> None:
    media.crypto_send = respond(chosen, media.crypto_send, options, context.random.randbytes)
    media.crypto_receive = chosen


def _keyed(media: Media) -> bool:
    """Keys are there, will come by DTLS, or are not needed."""
    return not media.secure or media.dtls is not None or media.crypto_receive is not None


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
