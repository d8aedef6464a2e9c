"""RTP header extensions as operators want them (RFC 8285): `extmap={strip, mask}`, each a list of URIs or `all`.

What is stripped is agreed on with nobody. What is masked is kept from the answerer and answered to the offerer, who may
send it: a receiver passes over header extensions it does not know (RFC 8285 section 4.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from rtprelay.call.media import Media
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import MediaFlags

ALL = "all"


def offered(ours: Media, view: MediaView, flags: MediaFlags) -> None:
    stripped = hidden(view, flags.extmap_strip)
    ours.extmap_masked = tuple(line for line in hidden(view, flags.extmap_mask) if line not in stripped)


def removed(view: MediaView, flags: MediaFlags) -> frozenset[str]:
    """Attributes of the section that the receiver does not see."""
    return frozenset(hidden(view, (*flags.extmap_strip, *flags.extmap_mask)))


def hidden(view: MediaView, uris: Sequence[str]) -> tuple[str, ...]:
    """The extmap attributes of these URIs: `extmap:1/sendrecv urn:... attributes`."""
    if not uris:
        return ()
    wanted = {uri.lower() for uri in uris}
    lines = ((value, value.split()) for value in view.attributes("extmap"))
    named = (value for value, words in lines if ALL in wanted or (len(words) > 1 and words[1].lower() in wanted))
    return tuple(f"extmap:{value}" for value in named)
