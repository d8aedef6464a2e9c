"""ng over a stream: `cookie SP body cookie SP body ...`, without length, delimiter or line end.

A message ends where its bencode or JSON value does. White space between messages is skipped: people type line ends.
Where no end can be found the stream is broken for good; what has come of the message is given out as the last one, so
that the session answers it with the error it deserves.
"""

from __future__ import annotations

from collections.abc import Callable

from rtprelay.errors import MalformedMessage
from rtprelay.signalling.frame import MAX_COOKIE
from rtprelay.wire.bencode import MAX_MESSAGE
from rtprelay.wire.extent import BencodeScanner, JsonScanner, Scanner

_SCANNERS: dict[int, Callable[[int], Scanner]] = {ord("d"): BencodeScanner, ord("{"): JsonScanner}
_SPACE = b" \t\r\n"


class Splitter:
    """One for each direction of a connection. `feed` it, then `take` until there is nothing."""

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self._max_message = max_message
        self._buffer = bytearray()
        self._scanner: Scanner | None = None
        self.broken = False
        """Nothing more will be taken from this stream."""

    def __len__(self) -> int:
        """Bytes waiting: to be taken, or for the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        if not self.broken:
            self._buffer += data

    def take(self) -> bytes | None:
        """The next message; None: it has not all come."""
        if self.broken:
            return None
        if self._scanner is None:
            self._skip_space()
            space = self._buffer.find(b" ", 0, MAX_COOKIE + 1)
            if space < 0 and len(self._buffer) > MAX_COOKIE:
                return self._break()
            if space < 0 or len(self._buffer) == space + 1:
                return None
            make = _SCANNERS.get(self._buffer[space + 1])
            if make is None:
                return self._break()
            self._scanner = make(space + 1)
        try:
            end = self._scanner.end(self._buffer)
        except MalformedMessage:
            return self._break()
        if (len(self._buffer) if end is None else end) > self._max_message:
            return self._break()
        if end is None:
            return None
        self._scanner = None
        return self._cut(end)

    def take_line(self, longest: int) -> bytes | None:
        """The next line without its end, for what comes before the first message; None: it has not all come."""
        end = self._buffer.find(b"\n", 0, longest + 1)
        if end >= 0:
            return self._cut(end + 1).rstrip(b"\r\n")
        return self._break() if len(self._buffer) > longest else None

    def _skip_space(self) -> None:
        length = len(self._buffer) - len(self._buffer.lstrip(_SPACE))
        if length:
            del self._buffer[:length]

    def _break(self) -> bytes:
        self.broken = True
        return self._cut(len(self._buffer))

    def _cut(self, end: int) -> bytes:
        taken = bytes(self._buffer[:end])
        del self._buffer[:end]
        return taken
