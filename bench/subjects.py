"""The daemons under test, and how each is started: the same options for both, as an operator would give them."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bench.ng import PORT, NgClient
from bench.topology import RELAY_A, RELAY_B, Topology

PORT_MIN, PORT_MAX = 10000, 64999
CONSOLE = "127.0.0.1:9900"
_OPEN_FILES = 150_000
_SPARE_FILES = 1000
_BPFFS = Path("/sys/fs/bpf")


class Subject(msgspec.Struct, frozen=True):
    """A daemon: how it is started, and in which form its packets leave."""

    name: str
    program: tuple[str, ...]
    options: tuple[str, ...] = ()
    frames: bool = True
    """Packets leave as XDP frames, not through the socket layer: decides which sink costs least for this one."""
    pins: bool = False
    """Keeps state of its own outside the process: a journal and bpffs pins."""
    sockets_per_call: int = 4

    def calls(self, wanted: int) -> int:
        """As many of these as may stand at once: sockets are bounded by this session's limit on open files."""
        return min(wanted, (open_files() - _SPARE_FILES) // self.sockets_per_call) if self.sockets_per_call else wanted

    def available(self) -> bool:
        return shutil.which(self.program[0]) is not None


RTPENGINE = Subject("rtpengine", ("rtpengine",), ("--table=-1",), frames=False)
RTPRELAY = Subject(
    "rtprelay",
    (str(Path(sys.executable).with_name("rtprelay")),),
    ("--backend=ebpf",),
    frames=True,
    pins=True,
    sockets_per_call=0,
)
USERSPACE = Subject("rtprelay-userspace", RTPRELAY.program, ("--backend=userspace",), frames=False, pins=True)
SUBJECTS = {subject.name: subject for subject in (RTPRELAY, RTPENGINE, USERSPACE)}


class Home:
    """Where a daemon keeps what outlives its process: journal, pins, log. Use as a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rtprelay-bench-")
        self.path = Path(self._directory.name)
        self.pins = _BPFFS / self.path.name
        self.log = self.path / "log"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Pinned links go on forwarding without a daemon; here that would be the next window's neighbour.
        shutil.rmtree(self.pins, ignore_errors=True)
        self._directory.cleanup()


class Daemon:
    """A subject running in the relay namespace of a topology. Use as a context manager.

    With a `home` of its caller's it can be started again over what a predecessor left there.
    """

    def __init__(
        self,
        subject: Subject,
        topology: Topology,
        *,
        core: int | None = None,
        home: Home | None = None,
    ) -> None:
        self.subject = subject
        self._stack = ExitStack()
        self._home = home or self._stack.enter_context(Home())
        options = [
            "--config-file=none",
            f"--interface=a/{RELAY_A}",
            f"--interface=b/{RELAY_B}",
            f"--listen-ng=127.0.0.1:{PORT}",
            f"--listen-cli={CONSOLE}",
            f"--port-min={PORT_MIN}",
            f"--port-max={PORT_MAX}",
            "--delete-delay=0",
            "--timeout=3600",
            "--silent-timeout=3600",
            "--log-level=4",
            "-f",
            "-E",
            *subject.options,
        ]
        if subject.pins:
            options += [f"--state-dir={self._home.path}/state", f"--bpf-path={self._home.pins}"]
            # The sinks say nothing, and get far more than anybody would who says nothing.
            options.append("--unheard-bandwidth=0")
        pin = () if core is None else ("taskset", "-c", str(core))
        self.client: NgClient = topology.client()
        started = time.monotonic()
        with self._home.log.open("ab") as log:
            self._process = subprocess.Popen(
                topology.relay.command(*pin, *subject.program, *options),
                stdout=log,
                stderr=log,
                preexec_fn=_raise_file_limit,
            )
        try:
            self.start_seconds = self.client.wait_ready(started)
        except BaseException:
            self._print_log()
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """nsenter and taskset replace themselves, so it is the daemon's own."""
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stack.close()

    def _print_log(self) -> None:
        tail = self._home.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        print(f"-- {self.subject.name} said last:\n{tail}", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._print_log()
        self.stop()


def open_files() -> int:
    """How many files a daemon may hold here: what systemd units give one, or this session's hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)


def _raise_file_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files(), open_files()))
