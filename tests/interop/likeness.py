"""What of two replies must be alike, whatever ports, keys, times and made-up tags each relay has chosen.

A port of the relay is called by the order in which it was seen: that a port is the same as before, or another one, is
compared, and so is which RTCP port belongs to which RTP port. Of an SDP each section's lines count, not their order:
10.5 keeps a session's `c=` where 26.0 moves it into the sections, so that the address in force is compared.
"""

from __future__ import annotations

from typing import Any

from tests.interop.ground import PORTS

_NEWER = {"publish": ("call-id", "from-tag")}
"""What replies of 26.0 have, and ours, but not those of 10.5."""


class Likeness:
    """The names of one relay's ports and tags within one conversation."""

    def __init__(self) -> None:
        self._ports: dict[int, str] = {}
        self._tags: dict[str, str] = {}

    def of(self, request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in reply.items() if key not in _NEWER.get(request.get("command", ""), ())}
        like: dict[str, Any] = {"keys": sorted(told), "result": reply["result"]}
        if "error-reason" in reply:
            like["error-reason"] = reply["error-reason"]
        if "warning" in reply:
            like["warning"] = reply["warning"]
        for key in ("from-tag", "from-tags", "calls"):
            if key in told:
                like[key] = told[key]
        if "sdp" in reply:
            made = request["command"] in ("publish", "subscribe request")
            like["sdp"] = self._sdp(reply["sdp"], whole=not made)
        if "tags" in reply:
            like["tags"] = {tag: self._tag(view) for tag, view in reply["tags"].items() if view["tag"]}
            del like["keys"]
        return like

    def _port(self, port: int) -> str:
        if port not in PORTS:
            return str(port)
        if port - 1 in self._ports and port % 2:
            return f"{self._ports[port - 1]}+1"
        return self._ports.setdefault(port, f"P{len(self._ports) + 1}")

    def _sdp(self, text: str, whole: bool) -> list[list[str]]:
        """The session's lines and those of each section, in force and in no order."""
        blocks: list[list[str]] = [[]]
        for line in text.splitlines():
            if line.startswith("m="):
                blocks.append([])
            blocks[-1].append(line)
        session = blocks[0]
        connection = [line for line in session if line.startswith("c=")]
        session = [line for line in session if line not in connection and line != "v=0" and line != "t=0 0"]
        if not whole:
            session = [line for line in session if not line.startswith(("o=", "s="))]
        media = [self._media(block, connection) for block in blocks[1:]]
        return [sorted(session), *media]

    def _media(self, lines: list[str], connection: list[str]) -> list[str]:
        rejected = lines[0].split()[1] == "0"
        if rejected:
            return lines[:1]
        own = [line for line in lines if line.startswith("c=")]
        return sorted([*map(self._line, lines), *([] if own else connection)])

    def _line(self, line: str) -> str:
        if line.startswith("m="):
            kind, port, *rest = line.split(" ")
            return " ".join((kind, self._port(int(port)), *rest))
        if line.startswith("a=rtcp:"):
            port, *rest = line.removeprefix("a=rtcp:").split(" ")
            return " ".join(("a=rtcp:" + self._port(int(port)), *rest))
        return line

    def _tag(self, view: dict[str, Any]) -> dict[str, Any]:
        return {
            "tag": view["tag"],
            "via-branch": view.get("via-branch"),
            "label": view.get("label"),
            "subscriptions": sorted(other["tag"] for other in view["subscriptions"]),
            "medias": [
                {
                    **{key: media[key] for key in ("index", "type", "protocol")},
                    "flags": sorted(set(media["flags"]) - {"ICE controlling"}),
                    "streams": [
                        {
                            "local": self._port(stream["local port"]) if "local port" in stream else None,
                            "endpoint": stream.get("endpoint") or None,
                            "advertised": stream.get("advertised endpoint") or None,
                        }
                        for stream in media["streams"]
                    ],
                }
                for media in view["medias"]
            ],
        }
