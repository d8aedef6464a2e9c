"""What was seen on the wire of rtpengine 26.0: tests/data/ng_wire_examples.txt."""

from __future__ import annotations

import ast
from pathlib import Path

_TEXT = (Path(__file__).resolve().parent.parent / "data" / "ng_wire_examples.txt").read_text()


def exchanges() -> list[tuple[bytes, bytes]]:
    """Requests with their replies."""
    found = []
    request = b""
    for line in _TEXT.splitlines():
        if line.startswith(">> b"):
            request = _literal(line[3:])
        elif line.startswith("<< b"):
            found.append((request, _literal(line[3:])))
    return found


def reply_to(part: bytes) -> bytes:
    """The reply to the one request that contains `part`."""
    (reply,) = [reply for request, reply in exchanges() if part in request]
    return reply


def console() -> str:
    """The text of `list totals`."""
    start = _TEXT.index("CLI << ") + len("CLI << ")
    return _TEXT[start : _TEXT.index("HTTP /ping")]


def metrics() -> str:
    """What /metrics gave, as far as it was recorded."""
    start = _TEXT.index("HTTP /metrics 200")
    return _TEXT[start : _TEXT.rindex("\n", start, _TEXT.index("HTTP /nope"))]


def _literal(text: str) -> bytes:
    """The bytes literal at the beginning of `text`."""
    end = text.rindex(text[1]) + 1
    value = ast.literal_eval(text[:end])
    assert isinstance(value, bytes)
    return value
