"""BUNDLE in offer and answer (RFC 9143): several m-lines of a party on one port, under one ICE and DTLS transport.

Towards the answerer the offerer's bundle is offered on where that side is spoken to as the offerer speaks (a browser to
a browser), or if `bundle=offer` or `require` says so. The offerer's own is taken in the same case, and where it leaves
no choice: a section without candidates of its own cannot be reached but through the bundle. Otherwise ports of their
own are better, because on a shared one audio has to be told from video packet by packet. `bundle=reject` takes none,
any other word takes it.

Until a section is known to be bundled it has a port of its own, as RFC 9143 section 7.2 asks for; then the first
section that was not rejected carries the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from rtprelay.call.call import Party
from rtprelay.negotiate.context import Context, close_ports
from rtprelay.sdp.view import SessionView, is_feedback
from rtprelay.signalling.command import MediaFlags

_OFFERING = frozenset({"offer", "require"})


def offered(offerer: Party, answerer: Party, view: SessionView, flags: MediaFlags) -> None:
    """The offerer's groups, and whether the answerer is offered them."""
    members = () if "reject" in flags.bundle else tuple(_members(view))
    like = all(is_feedback(media.protocol) for media in answerer.medias if media.rtp and not media.rejected)
    answerer.bundle_offered = bool(members) and (like or bool(flags.bundle & _OFFERING))
    taken = answerer.bundle_offered or bool(flags.bundle) or _no_choice(view, members)
    offerer.bundle_wanted = members if taken else ()
    _unshare(offerer, set(offerer.bundle_wanted))


def answered(offerer: Party, answerer: Party, view: SessionView, context: Context) -> None:
    _share(answerer, _members(view) if answerer.bundle_offered else (), context)
    _share(offerer, offerer.bundle_wanted, context)


def published(party: Party, view: SessionView, flags: MediaFlags, context: Context) -> None:
    """A publisher's groups, answered at once."""
    members = () if "reject" in flags.bundle else tuple(_members(view))
    party.bundle_wanted = members if flags.bundle or _no_choice(view, members) else ()
    _share(party, party.bundle_wanted, context)


def group(party: Party) -> str | None:
    """The value of a=group in an answer to the party; None: nothing is bundled."""
    bundled = {media.transport for media in party.medias if media.transport is not None}
    members = [m for m in party.medias if m.index in party.bundle_wanted and not m.rejected and m.mid is not None]
    alone = not bundled and len(members) != 1
    return None if alone or not members else "BUNDLE " + " ".join(str(media.mid) for media in members)


def _members(view: SessionView) -> Iterable[int]:
    """The sections of the first group, in its order."""
    usable = (media for media in view.media if not media.rejected and (media.is_rtp or media.is_channel))
    by_mid = {media.mid: media.index for media in usable}
    return [by_mid[mid] for mid in (view.bundles[0] if view.bundles else ()) if mid in by_mid]


def _no_choice(view: SessionView, members: tuple[int, ...]) -> bool:
    """Some section has no way to it but that of another: no candidates, or the other's port."""
    medias = [view.media[index] for index in members]
    ports = {media.port for media in medias}
    return len(ports) < len(medias) or any(media.port == 0 or not media.attributes("candidate") for media in medias[1:])


def _share(party: Party, members: Iterable[int], context: Context) -> None:
    medias = [party.medias[i] for i in members if i < len(party.medias) and not party.medias[i].rejected]
    _unshare(party, {media.index for media in medias})
    if not medias:
        return
    carrier = medias[0]
    carrier.transport = None
    carrier.rtcp_mux = any(media.rtcp_mux for media in medias)
    for media in medias[1:]:
        close_ports(media, context)
        media.transport = carrier.index


def _unshare(party: Party, members: set[int]) -> None:
    """Sections that left the bundle stand alone again, those whose carrier left with them too."""
    for media in party.medias:
        if media.transport is not None and not (media.index in members and media.transport in members):
            media.transport = None
