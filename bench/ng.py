"""The benchmark's ng client: bencode over UDP, in the shape Kamailio's rtpengine module sends it."""

from __future__ import annotations

import itertools
import re
import socket
import time
import types
from collections.abc import Mapping

from tools.bencode import Value, decode, encode

PORT = 2223
Reply = Mapping[str, Value]


class NgError(Exception):
    """The daemon refused, or did not answer."""


def sdp(address: str, port: int, direction: str = "sendrecv", crypto: str = "") -> str:
    """What a desk phone offers: a handful of codecs with their attributes. `crypto`: as RTP/SAVP, with this line."""
    profile, crypto = ("RTP/SAVP", f"a=crypto:{crypto}\r\n") if crypto else ("RTP/AVP", "")
    return (
        f"v=0\r\no=- 3879102 1 IN IP4 {address}\r\ns=call\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} {profile} 0 8 9 18 101\r\n{crypto}a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n"
        f"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na={direction}\r\n"
    )


def media_port(reply: Reply) -> int:
    """Port of the first m= line of the SDP in a reply."""
    found = re.search(r"^m=\w+ (\d+) ", str(reply.get("sdp", "")), re.MULTILINE)
    if not found or found[1] == "0":
        raise NgError(f"no media port in {reply!r}")
    return int(found[1])


def offer(
    call_id: str, address: str, port: int, options: Mapping[str, Value] = types.MappingProxyType({})
) -> dict[str, Value]:
    """Keys in Kamailio's order: flags first, command last, nothing sorted."""
    return {
        "supports": ["load limit"],
        **options,
        "sdp": sdp(address, port),
        "ICE": "remove",
        "direction": ["a", "b"],
        "replace": ["origin", "session-connection"],
        "call-id": call_id,
        "received-from": ["IP4", address],
        "from-tag": "from-" + call_id,
        "command": "offer",
    }


def answer(call_id: str, address: str, port: int, crypto: str = "") -> dict[str, Value]:
    return {
        "supports": ["load limit"],
        "sdp": sdp(address, port, crypto=crypto),
        "ICE": "remove",
        "replace": ["origin", "session-connection"],
        "call-id": call_id,
        "received-from": ["IP4", address],
        "from-tag": "from-" + call_id,
        "to-tag": "to-" + call_id,
        "command": "answer",
    }


def delete(call_id: str) -> dict[str, Value]:
    return {
        "supports": ["load limit"],
        "call-id": call_id,
        "received-from": ["IP4", "127.0.0.1"],
        "from-tag": "from-" + call_id,
        "command": "delete",
    }


class NgClient:
    """One question at a time, over a connected socket (made inside the relay's namespace)."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._cookies = itertools.count()
        sock.connect(("127.0.0.1", PORT))

    def request(self, command: Mapping[str, Value], timeout: float = 3.0) -> Reply:
        cookie = b"b%d" % next(self._cookies)
        self._socket.settimeout(timeout)
        try:
            self._socket.send(cookie + b" " + encode(command))
            while True:
                head, _, body = self._socket.recv(65536).partition(b" ")
                if head == cookie:
                    break
        except OSError as error:
            raise NgError(f"no answer to {command['command']}: {error!r}") from error
        reply = decode(body)
        if not isinstance(reply, Mapping) or reply.get("result") not in ("ok", "pong"):
            raise NgError(f"{command['command']} refused: {reply!r}")
        return reply

    def wait_ready(self, started: float, give_up_after: float = 15.0) -> float:
        """Seconds from `started` (time.monotonic) to the first ping answered, asked every millisecond."""
        self._socket.settimeout(0.001)
        ping = encode({"command": "ping"})
        while time.monotonic() < started + give_up_after:
            try:
                self._socket.send(b"up " + ping)
                if self._socket.recv(4096).endswith(b"4:ponge"):
                    taken = time.monotonic() - started
                    self._drain()
                    return taken
            except TimeoutError:
                continue
            except OSError:  # ECONNREFUSED: nobody listens yet
                time.sleep(0.001)
        raise NgError(f"no ping answered within {give_up_after} s")

    def _drain(self) -> None:
        """Answers to the earlier pings must not meet later questions."""
        self._socket.settimeout(0.05)
        try:
            while True:
                self._socket.recv(4096)
        except TimeoutError:
            return
