"""ICE in offer and answer (RFC 8839): each leg has its own, or none.

Left alone, ICE passes: offered on if it was offered, unless the other side has answered without it before. `ICE=` in an
offer says what the other side is offered (`remove`, `force`, `force-relay`, `optional`), in an answer whether the
offerer's ICE is answered. We control towards whom we made an offer to, and are lite where `ICE-lite` says so: `forward`
towards the answerer, `backward` towards the offerer, or `both`.

New credentials from the party mean a restart (RFC 8445 section 9): it gets new ones of ours, and media goes on along
the old path until a new one is selected.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable
from itertools import islice

from rtprelay.call.call import Party
from rtprelay.call.media import Media
from rtprelay.call.secure import IceLeg
from rtprelay.ice.agent import Credentials
from rtprelay.ice.candidate import RTCP, RTP, Candidate, CandidateType, local_candidate, parse_candidate
from rtprelay.negotiate.context import Context, close_others, open_others
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import IceOption, MediaFlags
from rtprelay.values import Endpoint

MAX_CANDIDATES = 64
MAX_CREDENTIAL = 256
AdvertisedAddress = Callable[[Endpoint], str]
_FORCED = frozenset({IceOption.FORCE, IceOption.FORCE_RELAY, IceOption.OPTIONAL})


def offered(ours: Media, theirs: Media, view: MediaView, flags: MediaFlags, context: Context) -> None:
    """The offerer's ICE, and what the answerer will be offered."""
    taken(ours, view, flags, context)
    known = theirs.remote is not None or theirs.ice is not None
    usual = theirs.ice is not None if known else ours.ice is not None
    wanted = flags.ice in _FORCED or (flags.ice is IceOption.DEFAULT and usual)
    _propose(theirs, flags, context, wanted=wanted)


def taken(ours: Media, view: MediaView, flags: MediaFlags, context: Context) -> None:
    """An offerer's ICE, which is answered: by the other side's answer, or by ourselves (publish)."""
    ours.ice = _take(ours.ice, view, context) if _capable(view) and not flags.reject_ice else None
    if ours.ice is not None:
        ours.ice.lite = flags.ice_lite in ("backward", "both")
        ours.ice.controlling = False
    _provide(ours, context)


def proposed(theirs: Media, flags: MediaFlags, context: Context) -> None:
    """Our own offer to a subscriber: ICE if it is asked for, or was agreed before."""
    wanted = flags.ice in _FORCED or (flags.ice is IceOption.DEFAULT and theirs.ice is not None)
    _propose(theirs, flags, context, wanted=wanted)


def agreed(theirs: Media, view: MediaView, context: Context) -> None:
    """What a party answered."""
    leg = theirs.ice
    if leg is not None and leg.remote is not None and view.ice is not None and leg.remote.ufrag != view.ice.ufrag:
        leg = offered_again(leg)
    theirs.ice = _take(leg, view, context) if _capable(view) and leg is not None else None
    _provide(theirs, context)


def offered_again(leg: IceLeg | None) -> IceLeg | None:
    """Another device answers than before: our credentials stand as we offered them."""
    return leg and IceLeg(local=leg.local, controlling=True, lite=leg.lite, relayed=leg.relayed)


def replied(ours: Media, flags: MediaFlags, context: Context) -> None:
    """What the offerer will be answered."""
    if flags.ice is IceOption.REMOVE:
        ours.ice = None
        _provide(ours, context)
    elif ours.ice is not None:
        ours.ice.relayed = flags.ice is IceOption.FORCE_RELAY


def _capable(view: MediaView) -> bool:
    return view.ice is not None and _fit(view.ice.ufrag) and _fit(view.ice.pwd)


def _fit(text: str) -> bool:
    """Goes into a STUN message as it stands. RFC 8839 section 5.4 allows fewer characters than are seen."""
    return 0 < len(text) <= MAX_CREDENTIAL and text.isascii()


def _propose(theirs: Media, flags: MediaFlags, context: Context, *, wanted: bool) -> None:
    if not wanted:
        theirs.ice = None
        _provide(theirs, context)
        return
    if theirs.ice is None or flags.reset:
        untried = theirs.described and not theirs.by_ice
        theirs.ice = IceLeg(local=_credentials(context.random), untried=untried)
    theirs.ice.controlling = True
    theirs.ice.lite = flags.ice_lite in ("forward", "both")
    theirs.ice.relayed = flags.ice is IceOption.FORCE_RELAY
    _provide(theirs, context)


def _provide(media: Media, context: Context) -> None:
    """With ICE every address of the interface is a way to us, without it the one in the SDP is all there is."""
    if media.ice is not None:
        open_others(media, context)
    else:
        close_others(media, context)


def attributes(media: Media, flags: MediaFlags, context: Context, *, with_candidates: bool = True) -> tuple[str, ...]:
    """Ours, as the party is to see them (RFC 8839 section 5); candidates only in the section that carries a bundle."""
    leg = media.ice
    if leg is None:
        return ()
    trickle = ("ice-options:trickle",) if flags.trickle_ice else ()
    credentials = (f"ice-ufrag:{leg.local.ufrag}", f"ice-pwd:{leg.local.pwd}", *trickle)
    if not with_candidates:
        return credentials
    muxed = media.mux_proposed and "require" in flags.rtcp_mux
    known = candidates(media, context.interfaces.advertised)
    shown = [candidate for candidate in known if candidate.component == RTP or not muxed]
    return (
        *credentials,
        *(f"candidate:{candidate}" for candidate in shown),
        "end-of-candidates",
    )


def session_attributes(party: Party) -> tuple[str, ...]:
    """Who is lite is so in all sections (RFC 8839 section 5.3)."""
    lite = any(media.ice is not None and media.ice.lite for media in party.medias if media.live)
    return ("ice-lite",) if lite else ()


def candidates(media: Media, advertised: AdvertisedAddress) -> tuple[Candidate, ...]:
    """Our own: one for each component in use; further addresses are for those who multiplex RTCP, as all do who have a
    choice of them.
    """
    if media.local is None or media.ice is None:
        return ()
    kind = CandidateType.RELAYED if media.ice.relayed else CandidateType.HOST
    bases = [(RTP, order, base) for order, base in enumerate(media.rtp_ports)]
    if not media.rtcp_mux and media.local_rtcp is not None and media.rtp:
        bases.append((RTCP, 0, media.local_rtcp))
    return tuple(
        local_candidate(component, Endpoint(advertised(base), base.port), base, order, kind)
        for component, order, base in bases
    )


def trickled(media: Media, candidates: Iterable[str], *, ended: bool, context: Context) -> None:
    """More candidates of the party's (RFC 8838)."""
    assert media.ice is not None
    leg = media.ice
    leg.candidates = _merged(leg.candidates, candidates, context)
    leg.ended = leg.ended or ended


def _take(leg: IceLeg | None, view: MediaView, context: Context) -> IceLeg:
    """The party's credentials and candidates."""
    assert view.ice is not None
    remote = Credentials(view.ice.ufrag, view.ice.pwd)
    if leg is None or leg.remote not in (None, remote):
        leg = IceLeg(local=_credentials(context.random))
    leg.remote, leg.untried = remote, False
    leg.candidates = _merged(leg.candidates, view.ice.candidates, context)
    leg.remote_lite = view.ice.lite
    leg.ended = leg.ended or view.ice.ended or not view.ice.trickle
    return leg


def _merged(known: tuple[Candidate, ...], values: Iterable[str], context: Context) -> tuple[Candidate, ...]:
    """Those already known and those that can be read and may be sent to, each address and component once."""
    read = map(parse_candidate, islice(values, MAX_CANDIDATES))
    found = (c for c in read if c is not None and context.policy.permits(c.endpoint))
    return tuple({(c.endpoint, c.component): c for c in (*known, *found)}.values())[:MAX_CANDIDATES]


def _credentials(rng: random.Random) -> Credentials:
    """8 and 26 characters, as deployments know them; 48 and 156 bits of chance (RFC 8839 section 5.4 asks for 24 and
    128).
    """
    return Credentials(_characters(rng, 8), _characters(rng, 26))


def _characters(rng: random.Random, count: int) -> str:
    return base64.b64encode(rng.randbytes(count)).decode()[:count]
