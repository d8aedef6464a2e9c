"""Rewriting an SDP: what a relay changes, as values, and the text that results.

The session's lines are changed one by one, its media sections by `media_edit`. The session's `c=` and direction move
into the media sections, unless a section that is kept as it is lives off them.
"""

from __future__ import annotations

import enum
import functools

import msgspec

from rtprelay.sdp.attributes import DIRECTIONS, ICE_ATTRIBUTES, number
from rtprelay.sdp.document import REMEMBERED, Block, Line, Section, SessionDescription
from rtprelay.sdp.media_edit import Inherited, MediaEdit, rewrite_media
from rtprelay.sdp.shape import check_single_line, network

__all__ = ["Bundle", "MediaEdit", "SessionEdit", "rewrite"]


class Bundle(enum.Enum):
    """What becomes of `a=group:BUNDLE` (RFC 9143)."""

    KEEP = "keep"
    REMOVE = "remove"


class SessionEdit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What becomes of a whole description; None: the field stays as it was. Raises ValueError."""

    media: tuple[MediaEdit, ...]
    """One for each media section of the document."""
    origin_address: str | None = None
    origin_username: str | None = None
    origin_session_id: str | None = None
    origin_version: str | None = None
    session_name: str | None = None
    remove_attributes: frozenset[str] = frozenset()
    bundle: Bundle = Bundle.KEEP
    append: tuple[str, ...] = ()
    """Further session-level attributes without the `a=`, at the section's end; one that is there is not repeated."""

    def __post_init__(self) -> None:
        check_single_line(self.session_name, *self.append)
        for field in (self.origin_address, self.origin_username, self.origin_session_id, self.origin_version):
            if field is not None and len(field.split()) != 1:
                raise ValueError(f"{field[:40]!r} does not fit into an o= line")


def rewrite(document: SessionDescription, edit: SessionEdit) -> str:
    """The document's text after the edit.

    Raises MalformedSdp where a line to be changed cannot be understood, ValueError where the edit is for another number
    of media sections.
    """
    session = document.session
    changes: list[tuple[Section, MediaEdit]] = []
    kept: list[Section] = []
    live: list[MediaEdit] = []
    rewritten = False
    for section, change in zip(document.media, edit.media, strict=True):
        if change.omit:
            continue
        changes.append((section, change))
        if not change.keep:
            rewritten = True
            if _live(section, change):
                live.append(change)
        elif not _rejected(section):
            kept.append(section)
    dropped = edit.remove_attributes
    if session.block.attributes.values:
        if live and all(change.remove_ice for change in live):
            dropped |= ICE_ATTRIBUTES
        if rewritten and all(section.block.attributes.direction for section in kept):
            dropped = dropped.union(DIRECTIONS)
    moved = rewritten and all(section.connection for section in kept)

    inherited = Inherited.of(session, next((change.address for change in live if change.address is not None), None))
    out = [_session(session, edit, moved, dropped)]
    if edit.append:
        there = {line.value for line in session.block.lines if line.type == "a"}
        out += [
            f"a={attribute}{inherited.ending}"
            for attribute in edit.append
            if attribute not in there or _dropped(attribute, dropped, unbundled=edit.bundle is Bundle.REMOVE)
        ]
    out += [str(section) if change.keep else rewrite_media(section, change, inherited) for section, change in changes]
    return "".join(out)


def _dropped(attribute: str, dropped: frozenset[str], *, unbundled: bool) -> bool:
    """Whether the line that says so already goes."""
    name, _, value = attribute.partition(":")
    return name in dropped or (unbundled and name == "group" and value.split()[:1] == ["BUNDLE"])


def _live(section: Section, change: MediaEdit) -> bool:
    return not _rejected(section) if change.port is None else change.port != 0


def _rejected(section: Section) -> bool:
    """Port 0: the session's address and direction mean nothing to it."""
    fields = section.own[0].value.split(maxsplit=2)
    return len(fields) > 1 and number(fields[1], 65535) == 0


def _session(session: Section, edit: SessionEdit, moved: bool, dropped: frozenset[str]) -> str:
    """`moved`: the session's `c=` goes to the media sections."""
    block = session.block
    form = _Form(edit.session_name, moved, dropped, edit.bundle is Bundle.REMOVE)
    own = [_origin(session, line, edit) if line.type == "o" else _line(line, form) for line in session.own]
    if any(line.type == "o" for line in block.named):
        own += [_origin(session, line, edit) if line.type == "o" else _line(line, form) for line in block.lines]
    else:
        own.append((_known_lines if block.remembered else _lines)(block, form))
    return "".join(own)


class _Form(msgspec.Struct, frozen=True, gc=False):
    """What becomes of the session's lines, but for `o=`."""

    name: str | None
    moved: bool
    dropped: frozenset[str]
    unbundled: bool
    """Without `a=group:BUNDLE`."""


def _lines(block: Block, form: _Form) -> str:
    return "".join([_line(line, form) for line in block.lines])


_known_lines = functools.lru_cache(REMEMBERED)(_lines)


def _line(line: Line, form: _Form) -> str:
    """The line's text after the edit, "" when it goes."""
    if line.type == "s" and form.name is not None:
        return f"s={form.name}{line.ending}"
    if line.type == "c" and form.moved:
        return ""
    if line.type == "a" and _dropped(line.value, form.dropped, unbundled=form.unbundled):
        return ""
    return line.text + line.ending


def _origin(session: Section, line: Line, edit: SessionEdit) -> str:
    family, address = network(edit.origin_address).split()[1:] if edit.origin_address else (None, None)
    changes = (edit.origin_username, edit.origin_session_id, edit.origin_version, None, family, address)
    if not any(changes):
        return str(line)
    fields = line.value.split()
    if len(fields) != 6:
        raise session.malformed(line, "not six fields")
    return f"o={' '.join([new or old for new, old in zip(changes, fields, strict=True)])}{line.ending}"
