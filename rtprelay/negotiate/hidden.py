"""Sections that a party is not shown (`sdp-media-remove`).

The sections of both sides stand for each other by their place (RFC 3264 section 6), so those one side does not know of
keep theirs in the call: in what that party sends they are filled in, rejected, and what it is sent leaves them out. A
section it has once seen cannot be taken away again (RFC 3264 section 8) and is rejected instead; one it was not shown
may come later, as long as nothing behind it changes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rtprelay.call.call import Party
from rtprelay.call.media import Media
from rtprelay.sdp.description import Description, understand
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import MediaFlags

REGISTERED = frozenset({"audio", "video", "text", "application", "message", "image"})
"""The media types of RFC 8866 section 8.2.2, without those that are no streams; all else is `other`."""


def unwanted(view: MediaView, flags: MediaFlags) -> bool:
    """Whether the receiver is to see nothing of the section."""
    if not flags.sdp_media_remove:
        return False
    kind = view.kind.lower()
    named = {word.lower() for word in flags.sdp_media_remove}
    return kind in named or ("other" in named and kind not in REGISTERED)


def hides(receiver: Party, seen: int, index: int, view: MediaView, flags: MediaFlags) -> bool:
    """Whether the section is left out of an offer to the receiver, who has been shown `seen` sections before."""
    media = receiver.medias[index]
    if index < seen and not media.hidden and receiver.tag:
        return False
    fixed = media.hidden and any(not later.hidden for later in receiver.medias[index + 1 : seen])
    return unwanted(view, flags) or fixed or (media.hidden and view.rejected)


def filled_in(described: Description, sender: Party) -> Description:
    """What the sender has said, with the sections it does not know of."""
    if not any(media.hidden for media in sender.medias):
        return described
    document, text = described.document, described.text
    if not text.endswith("\n"):
        document = SessionDescription.parse(text.removesuffix("\r") + "\r\n")
    session, *sections = map(str, (document.session, *document.media))
    return understand("".join((session, *_filled(sections, sender.medias))))


def _filled(sections: Iterable[str], known: Iterable[Media]) -> Iterator[str]:
    rest = iter(sections)
    for media in known:
        if media.hidden:
            yield _rejected(media)
        elif (section := next(rest, None)) is not None:
            yield section
        else:
            return
    yield from rest


def _rejected(media: Media) -> str:
    return f"m={media.kind} 0 {media.protocol} 0\r\n"
