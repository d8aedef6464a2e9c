"""What of two replies must be alike, whatever ports, keys, times and made-up tags each relay has chosen.

A port of the relay is called by the order in which it was seen: that a port is the same as before, or another one, is
compared, and so is which RTCP port belongs to which RTP port. Of keys, fingerprints and ICE credentials the shape
counts, and whether they are still those of before. Of an SDP each section's lines count, not their order: 10.5 keeps a
session's `c=` where 26.0 moves it into the sections, so that the address in force is compared.

`everywhere` holds the differences of docs/compatibility.md that would show in every conversation of some kind; they are
taken out of both replies, so that all else is still compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.interop.ground import INTERFACES, PORTS

Request = dict[str, Any]
Lines = list[str]

_NEWER = {"publish": ("call-id", "from-tag")}
"""What replies of 26.0 have, and ours, but not those of 10.5."""
_NEWER_LINES = ("a=end-of-candidates", "a=tls-id:")
_HOSTS = frozenset(host for _, host in INTERFACES)
_SUITE_LINE = re.compile(r"a=crypto:(\d+) (\S+) inline:([A-Za-z0-9+/=]+)(.*)")
_CANDIDATE = re.compile(r"a=candidate:(\S+) (\d) UDP (\d+) (\S+) (\d+) (.*)")
_RARE_SUITES = re.compile("a=crypto:[0-9]+ (F8_128_HMAC_SHA1_32|NULL_)")


def _without(pattern: re.Pattern[str]) -> Callable[[Lines], Lines]:
    return lambda lines: [line for line in lines if not pattern.match(line)]


def _one_family(lines: Lines) -> Lines:
    """Candidates of the family that the section's address has."""
    default = next((line.split()[-1] for line in lines if line.startswith("c=")), "")
    return [line for line in lines if not line.startswith("a=candidate:") or (":" in default) == _is_ip6(line)]


def _is_ip6(candidate: str) -> bool:
    return ":" in candidate.split(" ")[4]


EVERYWHERE: Mapping[str, Callable[[Lines], Lines]] = {
    "Suites nobody should use": _without(_RARE_SUITES),
    "Candidates of one address": _one_family,
}
"""By the heading of docs/compatibility.md."""


class Likeness:
    """The names of one relay's ports, keys and tags within one conversation."""

    def __init__(self, everywhere: Mapping[str, Callable[[Lines], Lines]] = EVERYWHERE) -> None:
        self._everywhere = everywhere
        self._ports: dict[tuple[str, int], str] = {}
        self._secrets: dict[str, str] = {}

    def of(self, request: Request, reply: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in reply.items() if key not in _NEWER.get(request.get("command", ""), ())}
        like: dict[str, Any] = {"keys": sorted(told), "result": reply["result"]}
        for key in ("error-reason", "warning"):
            if key in reply:
                like[key] = reply[key]
        for key in ("from-tag", "from-tags"):
            if key in told:
                like[key] = told[key]
        if "calls" in told:
            like["calls"] = sorted(told["calls"])
        if "sdp" in reply:
            made = request["command"] in ("publish", "subscribe request")
            like["sdp"] = self._sdp(reply["sdp"], whole=not made)
        if "tags" in reply:
            like["tags"] = {tag: self._tag(view) for tag, view in reply["tags"].items() if view["tag"]}
            del like["keys"]
        return like

    def _port(self, address: str, port: int) -> str:
        if port not in PORTS:
            return str(port)
        if address not in _HOSTS:  # an address of the operator's, or of hold: it is the port that is known
            address = next((host for host, known in self._ports if known == port), address)
        if port % 2 and (address, port - 1) in self._ports:
            return f"{self._ports[address, port - 1]}+1"
        return self._ports.setdefault((address, port), f"P{len(self._ports) + 1}")

    def _secret(self, kind: str, text: str) -> str:
        """Which one it is of its kind, and how long it is."""
        number = sum(1 for name in self._secrets.values() if name.startswith(kind)) + 1
        return self._secrets.setdefault(text, f"{kind}{number}") + f"[{len(text)}]"

    def _sdp(self, text: str, whole: bool) -> list[Lines]:
        """The session's lines and those of each section, in force and in no order."""
        blocks: list[Lines] = [[]]
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

    def _media(self, lines: Lines, connection: Lines) -> Lines:
        if lines[0].split()[1] == "0":
            return lines[:1]
        own = [line for line in lines if line.startswith("c=")]
        lines = [line for line in (*lines, *([] if own else connection)) if not line.startswith(_NEWER_LINES)]
        for usual in self._everywhere.values():
            lines = usual(lines)
        address = next((line.split()[-1] for line in lines if line.startswith("c=")), "")
        return sorted(self._line(line, address) for line in lines)

    def _line(self, line: str, address: str) -> str:
        if line.startswith("m="):
            kind, port, *rest = line.split(" ")
            return " ".join((kind, self._port(address, int(port)), *rest))
        name, _, value = line.partition(":")
        if name == "a=rtcp":
            port, *rest = value.split(" ")
            return " ".join(("a=rtcp:" + self._port(address, int(port)), *rest))
        if name in ("a=ice-ufrag", "a=ice-pwd"):
            return f"{name}:{self._secret(name, value)}"
        if name == "a=fingerprint":
            hash_name, _, digest = value.partition(" ")
            return f"{name}:{hash_name} {len(digest)}"
        if crypto := _SUITE_LINE.fullmatch(line):
            tag, suite, key, parameters = crypto.groups()
            return f"a=crypto:{tag} {suite} [{len(key)}]{parameters}"
        if candidate := _CANDIDATE.fullmatch(line):
            _, component, priority, host, port, kind = candidate.groups()
            return f"a=candidate {component} {priority} {host} {self._port(host, int(port))} {kind}"
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
                    "streams": [self._stream(stream) for stream in media["streams"]],
                }
                for media in view["medias"]
            ],
        }

    def _stream(self, stream: dict[str, Any]) -> dict[str, Any]:
        known = "local port" in stream
        return {
            "local": self._port(stream["local address"], stream["local port"]) if known else None,
            "endpoint": stream.get("endpoint") or None,
            "advertised": stream.get("advertised endpoint") or None,
            "crypto suite": stream.get("crypto suite"),
        }
