"""SDP passed on, remembered but for what belongs to the call.

Telephones and proxies say the same from call to call, and what becomes of an ordinary description then depends on
nothing else: only ports, addresses and the `o=` line are the call's own. The text is kept with places for these, from
the second time on that the same is to be made of the same, and only if it gives exactly what was made by the rules.

Ordinary is a description to a party without keys, ICE, DTLS or bundles, all of whose sections are relayed through ports
of their own. Of such a one `place` names all that the rules of `rewrite` look at.
"""

from __future__ import annotations

import functools
import weakref

from msgspec import structs

from rtprelay.call.call import Party
from rtprelay.call.media import Media
from rtprelay.negotiate import codecs
from rtprelay.sdp.description import Description
from rtprelay.sdp.document import Line, SessionDescription
from rtprelay.sdp.edit import SessionEdit, rewrite
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import MediaFlags

REMEMBERED = 1024
"""An offer and an answer by each kind of telephone, for each way it is called; at most 8 MiB."""
MAX_SECTIONS = 4
_MARK = "\x1a"
"""SUBSTITUTE: what has it of itself is not remembered."""


class Place:
    """Where the outline of one description is kept, or is to be."""

    __slots__ = ("flags", "outline", "seen")

    def __init__(self) -> None:
        self.flags: weakref.ref[MediaFlags] | None = None
        self.outline = ""
        """To be filled by `%`; empty while there is none."""
        self.seen = 0

    def become(self, flags: MediaFlags) -> None:
        """For what is said with these flags."""
        self.flags = weakref.ref(flags)
        self.outline = ""
        self.seen = 0

    def due(self) -> bool:
        """Whether it is the second time that somebody asks, and an outline pays."""
        self.seen += 1
        return self.seen == 2


def place(described: Description, receiver: Party, flags: MediaFlags, *, offering: bool) -> Place | None:
    """None: it is not ordinary."""
    wording, sections, medias = described.wording, described.view.media, receiver.medias
    if wording is None or len(medias) != len(sections) or len(medias) > MAX_SECTIONS:
        return None
    if receiver.bundles_wanted or receiver.bundles_proposed:
        return None
    formats = codecs.offer_formats if offering else codecs.answer_formats
    said: list[object] = [offering, id(flags), wording.number]
    for media, section in zip(medias, sections, strict=True):
        if not _ordinary(media, section):
            return None
        said += (
            *(media.protocol, media.rtp, media.mid, media.passthrough, media.rtcp_mux, media.mux_proposed),
            *(media.local_rtcp is None, media.ptime_reply, formats(media, section, flags)),
        )
    found = _place(*said)
    if found.flags is None or found.flags() is not flags:  # a new place, or these flags lie where others have lain
        found.become(flags)
    return found


def _ordinary(media: Media, section: MediaView) -> bool:
    return not (
        media.local is None
        or media.rejected
        or media.hidden
        or not media.relayed
        or media.transport is not None
        or media.ice is not None
        or media.dtls is not None
        or media.crypto_send is not None
        or media.crypto_proposed
        or media.extmap_masked
        or section.endpoint is None
        or section.endpoint.unspecified
    )


@functools.lru_cache(REMEMBERED)
def _place(*said: object) -> Place:
    return Place()


def learn(place: Place, document: SessionDescription, edit: SessionEdit, own: tuple[object, ...], text: str) -> None:
    """This `text` was made by the rules, of this document by this edit; `own` is what in it belongs to the call."""
    session = document.session
    origin = Line("o", _MARK, session.own[1].ending, _MARK)
    marked = structs.replace(session, own=(session.own[0], origin, *session.own[2:]))
    medias = tuple(
        structs.replace(media, port=_MARK, address=_MARK, rtcp_port=None if media.rtcp_port is None else _MARK)
        for media in edit.media
    )
    made = rewrite(SessionDescription(marked, document.media), structs.replace(edit, origin_address=None, media=medias))
    outline = made.replace("%", "%%").replace(f"IN IP4 {_MARK}", _MARK).replace(_MARK, "%s")
    if made.count(_MARK) == len(own) and outline % own == text:
        place.outline = outline
