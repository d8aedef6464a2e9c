"""Trickled candidates: the body of a SIP INFO, `application/trickle-ice-sdpfrag` (RFC 8840 section 9)."""

from __future__ import annotations

import msgspec

from rtprelay.errors import MalformedSdp

MAX_LENGTH = 16384
MAX_LINES = 512


class FragmentSection(msgspec.Struct):
    """One m-line's share; `mid` None: of the fragment's own head, or an m-line without a name."""

    mid: str | None = None
    ufrag: str | None = None
    candidates: list[str] = []
    ended: bool = False


class Fragment(msgspec.Struct):
    head: FragmentSection
    """What comes before the first m-line holds for all of them."""
    media: list[FragmentSection]


def read_fragment(text: str) -> Fragment:
    """Raises MalformedSdp. Lines of unknown meaning are passed over."""
    lines = text.splitlines()
    if len(text) > MAX_LENGTH or len(lines) > MAX_LINES:
        raise MalformedSdp(f"Malformed fragment: longer than {MAX_LENGTH} characters or {MAX_LINES} lines")
    section = FragmentSection()
    fragment = Fragment(section, [])
    for line in lines:
        if line.startswith("m="):
            section = FragmentSection()
            fragment.media.append(section)
        elif line.startswith("a="):
            _take(section, line[2:].strip())
    if not any(part.candidates or part.ended for part in (fragment.head, *fragment.media)):
        raise MalformedSdp("Malformed fragment: neither candidates nor the end of them")
    return fragment


def _take(section: FragmentSection, attribute: str) -> None:
    name, _, value = attribute.partition(":")
    match name:
        case "mid":
            section.mid = value
        case "ice-ufrag":
            section.ufrag = value
        case "candidate":
            section.candidates.append(value)
        case "end-of-candidates":
            section.ended = True
