"""The IP TOS of media: the operator's, unless a request names another one.

Offer and answer speak for the whole call, in all directions. An offer that names none takes back what was named before;
a negative number leaves it alone, as does an answer without any. Publishers and subscribers join with the call's, or
with one of their own.
"""

from __future__ import annotations

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.negotiate.context import Context
from rtprelay.signalling.command import MediaFlags


def of(call: Call, context: Context) -> int:
    """What a new media of the call begins with."""
    return context.tos if call.tos is None else call.tos


def mark(call: Call, flags: MediaFlags, context: Context, *, offering: bool) -> None:
    """All of the call, by an offer or answer."""
    if offering if flags.tos is None else flags.tos >= 0:
        call.tos = flags.tos
    tos = of(call, context)
    for _, media in call.medias():
        media.tos = tos


def mark_alone(media: Media, flags: MediaFlags) -> None:
    """Of a publisher or subscriber."""
    if flags.tos is not None and flags.tos >= 0:
        media.tos = flags.tos
