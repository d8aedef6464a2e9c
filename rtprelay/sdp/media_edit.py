"""Rewriting one media section.

Theory of operation. The section is taken apart: the lines that have a place in `shape` (`m=`, `c=`, those of its
payload types, direction, `rtcp`, `rtcp-mux`, keys, `ptime`, ICE) are put there; all others follow the codecs as they
came, order and line endings included. Rewriting the result once more changes nothing.

How a block of lines is taken apart depends on an edit's form and not on its addresses, ports and keys: for blocks and
forms that come again it is done once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from rtprelay.sdp.attributes import DIRECTIONS, ICE_ATTRIBUTES, Direction, number
from rtprelay.sdp.codecs import static_codec
from rtprelay.sdp.document import REMEMBERED, Block, Line, Section
from rtprelay.sdp.shape import CLOSING_ATTRIBUTES, check_single_line, closing, network, rtcp
from rtprelay.sdp.view import is_rtp


class MediaEdit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class Inherited(msgspec.Struct, frozen=True, gc=False):
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
        connection = session.connection
        ending = session.own[0].ending
        return cls(
            connection.text if connection is not None else None,
            session.block.attributes.direction,
            ending if ending.endswith("\n") else "\r\n",
            address,
        )


_PAYLOAD_ORDER = {"rtpmap": 0, "fmtp": 1, "rtcp-fb": 2}
_OF_PAYLOAD = frozenset({*_PAYLOAD_ORDER, "imageattr", "framesize"})
"""Attributes whose value starts with a payload type (RFC 6236 section 3.1, TS 26.234 section 5.3.3)."""

_ALWAYS_DROPPED = frozenset({"rtcp", "rtcp-mux"})
"""The sender's own; what holds afterwards is written anew."""


_SENDRECV = Direction.SENDRECV.value
_HOLE = "\0"
"""Stands for `a=rtcp`; no line of SDP has it."""
_LONGEST_TRANSPORT = 256
"""Characters of what follows the port in an `m=` line of a layout that is remembered."""


class _Form(msgspec.Struct, frozen=True, gc=False):
    """What the layout of a section depends on, but for its block of lines."""

    transport: str
    """The protocol and formats that came."""
    protocol: str | None
    formats: tuple[str, ...] | None
    live: bool
    eol: str
    connected: bool
    """There is a `c=` line before the block."""
    mid: str | None
    rtcp_mux: bool
    bundle_only: bool
    direction: str | None
    """To be written whatever was there."""
    default_direction: str | None
    """To be written where none was there."""
    remove_ice: bool
    remove_attributes: frozenset[str]
    remove_lines: frozenset[str]


class _Layout(msgspec.Struct, frozen=True, gc=False):
    """A media section taken apart: texts with their line endings, attributes without."""

    transport: str
    """Protocol and formats of the `m=` line to be."""
    information: str
    """`i=`, which comes between `m=` and `c=` (RFC 8866 section 9)."""
    connections: str
    middle: str
    """What comes between `c=` and the closing attributes."""
    direction: str | None
    ptime: tuple[str, ...]
    further: tuple[str, ...]
    tail: str
    """Blank lines at the end; they would cut the section in two anywhere else."""
    before_rtcp: str
    after_rtcp: str
    """The closing attributes where nothing is added to them, and the tail."""


def rewrite_media(section: Section, edit: MediaEdit, inherited: Inherited) -> str:
    """The section's text after the edit. Raises MalformedSdp where the `m=` line cannot be understood."""
    first = section.own[0]
    fields = first.value.split(maxsplit=2)
    if len(fields) < 3:
        raise section.malformed(first, "not media, port, protocol and formats")
    kind, port, transport = fields
    live = number(port.partition("/")[0], 65535) != 0 if edit.port is None else edit.port != 0
    eol = first.ending if first.ending[-1:] == "\n" else inherited.ending
    form = _Form(
        transport,
        edit.protocol,
        edit.formats,
        live,
        eol,
        len(section.own) > 1,
        edit.mid,
        edit.rtcp_mux,
        edit.bundle_only,
        edit.direction,
        inherited.direction or (_SENDRECV if edit.default_direction else None),
        edit.remove_ice,
        edit.remove_attributes,
        _repeated(section.block, edit) if edit.append else edit.remove_lines,
    )
    known = section.block.remembered and len(transport) <= _LONGEST_TRANSPORT
    layout = (_known_layout if known else _layout)(section.block, form)

    address = edit.address or (None if live else inherited.address)
    if address is not None:
        connection = f"c={network(address)}{eol}"
    elif section.connection is not None:
        connection = "".join([_ended(line, eol) for line in section.own[1:]]) + layout.connections
    else:
        connection = inherited.connection + eol if inherited.connection is not None else ""
    if edit.port is not None or edit.bundle_only or edit.protocol or edit.formats is not None:
        shown = "0" if edit.bundle_only else port if edit.port is None else edit.port
        head = f"m={kind} {shown} {layout.transport}{eol}"
    else:
        head = first.text + eol
    if not live:
        return f"{head}{layout.information}{connection}{layout.middle}{layout.tail}"
    own = None if edit.rtcp_port is None else rtcp(edit.rtcp_port, address if edit.rtcp_full else None)
    if edit.append:
        further = (*layout.further, *edit.append)
        attributes = closing(layout.direction, own, edit.rtcp_mux, further, layout.ptime)
        end = _attributes(attributes, eol) + layout.tail
    else:
        line = f"a={own}{eol}" if own is not None else ""
        end = f"{layout.before_rtcp}{line}{layout.after_rtcp}"
    return f"{head}{layout.information}{connection}{layout.middle}{end}"


def _attributes(attributes: Iterable[str], eol: str) -> str:
    return "".join([f"a={attribute}{eol}" for attribute in attributes])


def _repeated(block: Block, edit: MediaEdit) -> frozenset[str]:
    """The lines to remove, and those that the edit says anew."""
    return edit.remove_lines.union(line.value for line in block.lines if line.value in edit.append)


def _ended(line: Line, eol: str) -> str:
    return str(line) if line.ending[-1:] == "\n" else line.text + eol


def _layout(block: Block, form: _Form) -> _Layout:
    protocol, *came = form.transport.split()
    protocol = form.protocol or protocol
    formats = tuple(came) if form.formats is None else form.formats
    parts = _Parts(form, formats if form.live and is_rtp(protocol) else None)
    for line in block.lines:
        parts.take(line)
    middle = parts.head
    for key, (rtpmap, fmtp, feedback) in parts.payload.items():
        static = None if rtpmap else static_codec(key)
        if static is not None:
            rtpmap.append(f"a=rtpmap:{key} {static.rtpmap}{form.eol}")
        middle += rtpmap + fmtp + feedback
    if form.live:
        parts.write_mid()
    if form.bundle_only:
        parts.further.append("bundle-only")
    direction = form.direction or parts.direction or form.default_direction
    lines = closing(direction, _HOLE, form.rtcp_mux, parts.further, parts.ptime)
    place = lines.index(_HOLE)
    tail = "".join(parts.tail)
    return _Layout(
        transport=" ".join((protocol, *formats)),
        information="".join(parts.information),
        connections="".join(parts.connections),
        middle="".join(middle + parts.others),
        direction=direction,
        ptime=tuple(parts.ptime),
        further=tuple(parts.further),
        tail=tail,
        before_rtcp=_attributes(lines[:place], form.eol),
        after_rtcp=_attributes(lines[place + 1 :], form.eol) + tail,
    )


_known_layout = functools.lru_cache(REMEMBERED)(_layout)


class _Parts:
    """The lines after the `m=`, told apart by what becomes of them; those that go are in none of the parts."""

    def __init__(self, form: _Form, payload_types: tuple[str, ...] | None) -> None:
        """`payload_types` None: the section is no RTP to be."""
        self.form = form
        self.rtp = payload_types is not None
        self.dropped = form.remove_attributes | _ALWAYS_DROPPED
        if form.remove_ice:
            self.dropped |= ICE_ATTRIBUTES
        if not form.rtcp_mux:
            self.dropped |= {"rtcp-mux-only"}
        self.dropped |= {"bundle-only"} if form.live else CLOSING_ATTRIBUTES

        self.information: list[str] = []
        self.connections: list[str] = []
        self.head: list[str] = []
        """What comes before the attributes: `b=`, `k=`, and lines nobody knows."""
        self.payload: dict[str, tuple[list[str], list[str], list[str]]] = {
            key: ([], [], []) for key in payload_types or ()
        }
        self.others: list[str] = []
        self.unknown = self.head
        """Where a line of unknown meaning goes: to the others once attributes have begun."""
        self.direction: str | None = None
        self.mid = form.mid
        """None once it is written."""
        self.ptime: list[str] = []
        self.further: list[str] = []
        self.tail: list[str] = []

    def take(self, line: Line) -> None:
        if line.blank:
            self.tail.append(str(line))
            return
        if self.tail:
            self.unknown += self.tail
            self.tail = []
        text = _ended(line, self.form.eol)
        if line.type == "a":
            self.unknown = self.others
            self._take_attribute(line, text)
        elif line.type == "c":
            self.connections.append(text)
        elif line.type == "i" and not (self.form.connected or self.connections or self.unknown):
            self.information.append(text)
        else:
            self.unknown.append(text)

    def _take_attribute(self, line: Line, text: str) -> None:
        name, value = line.name, line.argument
        live = self.form.live
        if name in self.dropped or line.value in self.form.remove_lines:
            return
        if name in _OF_PAYLOAD and self.rtp:
            key = value.partition(" ")[0]
            if key in self.payload and name in _PAYLOAD_ORDER:
                self.payload[key][_PAYLOAD_ORDER[name]].append(text)
            elif key in self.payload or key == "*" or self.form.formats is None:
                self.others.append(text)
        elif name in DIRECTIONS and live:
            self.direction = self.direction or name
        elif name == "ptime" and live:
            self.ptime.append(line.value)
        elif name in CLOSING_ATTRIBUTES and live:
            self.further.append(line.value)
        elif name == "mid" and self.form.mid is not None:
            self.write_mid()
        else:
            self.others.append(text)

    def write_mid(self) -> None:
        if self.mid is not None:
            self.others.append(f"a=mid:{self.mid}{self.form.eol}")
            self.mid = None
