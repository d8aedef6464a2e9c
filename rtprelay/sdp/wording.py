"""What SDPs say whose addresses, ports and `o=` lines differ, and nothing else.

Telephones say the same from call to call. Texts that do are of one *wording*; the rules (`view.read`) find out once
what it means, and from then on what is a text's own is put in its place. A text of another order, with something
unusual where its own should be, or with keys, which are new every time, has no wording.
"""

from __future__ import annotations

import functools
import itertools
import re

import msgspec

from rtprelay.sdp.attributes import Attributes
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import Connection, MediaView, Origin, SessionView, rtcp_beside
from rtprelay.values import Endpoint, canonical_address

REMEMBERED = 512
"""Wordings, and texts of up to LONGEST characters each: some 20 MiB if strangers do their worst."""
LONGEST = 2048

_FIELD = "[!-~]+"
_HOST = r"[0-9A-Fa-f:.]+"
_SESSION = re.compile(
    rf"v=0(\r?\n)o=({_FIELD}) ({_FIELD}) ({_FIELD}) ({_FIELD}) ({_FIELD}) ({_FIELD})\1"
    rf"(s=[^\r\n]*)\1(?:c=IN (IP[46]) ({_HOST})\1)?"
)
_MEDIA = re.compile(rf"({_FIELD}) ([1-9][0-9]{{0,4}}) ([^\r\n]+)(\r?\n)(?:c=IN (IP[46]) ({_HOST})\4)?")
_RTCP = re.compile(rf"a=rtcp:([0-9]{{1,5}}(?: IN IP[46] {_HOST})?)(?=\r?\n|\r?\Z)")
_numbers = itertools.count(1)


class OwnMedia(msgspec.Struct, frozen=True, gc=False):
    """Of a media section."""

    port: int
    host: str | None
    rtcp: str | None
    """What follows `a=rtcp:` (RFC 3605)."""


class Own(msgspec.Struct, frozen=True, gc=False):
    """What is a text's own."""

    origin: tuple[str, ...]
    host: str | None
    medias: list[OwnMedia]


class Wording:
    """The same object for all texts of the same wording."""

    __slots__ = ("_view", "number")

    def __init__(self, *_said: str | None) -> None:
        self.number = next(_numbers)
        """No other wording has it."""
        self._view: SessionView | None = None

    def learn(self, own: Own, document: SessionDescription, view: SessionView) -> bool:
        """This is what a text of it means. False: texts of it say elsewhere what should be their own."""
        hosts = (own.host, *[media.host for media in own.medias])
        for section, host in zip((document.session, *document.media), hosts, strict=True):
            if section.block.named or (section.connection is None) != (host is None):
                return False
        if view.bundles:
            return False
        self._view = view
        return True

    def meaning(self, own: Own) -> SessionView | None:
        """Of the text with this of its own. None: that is for the rules to say."""
        known = self._view
        if known is None:
            return None
        try:
            connection = _connection(own.host)
            medias = tuple([_media(*each, connection) for each in zip(known.media, own.medias, strict=True)])
        except ValueError:
            return None
        return msgspec.structs.replace(known, origin=Origin(*own.origin), connection=connection, media=medias)


_wording = functools.lru_cache(REMEMBERED)(Wording)


class Taken(msgspec.Struct, frozen=True, gc=False):
    wording: Wording
    own: Own


def take_apart(text: str) -> Taken | None:
    """None: it has no wording."""
    if len(text) > LONGEST or "a=crypto:" in text or "a=ice-ufrag:" in text:
        return None
    session, *medias = text.split("\nm=")
    session += "\n"
    found = _SESSION.match(session)
    if found is None:
        return None
    ending, *origin, name, family, host = found.groups()
    said = [ending, name, family, session[found.end() :]]
    own = []
    for media in medias:
        found = _MEDIA.match(media)
        if found is None:
            return None
        kind, port, transport, ending, family, its_host = found.groups()
        rest, rtcp = media[found.end() :], None
        at = rest.find("a=rtcp:")
        if at >= 0:
            found = _RTCP.match(rest, at)
            if found is None or (at and rest[at - 1] != "\n"):
                return None
            rtcp = found[1]
            said.append(rest[:at])
            rest = rest[found.end() :]
        said += (kind, transport, ending, family, rest)
        own.append(OwnMedia(int(port), its_host, rtcp))
    return Taken(_wording(*said), Own(tuple(origin), host, own))


def _connection(host: str | None) -> Connection | None:
    return None if host is None else Connection(host, canonical_address(host))


def _media(known: MediaView, own: OwnMedia, connection: Connection | None) -> MediaView:
    """`connection`: the session's. Raises ValueError where an address or a port is none."""
    connection = _connection(own.host) or connection
    if connection is None or connection.address is None:
        raise ValueError("no address")
    endpoint = Endpoint(connection.address, own.port)
    rtcp = rtcp_beside(endpoint)
    lines = known.lines
    if own.rtcp is not None:
        port, *network = own.rtcp.split(" ")
        address = canonical_address(network[-1]) if network else connection.address
        rtcp = Endpoint(address, int(port)) if int(port) else None
        lines = Attributes({**lines.values, "rtcp": [own.rtcp, *lines.values["rtcp"][1:]]})
    return msgspec.structs.replace(
        known,
        port=own.port,
        connection_host=connection.host,
        endpoint=endpoint,
        rtcp=endpoint if known.rtcp_mux else rtcp,
        rtcp_fallback=rtcp,
        lines=lines,
    )
