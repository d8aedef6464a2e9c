"""The words of `conversations`: requests as proxies make them, one after the other.

`differs` names the heading of docs/compatibility.md that says why the two replies are not alike; it holds only as long
as they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

A = "198.51.100.1"
B = "198.51.100.3"
C = "198.51.100.4"
A6 = "2001:db8::1"
B6 = "2001:db8::3"
VIDEO = ("m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000")
NO_VIDEO = ("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000")
FAX = ("m=image 6000 udptl t38", "a=T38FaxVersion:0")


class Step(NamedTuple):
    request: dict[str, Any]
    differs: str = ""


class Conversation(NamedTuple):
    name: str
    steps: Sequence[Step]


def sdp(address: str = A, port: int = 4000, *lines: str, audio: bool = True, origin: str = "- 1 1") -> str:
    family = "IP6" if ":" in address else "IP4"
    section = (f"m=audio {port} RTP/AVP 0 8",) if audio else ()
    text = ("v=0", f"o={origin} IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0", *section, *lines)
    return "".join(f"{line}\r\n" for line in text)


def offer(text: str = "", differs: str = "", *, call: str = "c", tag: str = "a", to: str = "", **keys: Any) -> Step:
    request = {"command": "offer", "call-id": call, "from-tag": tag, "sdp": text or sdp()}
    return Step({**request, **({"to-tag": to} if to else {}), **_spelled(keys)}, differs)


def answer(text: str = "", differs: str = "", *, call: str = "c", tag: str = "a", to: str = "b", **keys: Any) -> Step:
    request = {"command": "answer", "call-id": call, "from-tag": tag, "to-tag": to, "sdp": text or sdp(B, 4002)}
    return Step({**request, **_spelled(keys)}, differs)


def ask(command: str, differs: str = "", *, call: str = "c", **keys: Any) -> Step:
    return Step({"command": command, "call-id": call, **_spelled(keys)}, differs)


def delete(differs: str = "", *, call: str = "c", **keys: Any) -> Step:
    return ask("delete", differs, call=call, **{"delete_delay": 0, "from_tag": "a", **keys})


def _spelled(keys: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in keys.items()}


QUERY = ask("query")
