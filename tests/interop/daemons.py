"""Relays as programs, in userspace on loopback, asked in JSON over UDP: Debian's rtpengine, and ours."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tests.interop.ground import INTERFACES, PORTS
from tests.loopback import HOST

RTPENGINE = "rtpengine"
OURS = (sys.executable, "-m", "rtprelay", "--backend=userspace")
STARTING = 10.0
"""Seconds until it answers, at most."""


def installed() -> bool:
    return shutil.which(RTPENGINE) is not None


class Daemon:
    """`ask` sends one request and waits for its reply."""

    def __init__(self, process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
        self._process = process
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._cookies = count(1)

    def ask(self, request: dict[str, Any], patience: float = 5.0) -> dict[str, Any]:
        cookie = f"c{next(self._cookies)}"
        self._socket.settimeout(patience)
        self._socket.sendto(f"{cookie} {json.dumps(request)}".encode(), self._address)
        while True:
            answered, _, body = self._socket.recv(65536).decode().partition(" ")
            if answered == cookie:
                reply: dict[str, Any] = json.loads(body)
                return reply

    def wait_until_it_answers(self) -> None:
        for _ in range(int(STARTING / 0.1)):
            assert self._process.poll() is None, f"it has ended with {self._process.returncode}"
            with contextlib.suppress(TimeoutError, ConnectionError):
                if self.ask({"command": "ping"}, patience=0.1) == {"result": "pong"}:
                    return
        raise AssertionError(f"no answer within {STARTING} s")

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=10)


@contextlib.contextmanager
def running(program: Sequence[str], log: Path) -> Iterator[Daemon]:
    """The same options for either program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        address = probe.getsockname()
    interfaces = [f"--interface={name}/{host}" for name, host in INTERFACES]
    command = [*program, "--config-file=none", "--foreground", "--log-stderr", "--table=-1", *interfaces]
    command += [f"--listen-ng={address[0]}:{address[1]}", f"--port-min={PORTS[0]}", f"--port-max={PORTS[-1]}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    daemon = Daemon(process, address)
    try:
        daemon.wait_until_it_answers()
        yield daemon
    finally:
        daemon.close()
