"""An SDP body as its lines, losing nothing (RFC 8866 section 5).

A relay passes on far more SDP than it understands, so the document keeps each line's text and line ending: what is not
rewritten goes out byte for byte. Reading the meaning is `view.read`'s business, changing it `edit.rewrite`'s.

The bounds are checked before any work that grows with the input. Text comes decoded with `surrogateescape`, so that
whatever bytes came in go out — but for CR and NUL inside a line, which no SDP has (RFC 8866 section 9, `byte-string`)
and which the next parser might take for the end of it.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from rtprelay.errors import MalformedSdp

MAX_LENGTH = 65536
"""One UDP datagram is the most ng/UDP can carry; nothing that large is an honest session."""
MAX_LINES = 4096
MAX_LINE_LENGTH = 8192
MAX_MEDIA = 64


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line: `type=value` and its line ending (CRLF, LF, or nothing at the end of the text).

    A line of another form has the type "" and all of its text as value. `number` counts from 1.
    """

    number: int
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

    def malformed(self, problem: str) -> MalformedSdp:
        """The error that names this line; the quoted part is short and printable whatever came in."""
        return MalformedSdp(f"Malformed SDP, line {self.number} ({self.text[:80]!r}): {problem}")


class Section(msgspec.Struct, frozen=True):
    """The session's lines up to the first `m=`, or one media description, whose first line is its `m=`."""

    lines: tuple[Line, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.lines))


class SessionDescription(msgspec.Struct, frozen=True):
    session: Section
    media: tuple[Section, ...]

    @classmethod
    def parse(cls, text: str) -> SessionDescription:
        """The document `text` is; `str()` of it gives `text` back. Raises MalformedSdp."""
        if len(text) > MAX_LENGTH:
            raise MalformedSdp(f"Malformed SDP: longer than {MAX_LENGTH} characters")
        if text.count("\n") > MAX_LINES:
            raise MalformedSdp(f"Malformed SDP: more than {MAX_LINES} lines")
        lines = _split(text)
        if not lines or lines[0].type != "v" or lines[0].value.strip() != "0":
            raise MalformedSdp("Malformed SDP, line 1: not v=0")
        starts = [index for index, line in enumerate(lines) if line.type == "m"]
        if len(starts) > MAX_MEDIA:
            raise lines[starts[MAX_MEDIA]].malformed(f"more than {MAX_MEDIA} media descriptions")
        bounds = [*starts, len(lines)]
        return cls(
            Section(tuple(lines[: bounds[0]])),
            tuple(Section(tuple(lines[start:end])) for start, end in pairwise(bounds)),
        )

    def __str__(self) -> str:
        return "".join(map(str, (self.session, *self.media)))


def _split(text: str) -> list[Line]:
    """Not `splitlines`, which also splits at characters that are mere text in SDP (form feed, U+2028)."""
    lines = []
    pieces = text.split("\n")
    last = len(pieces)
    for number, piece in enumerate(pieces, 1):
        ending = "\n" if number < last else ""
        if piece[-1:] == "\r":
            piece, ending = piece[:-1], "\r" + ending
        if number == last and not piece and not ending:
            break
        if piece[:2] == "a=":
            value = piece[2:]
            name, _, argument = value.partition(":")
            line = Line(number, "a", value, ending, piece, name.strip(), argument.strip())
        elif piece[1:2] == "=":
            line = Line(number, piece[0], piece[2:], ending, piece)
        else:
            line = Line(number, "", piece, ending, piece)
        if len(piece) > MAX_LINE_LENGTH:
            raise line.malformed(f"longer than {MAX_LINE_LENGTH} characters")
        if "\r" in piece or "\0" in piece:
            raise line.malformed("a carriage return or NUL inside the line")
        lines.append(line)
    return lines
