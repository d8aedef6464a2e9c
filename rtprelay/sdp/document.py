"""An SDP body as its lines, losing nothing (RFC 8866 section 5).

A relay passes on far more SDP than it understands, so the document keeps each line's text and line ending: what is not
rewritten goes out byte for byte. Reading the meaning is `view.read`'s business, changing it `edit.rewrite`'s.

What a telephone says differs from call to call in few lines: `o=`, `m=` and `c=`. A section begins with them, they are
its own; the block of lines below is the same again and again, and is taken apart once. Blocks are remembered by their
text; long ones, of browsers, are not.

The bounds are checked before any work that grows with the input. Text comes decoded with `surrogateescape`, so that
whatever bytes came in go out — but for CR and NUL inside a line, which no SDP has (RFC 8866 section 9, `byte-string`)
and which the next parser might take for the end of it.
"""

from __future__ import annotations

import functools

import msgspec

from rtprelay.errors import MalformedSdp
from rtprelay.sdp.attributes import Attributes

MAX_LENGTH = 65536
"""One UDP datagram is the most ng/UDP can carry; nothing that large is an honest session."""
MAX_LINES = 4096
MAX_LINE_LENGTH = 8192
MAX_MEDIA = 64

REMEMBERED = 512
"""Blocks, and what is derived of each; with LONGEST this bounds what strangers can make us keep, to some 50 MiB."""
LONGEST = 1024
"""Characters of a block that is remembered."""
_OWN_OF_SESSION = ("o=", "s=", "c=")
_OWN_OF_MEDIA = ("c=",)


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line: `type=value` and its line ending (CRLF, LF, or nothing at the end of the text).

    A line of another form has the type "" and all of its text as value.
    """

    type: str
    value: str
    ending: str
    text: str
    """Without the ending."""
    name: str = ""
    """Of an `a=` line (RFC 8866 section 5.13); `argument` is what comes after the colon, "" for a flag."""
    argument: str = ""

    def __str__(self) -> str:
        return self.text + self.ending

    @property
    def blank(self) -> bool:
        return not self.type and not self.value.strip()


class Block(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Lines that follow each other. One that is remembered is the same object whenever its text comes again."""

    text: str
    lines: tuple[Line, ...]
    attributes: Attributes
    connection: Line | None
    """The first `c=` line."""
    named: tuple[Line, ...]
    """The `o=` and `s=` lines; those of a session are its own, unless other lines came before."""
    remembered: bool
    """It is short enough; so is then what is derived of it."""


class Section(msgspec.Struct, frozen=True, gc=False):
    """The session's lines up to the first `m=`, or one media description, whose first line is its `m=`."""

    own: tuple[Line, ...]
    """The first lines: `v=`, `o=`, `s=` and `c=` of the session, `m=` and `c=` of a media description."""
    block: Block
    start: int
    """Number of the first line in the document, from 1."""

    @property
    def lines(self) -> tuple[Line, ...]:
        return self.own + self.block.lines

    @property
    def connection(self) -> Line | None:
        """The first `c=` line."""
        for line in self.own:
            if line.type == "c":
                return line
        return self.block.connection

    def malformed(self, line: Line, problem: str) -> MalformedSdp:
        """The error that names this line."""
        return _malformed(self.start + self.lines.index(line), line.text, problem)

    def __str__(self) -> str:
        return "".join(map(str, self.own)) + self.block.text


def insist(text: str) -> None:
    """Raises MalformedSdp for what is passed on otherwise: a line that is none of SDP, be it blank and the last."""
    for number, line in enumerate(text.splitlines(), 1):
        if line[1:2] != "=" or not line[0].isalpha():
            raise _malformed(number, line, "no TYPE=VALUE")


class SessionDescription(msgspec.Struct, frozen=True, gc=False):
    session: Section
    media: tuple[Section, ...]

    @classmethod
    def parse(cls, text: str) -> SessionDescription:
        """The document `text` is; `str()` of it gives `text` back. Raises MalformedSdp."""
        if len(text) > MAX_LENGTH:
            raise MalformedSdp(f"Malformed SDP: longer than {MAX_LENGTH} characters")
        if text.count("\n") > MAX_LINES:
            raise MalformedSdp(f"Malformed SDP: more than {MAX_LINES} lines")
        if "\0" in text or text.count("\r") != text.count("\r\n") or len(text) > MAX_LINE_LENGTH:
            _check_lines(text)
        session, *media = text.split("\nm=")
        if not session.startswith("v=") or session.partition("\n")[0][2:].strip() != "0":
            raise MalformedSdp("Malformed SDP, line 1: not v=0")
        if not media:
            return cls(_section(session, 1, _OWN_OF_SESSION), ())
        start = session.count("\n") + 2
        sections = []
        for number, rest in enumerate(media, 1):
            section = _section(f"m={rest}\n" if number < len(media) else f"m={rest}", start, _OWN_OF_MEDIA)
            if number > MAX_MEDIA:
                raise section.malformed(section.own[0], f"more than {MAX_MEDIA} media descriptions")
            sections.append(section)
            start += rest.count("\n") + 1
        return cls(_section(session + "\n", 1, _OWN_OF_SESSION), tuple(sections))

    def __str__(self) -> str:
        return "".join(map(str, (self.session, *self.media)))


def _malformed(number: int, text: str, problem: str) -> MalformedSdp:
    """The quoted part is short and printable whatever came in."""
    return MalformedSdp(f"Malformed SDP, line {number} ({text[:80]!r}): {problem}")


def _check_lines(text: str) -> None:
    """Name the line that is too long, or that holds what no line does."""
    for number, piece in enumerate(text.split("\n"), 1):
        line = piece.removesuffix("\r")
        if len(line) > MAX_LINE_LENGTH:
            raise _malformed(number, line, f"longer than {MAX_LINE_LENGTH} characters")
        if "\r" in line or "\0" in line:
            raise _malformed(number, line, "a carriage return or NUL inside the line")


def _section(text: str, start: int, own_types: tuple[str, ...]) -> Section:
    """`own_types`: how the lines begin that are the section's own beside its first, where they come next."""
    line, newline, rest = text.partition("\n")
    own = [_line(line + newline)]
    for own_type in own_types:
        if rest.startswith(own_type):
            line, newline, rest = rest.partition("\n")
            own.append(_line(line + newline))
    return Section(tuple(own), _known_block(rest) if len(rest) <= LONGEST else _block(rest), start)


def _block(text: str) -> Block:
    # Not `splitlines`, which also splits at characters that are mere text in SDP (form feed, U+2028).
    pieces = text.split("\n")
    lines = [_line(piece + "\n") for piece in pieces[:-1]]
    if pieces[-1]:
        lines.append(_line(pieces[-1]))
    values: dict[str, list[str]] = {}
    for line in lines:
        if line.type == "a":
            values.setdefault(line.name, []).append(line.argument)
    connection = next((line for line in lines if line.type == "c"), None)
    named = tuple([line for line in lines if line.type in ("o", "s")])
    return Block(text, tuple(lines), Attributes(values), connection, named, len(text) <= LONGEST)


_known_block = functools.lru_cache(REMEMBERED)(_block)


def _line(text: str) -> Line:
    bare = text.removesuffix("\n").removesuffix("\r")
    ending = text[len(bare) :]
    if bare.startswith("a="):
        value = bare[2:]
        name, _, argument = value.partition(":")
        return Line("a", value, ending, bare, name.strip(), argument.strip())
    if bare[1:2] == "=":
        return Line(bare[0], bare[2:], ending, bare)
    return Line("", bare, ending, bare)
