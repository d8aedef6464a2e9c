"""The relay as a process of its own, on loopback, in userspace, without any privilege; and the parties of its calls."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.loopback import HOST

PROGRAM = [sys.executable, "-m", "rtprelay"]
CTL = [sys.executable, "-m", "rtprelay.cli.ctl"]
PATIENCE = 20


class Party(socket.socket):
    """A user agent's media socket."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind((HOST, 0))
        self.settimeout(PATIENCE)
        self._sequence = 0

    @property
    def sdp(self) -> str:
        return (
            f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
            f"m=audio {self.getsockname()[1]} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
        )

    def say(self, port: int) -> bytes:
        self._sequence += 1
        packet = bytes([0x80, 8]) + self._sequence.to_bytes(2, "big") + bytes(7) + b"\x01" + b"s" * 160
        self.sendto(packet, (HOST, port))
        return packet


class Relay:
    """A relay process with what it told about itself."""

    def __init__(self, state: Path, *options: str, program: tuple[str, ...] = tuple(PROGRAM)) -> None:
        # Below the ports the system gives to anybody's sockets: a successor finds its predecessor's still free.
        low = random.SystemRandom().randrange(10000, 32700, 100)
        self.ports = (f"--port-min={low}", f"--port-max={low + 99}")
        self.process = subprocess.Popen(
            [
                *program,
                *("-f", "-E", "--config-file=none", "-t-1", f"-i{HOST}", "-n127.0.0.1:0", "-c127.0.0.1:0"),
                *self.ports,
                f"--state-dir={state}",
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.listening: dict[str, int] = {}
        """Ports by kind."""
        self._cookies = 0

    def wait_ready(self) -> Self:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"listening protocol=([a-z-]+) address=127\.0\.0\.1:(\d+)", line)
            if found:
                self.listening[found[1]] = int(found[2])
            # The last one to be opened.
            if "ng" in self.listening:
                return self
        raise AssertionError("the relay ended:\n" + "".join(self.lines))

    @property
    def ng(self) -> int:
        return self.listening["ng"]

    @property
    def cli(self) -> int:
        return self.listening["cli"]

    def wait_for(self, text: str) -> str:
        """The next line of the log with this text in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"the relay ended without {text!r}:\n" + "".join(self.lines))

    def ask(self, command: str, **keys: Any) -> dict[str, Any]:
        self._cookies += 1
        message = {"command": command, **{key.replace("_", "-"): value for key, value in keys.items()}}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto(b"%d " % self._cookies + json.dumps(message).encode(), ("127.0.0.1", self.ng))
            reply: dict[str, Any] = json.loads(sock.recv(65535).split(b" ", 1)[1])
        return reply

    def call(self, call_id: str, caller: Party, callee: Party) -> tuple[int, int]:
        """Where the caller and the callee send their media to."""
        offer = self.ask("offer", call_id=call_id, from_tag="a", sdp=caller.sdp)
        answer = self.ask("answer", call_id=call_id, from_tag="a", to_tag="b", sdp=callee.sdp)
        assert (offer["result"], answer["result"]) == ("ok", "ok"), (offer, answer)
        return media_port(answer["sdp"]), media_port(offer["sdp"])

    def ctl(self, *words: str) -> str:
        done = subprocess.run(
            [*CTL, "-port", str(self.cli), *words], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        return done.stdout

    def end(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            self.lines += self.process.stderr.readlines()
            self.process.stderr.close()
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self.wait_ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGKILL)


def media_port(sdp: str) -> int:
    found = re.search(r"m=audio (\d+)", sdp)
    assert found
    return int(found[1])
