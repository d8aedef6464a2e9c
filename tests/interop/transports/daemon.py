"""rtprelay as a process on loopback, with every control port it has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rtprelay.values import Endpoint
from tests.e2e.harness.programs import Program
from tests.unit.listen.authority import SERVER_NAME, Authority

TOKEN = "the-token-of-these-tests"
KINDS = ("cli", "http", "https", "ng", "tcp-ng", "tls-ng")


class Daemon:
    """In userspace, without privilege. `options` come behind the listeners."""

    def __init__(self, directory: Path, *options: str, addresses: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.authority = Authority(directory)
        certificate, key = self.authority.issue(SERVER_NAME)
        listeners = [f"--listen-{kind}={address}:0" for kind in KINDS for address in addresses]
        argv = [
            *(sys.executable, "-m", "rtprelay", "--config-file=none", "-f", "-E", "--backend=userspace"),
            *("-i", "127.0.0.1", "--state-dir", str(directory / "state"), "-m", "20000", "-M", "29999"),
            *(f"--https-cert={certificate}", f"--https-key={key}", *listeners, *options),
        ]
        self.program = Program(argv, log=directory / "relay.log")
        self.program.says("protocol=ng ")

    def at(self, kind: str, family: int = 4) -> Endpoint:
        """Where it listens."""
        pattern = r"\[(::1)\]" if family == 6 else r"(127\.0\.0\.1)"
        match = re.search(rf"listening protocol={kind} address={pattern}:(\d+)", self.program.text)
        assert match is not None, self.program.text
        return Endpoint(match[1], int(match[2]))
