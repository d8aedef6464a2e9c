"""The relay under test as a process: ours with each of its data planes, or Debian's rtpengine as the reference.

All take the same options, so the only difference between two runs of a scenario is the program.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.harness.lab import Lab
from tests.e2e.harness.polling import until
from tests.e2e.harness.programs import Program
from tests.e2e.ng import NgClient

ROOT = Path(__file__).resolve().parents[3]
NG_PORT = 2223
CLI_PORT = 9900
BPFFS = Path("/sys/fs/bpf")

OWN = ("ebpf", "tc", "userspace")
"""Ours, by data plane: native XDP on veth, tc on `lo`, sockets without any privilege."""
REFERENCE = ("rtpengine", "rtpengine-lo")
"""Debian's daemon, on veth and on `lo`: shows that the harness, not the relay, is right or wrong."""


@dataclass
class Relay:
    """One relay in one lab; `start` it, `kill` it, `start` it again."""

    lab: Lab
    kind: str
    workdir: Path
    options: tuple[str, ...] = ()
    ports: tuple[int, int] = (30000, 39999)
    sides: tuple[str, ...] = ("west", "east")
    """Which of its addresses it is given."""
    open_files: int | None = None
    """How many it may have; None: as many as these tests."""
    instance: int = 0
    """Told apart from others in the same lab by its control ports and pins."""
    program: Program | None = field(default=None, init=False)

    @property
    def ours(self) -> bool:
        return self.kind in OWN

    @property
    def in_kernel(self) -> bool:
        return self.kind in ("ebpf", "tc")

    @property
    def bpf_path(self) -> Path:
        return BPFFS / f"{self.lab.relay.name}-{self.instance}"

    @property
    def state(self) -> Path:
        return self.workdir / "state"

    @property
    def ng_port(self) -> int:
        return NG_PORT + self.instance

    @property
    def cli_port(self) -> int:
        return CLI_PORT + self.instance

    @property
    def log(self) -> Path:
        return self.workdir / f"{self.kind}.log"

    def argv(self) -> list[str]:
        interfaces = []
        for name in self.sides:
            site = {"west": self.lab.west, "east": self.lab.east}[name]
            interfaces += ["-i", f"{name}/{site.ip4}", "-i", f"{name}/{site.ip6}"]
        common = [
            "-f",
            "-E",
            "--config-file=none",
            f"--listen-ng=127.0.0.1:{self.ng_port}",
            f"--listen-cli=127.0.0.1:{self.cli_port}",
            f"--port-min={self.ports[0]}",
            f"--port-max={self.ports[1]}",
            "--delete-delay=0",
            *interfaces,
            *self.options,
        ]
        if not self.ours:
            return ["rtpengine", "--table=-1", "--log-level=6", *common]
        own = [f"--backend={self.kind}", f"--state-dir={self.state}", f"--bpf-path={self.bpf_path}", *common]
        if self.in_kernel:
            return [str(ROOT / ".venv/bin/rtprelay"), *own]
        return [*_UNPRIVILEGED, "/usr/bin/python3", "-m", "rtprelay", *own]

    def start(self) -> None:
        self.state.mkdir(exist_ok=True)
        self.state.chmod(0o777)
        self.program = self._run(self.argv(), self.log)
        with self.client() as ng:
            until(lambda: ng.alive() or not self.running, "the relay to answer a ping", 20)
        assert self.running, f"the relay ended at once:\n{self.last_words}"

    @property
    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    @property
    def running(self) -> bool:
        return self.program is not None and self.program.running

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        assert self.program
        self.program.kill()

    def stop(self) -> None:
        if self.program:
            self.program.end()

    def flush(self) -> None:
        """Stop and leave nothing behind in the kernel."""
        self.stop()
        if self.ours:
            with self._run([*self.argv(), "--flush"], self.workdir / "flush.log") as flush:
                assert flush.wait() == 0, flush.text

    def _run(self, argv: list[str], log: Path) -> Program:
        environment = {"PYTHONPATH": f"{ROOT}:{_packages()}"}
        if self.open_files is not None:
            argv = ["prlimit", f"--nofile={self.open_files}:{self.open_files}", *argv]
        return Program(argv, log=log, namespace=self.lab.relay, cwd=self.workdir, env=environment)

    def client(self, *, use_json: bool = False) -> NgClient:
        return NgClient(self.lab.relay, "127.0.0.1", self.ng_port, use_json=use_json)

    def console(self, line: str) -> str:
        """What `rtprelay-ctl` would print."""
        with self.lab.relay.socket(socket.AF_INET, socket.SOCK_STREAM) as console:
            console.settimeout(5)
            console.connect(("127.0.0.1", self.cli_port))
            console.sendall(line.encode() + b"\n")
            console.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: console.recv(65536), b"")).decode()

    def reasons(self) -> dict[str, int]:
        """The data plane's counters: why packets were handed up or dropped, and what was forwarded."""
        found = (line.rpartition(":") for line in self.console("list reasons").splitlines() if ":" in line)
        return {name.strip(): int(count) for name, _, count in found}

    def rtp_read(self) -> int:
        """RTP packets the kernel handed up to the daemon so far."""
        return sum(count for name, count in self.reasons().items() if name.startswith("punt_") and name not in _NOT_RTP)

    def judged(self) -> int:
        """RTP packets from elsewhere than expected that the kernel handed up to be judged so far."""
        reasons = self.reasons()
        return reasons.get("punt_unknown_source", 0) + reasons.get("punt_signalled_source", 0)

    @contextmanager
    def reading_at_most(self, packets: int, *, rtcp: int = 0) -> Iterator[None]:
        """The daemon reads no more RTP than this, by the data plane's own counters and, on veth, by the kernel's count
        of the datagrams that sockets in the relay's namespace were given (ng and SIP keep still, but for a ping).
        `rtcp`: how many RTCP packets the parties send at most; those it does read."""
        if not self.in_kernel:
            yield
            return
        before, received_before = self.rtp_read(), self.lab.relay.snmp()["InDatagrams"]
        yield
        received = self.lab.relay.snmp()["InDatagrams"] - received_before
        read = self.rtp_read() - before
        assert read <= packets, f"the daemon read {read} RTP packets: {self.reasons()}"
        if not self.lab.on_loopback:
            assert received <= packets + rtcp + _NG_PING, f"sockets at the relay received {received} datagrams"


def _packages() -> str:
    """Where the dependencies are: the unprivileged user may not be allowed to run the venv's own interpreter."""
    return str(ROOT / ".venv/lib" / f"python3.{sys.version_info.minor}" / "site-packages")


_NOT_RTP = frozenset({"punt_rtcp", "punt_stun", "punt_dtls", "punt_not_rtp", "punt_extension_header"})
"""What is handed up and is not media; extension headers are those of multicast listener reports (RFC 2710)."""
_NG_PING = 2
"""Kamailio pings its relays now and then: one datagram there, one back."""

_UNPRIVILEGED = (
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
)
