"""The dictionaries ng replies are made of; the order of their keys is that of rtpengine's replies."""

from __future__ import annotations

from typing import Any

from rtprelay.errors import RelayError
from rtprelay.signalling.command import Body


def ok(**keys: Any) -> Body:
    """`ok(sdp=..., from_tag=...)`: a keyword's underscore is a hyphen on the wire, and what is None is left out."""
    body = {name.replace("_", "-"): value for name, value in keys.items() if value is not None}
    body["result"] = "ok"
    return body


def pong() -> Body:
    return {"result": "pong"}


def error(fault: RelayError | str) -> Body:
    return {"result": "error", "error-reason": fault if isinstance(fault, str) else fault.reason}


def warning(text: str) -> Body:
    """Done, but: what `delete` says of an unknown call."""
    return {"warning": text, "result": "ok"}


def load_limit(message: str) -> Body:
    """To a proxy that `supports` it: try another relay. Others get an error."""
    return {"result": "load limit", "message": message}
