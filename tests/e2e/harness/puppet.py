"""A WebRTC peer in another process, in its party's namespace: one JSON request per line, one JSON reply each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tools.netns import Namespace

_ROOT = Path(__file__).resolve().parents[3]


class Puppet:
    """`module` is run; a request is [function, arguments], a reply {"value": ...} or {"error": ...}. What both Chromium
    and aiortc can do is here; each connection has a name.
    """

    def __init__(self, module: str, namespace: Namespace, log: Path) -> None:
        self._words = log.open("ab")
        command = namespace.command(sys.executable, "-m", module)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, cwd=_ROOT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._words.close()

    def call(self, function: str, *arguments: Any) -> Any:
        """The function's result; an exception there is one here."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline() or '{"error": "the peer is gone"}')
        assert "error" not in reply, reply
        return reply["value"]

    def answer(self, name: str, sdp: str) -> str:
        return str(self.call("answer", name, sdp))

    def accept(self, name: str, sdp: str) -> None:
        self.call("accept", name, sdp)

    def stats(self, name: str) -> dict[str, Any]:
        """connection, dtls, and by direction and kind `in_audio`, `out_video` ... what was counted."""
        return dict(self.call("stats", name))

    def say(self, name: str, text: str) -> None:
        """Over the data channel, once it is open."""
        self.call("say", name, text)

    def heard(self, name: str) -> list[str]:
        return list(self.call("heard", name))

    def close(self, name: str) -> None:
        self.call("close", name)
