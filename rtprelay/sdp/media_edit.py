"""Rewriting one media section.

Theory of operation. The section is taken apart: the lines that have a place in `shape` (`m=`, `c=`, those of its
payload types, direction, `rtcp`, `rtcp-mux`, keys, `ptime`, ICE) are put there; all others follow the codecs as they
came, order and line endings included. Rewriting the result once more changes nothing.
"""

from __future__ import annotations

import msgspec

from rtprelay.sdp.attributes import DIRECTIONS, ICE_ATTRIBUTES, Direction, number
from rtprelay.sdp.codecs import static_codec
from rtprelay.sdp.document import Line, Section
from rtprelay.sdp.shape import CLOSING_ATTRIBUTES, check_single_line, closing, network
from rtprelay.sdp.view import is_rtp


class MediaEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one media section. Nothing given: it is only brought into shape. Raises ValueError.

    With port 0 (given, or as it came) the section is rejected: keys and ICE go, nothing is added, and without `address`
    the `c=` line names that of another section.
    """

    omit: bool = False
    """There is no such section afterwards; nothing else of the edit counts."""
    keep: bool = False
    """The section comes back byte for byte; nothing else of the edit counts."""
    port: int | None = None
    """Replaces the port, and the number of ports with it: a relay opens one pair."""
    bundle_only: bool = False
    """Shown as port 0 and `a=bundle-only` (RFC 9143 section 6), live all the same."""
    address: str | None = None
    """The `c=` line; None: the one in force, the session's if need be."""
    rtcp_port: int | None = None
    """Writes `a=rtcp` (RFC 3605); None: there is none afterwards."""
    rtcp_full: bool = False
    """`a=rtcp` with `address`."""
    rtcp_mux: bool = False
    direction: str | None = None
    """None: as it was."""
    default_direction: bool = True
    """sendrecv is written where no direction was."""
    protocol: str | None = None
    formats: tuple[str, ...] | None = None
    """Only these, in this order, with the `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of theirs; None: all."""
    remove_ice: bool = False
    """No ICE attribute of the sender is left; the session's go as well if all rewritten sections say so."""
    remove_attributes: frozenset[str] = frozenset()
    remove_lines: frozenset[str] = frozenset()
    """Whole attributes without the `a=`."""
    mid: str | None = None
    append: tuple[str, ...] = ()
    """Further attributes without the `a=`, such as `setup:actpass`; one that is there already is not repeated."""

    def __post_init__(self) -> None:
        check_single_line(self.address, self.protocol, self.mid, *self.append, *(self.formats or ()))
        if self.rtcp_full and self.address is None:
            raise ValueError("a full a=rtcp needs an address")
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise ValueError(f"{self.direction!r} is no direction")


class Inherited(msgspec.Struct, frozen=True):
    """What the rest of the description says for its media sections."""

    connection: str | None
    """The text of the session's `c=` line."""
    direction: str | None
    ending: str
    """The line ending to use where the section's own is missing."""
    address: str | None
    """An address of the relay for the `c=` line of a rejected section, which has to have one all the same."""

    @classmethod
    def of(cls, session: Section, address: str | None) -> Inherited:
        connection = next((line.text for line in session.lines if line.type == "c"), None)
        ending = session.lines[0].ending
        return cls(connection, direction_of(session), ending if ending.endswith("\n") else "\r\n", address)


def direction_of(section: Section) -> str | None:
    return next((line.name for line in section.lines if line.name in DIRECTIONS), None)


_PAYLOAD_ORDER = {"rtpmap": 0, "fmtp": 1, "rtcp-fb": 2}
_OF_PAYLOAD = frozenset({*_PAYLOAD_ORDER, "imageattr", "framesize"})
"""Attributes whose value starts with a payload type (RFC 6236 section 3.1, TS 26.234 section 5.3.3)."""

_ALWAYS_DROPPED = frozenset({"rtcp", "rtcp-mux"})
"""The sender's own; what holds afterwards is written anew."""


def rewrite_media(section: Section, edit: MediaEdit, inherited: Inherited) -> str:
    """The section's text after the edit. Raises MalformedSdp where the `m=` line cannot be understood."""
    first = section.lines[0]
    media = _MediaLine.of(first, edit)
    eol = first.ending if first.ending.endswith("\n") else inherited.ending
    parts = _Parts(edit, media, eol)
    for line in section.lines[1:]:
        parts.take(line)

    out = [media.text, eol, *parts.information]
    address = edit.address or (None if media.live else inherited.address)
    if address is not None:
        out.append(f"c={network(address)}{eol}")
    elif parts.connections:
        out += parts.connections
    elif inherited.connection is not None:
        out.append(inherited.connection + eol)
    out += parts.head
    for key, (rtpmap, fmtp, feedback) in parts.payload.items():
        static = None if rtpmap else static_codec(key)
        if static is not None:
            rtpmap.append(f"a=rtpmap:{key} {static.rtpmap}{eol}")
        out += rtpmap + fmtp + feedback
    if media.live:
        parts.write_mid()
    out += parts.others
    if media.live:
        default = Direction.SENDRECV if edit.default_direction else None
        direction = edit.direction or parts.direction or inherited.direction or default
        rtcp_address = address if edit.rtcp_full else None
        further = (*parts.further, *(("bundle-only",) if edit.bundle_only else ()), *edit.append)
        attributes = closing(direction, edit.rtcp_port, rtcp_address, edit.rtcp_mux, further, parts.ptime)
        out += [f"a={attribute}{eol}" for attribute in attributes]
    out += parts.tail
    return "".join(out)


class _MediaLine(msgspec.Struct, frozen=True):
    """The `m=` line to be: its text, and what it means for the lines that follow."""

    text: str
    formats: tuple[str, ...]
    live: bool
    rtp: bool

    @classmethod
    def of(cls, line: Line, edit: MediaEdit) -> _MediaLine:
        fields = line.value.split()
        if len(fields) < 3:
            raise line.malformed("not media, port, protocol and formats")
        kind, port, protocol, *came = fields
        port = port if edit.port is None else str(edit.port)
        protocol = edit.protocol or protocol
        formats = tuple(came) if edit.formats is None else edit.formats
        changed = edit.port is not None or edit.bundle_only or edit.protocol or edit.formats is not None
        shown = "0" if edit.bundle_only else port
        text = f"m={' '.join((kind, shown, protocol, *formats))}" if changed else line.text
        live = number(port.partition("/")[0], 65535) != 0
        return cls(text, formats, live, live and is_rtp(protocol))


class _Parts:
    """The lines after the `m=`, told apart by what becomes of them; those that go are in none of the parts."""

    def __init__(self, edit: MediaEdit, media: _MediaLine, eol: str) -> None:
        self.edit = edit
        self.media = media
        self.eol = eol
        self.dropped = edit.remove_attributes | _ALWAYS_DROPPED
        if edit.remove_ice:
            self.dropped |= ICE_ATTRIBUTES
        if not edit.rtcp_mux:
            self.dropped |= {"rtcp-mux-only"}
        self.dropped |= {"bundle-only"} if media.live else CLOSING_ATTRIBUTES

        self.information: list[str] = []
        """`i=`, which comes between `m=` and `c=` (RFC 8866 section 9)."""
        self.connections: list[str] = []
        self.head: list[str] = []
        """What comes before the attributes: `b=`, `k=`, and lines nobody knows."""
        keys = media.formats if media.rtp else ()
        self.payload: dict[str, tuple[list[str], list[str], list[str]]] = {key: ([], [], []) for key in keys}
        self.others: list[str] = []
        self.unknown = self.head
        """Where a line of unknown meaning goes: to the others once attributes have begun."""
        self.direction: str | None = None
        self.mid = edit.mid
        """None once it is written."""
        self.ptime: list[str] = []
        self.further: list[str] = []
        self.tail: list[str] = []
        """Blank lines at the end; they would cut the section in two anywhere else."""

    def take(self, line: Line) -> None:
        if line.blank:
            self.tail.append(str(line))
            return
        if self.tail:
            self.unknown += self.tail
            self.tail = []
        text = str(line) if line.ending[-1:] == "\n" else line.text + self.eol
        if line.type == "a":
            self.unknown = self.others
            self._take_attribute(line, text)
        elif line.type == "c":
            self.connections.append(text)
        elif line.type == "i" and not (self.connections or self.unknown):
            self.information.append(text)
        else:
            self.unknown.append(text)

    def _take_attribute(self, line: Line, text: str) -> None:
        name, value = line.name, line.argument
        if name in self.dropped or line.value in self.edit.append or line.value in self.edit.remove_lines:
            return
        if name in _OF_PAYLOAD and self.media.rtp:
            key = value.partition(" ")[0]
            if key in self.payload and name in _PAYLOAD_ORDER:
                self.payload[key][_PAYLOAD_ORDER[name]].append(text)
            elif key in self.payload or key == "*" or self.edit.formats is None:
                self.others.append(text)
        elif name in DIRECTIONS and self.media.live:
            self.direction = self.direction or name
        elif name == "ptime" and self.media.live:
            self.ptime.append(line.value)
        elif name in CLOSING_ATTRIBUTES and self.media.live:
            self.further.append(line.value)
        elif name == "mid" and self.edit.mid is not None:
            self.write_mid()
        else:
            self.others.append(text)

    def write_mid(self) -> None:
        if self.mid is not None:
            self.others.append(f"a=mid:{self.mid}{self.eol}")
            self.mid = None
