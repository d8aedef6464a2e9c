"""Debian's Kamailio with the configuration in conf/kamailio/, run as nobody from a directory of its own."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.harness.lab import Lab, Site
from tests.e2e.harness.polling import until
from tests.e2e.harness.programs import Program
from tests.e2e.harness.relay import NG_PORT, ROOT

CONFIG = ROOT / "conf/kamailio/kamailio.cfg"


class Kamailio:
    """A registrar and proxy at the relay's western addresses. `defines` switches variants of the configuration on."""

    def __init__(self, lab: Lab, workdir: Path, port: int, defines: Sequence[str] = ()) -> None:
        self.lab = lab
        self.port = port
        run_dir = workdir / f"kamailio-{port}"
        run_dir.mkdir()
        run_dir.chmod(0o777)
        definitions = [
            *defines,
            f'RTPENGINE_SOCK="udp:127.0.0.1:{NG_PORT}"',
            f'WEST="{lab.west.ip4}"',
        ]
        argv = ["kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(run_dir), "-w", str(run_dir)]
        argv += ["-u", "nobody", "-g", "nogroup", "-m", "64"]
        for address in self.addresses():
            argv += ["-l", f"udp:{address}:{port}"]
        if "WITH_WEBSOCKET" in defines:
            argv += ["-l", f"tcp:{lab.west.ip4}:{port}"]
        for definition in definitions:
            argv += ["-A", definition]
        self.program = Program(argv, log=workdir / f"kamailio-{port}.log", namespace=lab.relay)
        until(self._answers, "Kamailio to answer OPTIONS", 15)

    def addresses(self) -> list[str]:
        sides = (self.lab.west, self.lab.east)
        return [side.ip4 for side in sides] + [f"[{side.ip6}]" for side in sides]

    def address(self, family: int) -> str:
        """Where user agents find it."""
        return self.lab.west.address(family)

    def domain(self, family: int) -> str:
        address = self.address(family)
        return f"[{address}]" if family == 6 else address

    def register(self, user: str, site: Site, contact_port: int, family: int = 4) -> None:
        """A REGISTER (RFC 3261 section 10) from the contact's own address; two contacts of a user make a fork."""
        answer = self._request("REGISTER", site, family, user, contact_port)
        assert answer.startswith("SIP/2.0 200"), answer

    def _answers(self) -> bool:
        assert self.program.running, f"Kamailio ended:\n{self.program.text[-4000:]}"
        try:
            return self._request("OPTIONS", self.lab.caller, 4, "ping", 0).startswith("SIP/2.0 200")
        except OSError:
            return False

    def _request(self, method: str, site: Site, family: int, user: str, contact_port: int) -> str:
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with site.namespace.socket(kind, socket.SOCK_DGRAM) as client:
            client.bind((site.address(family), 0))
            client.connect((self.address(family), self.port))
            client.settimeout(1)
            port = client.getsockname()[1]
            host = f"[{site.address(family)}]" if family == 6 else site.address(family)
            uri = f"sip:{self.domain(family)}:{self.port}"
            lines = [
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{method}{user}{port}",
                f"From: <sip:{user}@{self.domain(family)}>;tag={port}",
                f"To: <sip:{user}@{self.domain(family)}>",
                f"Call-ID: {method}-{user}-{port}-{contact_port}",
                f"CSeq: 1 {method}",
                f"Contact: <sip:{user}@{host}:{contact_port}>;expires=3600",
                "Max-Forwards: 10",
                "Content-Length: 0",
                "",
                "",
            ]
            client.send("\r\n".join(lines).encode())
            return client.recv(65536).decode()

    def stop(self) -> None:
        self.program.end()
