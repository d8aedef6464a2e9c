"""Where our daemon's time goes under signalling load, or setting up WebRTC legs, sampled from outside:
`python -m bench.profile --help`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.load import Load
from bench.machine import process_cpu
from bench.report import Table
from bench.subjects import RTPRELAY, SUBJECTS, Daemon, Subject
from bench.topology import Topology
from bench.webrtc_client import Browsers

_RATE = 400
"""Samples per second: each stops the daemon for a moment."""
_ROOT = Path(__file__).parent.parent
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+):(?P<line>\d+)\)")


class Frame(msgspec.Struct, frozen=True):
    function: str
    file: str
    """As seen from the project where it is part of it."""
    line: str

    @property
    def package(self) -> str:
        """`rtprelay/sdp`; empty outside the product."""
        parts = self.file.split("/")
        return "/".join(parts[:2]) if parts[0] == "rtprelay" else ""


class Profile(msgspec.Struct, frozen=True):
    stacks: dict[tuple[Frame, ...], int]
    """Samples by stack, outermost frame first."""
    cpu: float
    """Seconds per command (or leg) when nobody looked."""
    per_second: float

    def tops(self, what: str) -> list[tuple[str, float]]:
        """Shares, greatest first, by `package` (of the product, whatever it calls outside), `function` with all it
        calls, function `itself`, or `line`."""
        counts: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            for key in set(_keys(stack, what)):
                counts[key] += count
        total = sum(self.stacks.values()) or 1
        return [(key, count / total) for key, count in counts.most_common()]

    def table(self, what: str, top: int) -> Table:
        return Table(
            f"Where {self.cpu * 1e6:.0f} us per command go, by {what}",
            (what, "share", "us"),
            tuple((key, f"{share:.1%}", f"{share * self.cpu * 1e6:.1f}") for key, share in self.tops(what)[:top]),
        )


Run = Callable[[float], int]
"""Keeps the daemon busy for so many seconds; how much it did."""


def take(subject: Subject, seconds: float, clients: int = 16, *, webrtc: bool = False) -> Profile:
    """Load the daemon on core 0; first unwatched, for the CPU time per command (per leg: `webrtc`), then sampled."""
    with ExitStack() as stack:
        topology = stack.enter_context(Topology())
        daemon = stack.enter_context(Daemon(subject, topology, core=0))
        run = _legs(stack, topology, daemon, clients) if webrtc else _commands(stack, topology, clients)
        run(1.0)
        before, began = process_cpu(daemon.pid), time.monotonic()
        count = max(1, run(seconds / 3))
        took, cpu = time.monotonic() - began, (process_cpu(daemon.pid) - before) / count
        return Profile(dict(_sample(daemon.pid, run, seconds)), cpu, count / took)


def _commands(stack: ExitStack, topology: Topology, clients: int) -> Run:
    load = stack.enter_context(Load(topology, clients))
    return lambda seconds: load.run(seconds).replies


def _legs(stack: ExitStack, topology: Topology, daemon: Daemon, clients: int) -> Run:
    browsers = stack.enter_context(Browsers(topology, daemon.client, clients))
    return lambda seconds: len(browsers.run(seconds)[0])


def _sample(pid: int, run: Run, seconds: float) -> Counter[tuple[Frame, ...]]:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "stacks"
        spy = subprocess.Popen(
            (
                *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", "raw"),
                *("--rate", str(_RATE), "--duration", str(round(seconds)), "--output", str(output)),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while spy.poll() is None:
            run(1.0)
        stacks: Counter[tuple[Frame, ...]] = Counter()
        for line in output.read_text(encoding="utf-8").splitlines() if output.exists() else ():
            stack, _, count = line.rpartition(" ")
            stacks[tuple(_frame(text) for text in stack.split(";"))] += int(count)
        return stacks


def _frame(text: str) -> Frame:
    found = _FRAME.fullmatch(text)
    if not found:
        return Frame(text, "", "")
    path = Path(found["file"])
    inside = path.is_relative_to(_ROOT) and ".venv" not in path.parts
    return Frame(found["function"], str(path.relative_to(_ROOT) if inside else path), found["line"])


def _keys(stack: tuple[Frame, ...], what: str) -> Iterator[str]:
    innermost = stack[-1]
    if what == "package":
        yield next((frame.package for frame in reversed(stack) if frame.package), "elsewhere")
    elif what == "line":
        yield f"{innermost.file}:{innermost.line} {innermost.function}"
    elif what == "itself":
        yield f"{innermost.file} {innermost.function}"
    else:
        yield from (f"{frame.file} {frame.function}" for frame in stack)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--webrtc", action="store_true", help="legs with ICE and DTLS, instead of commands")
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--subject", default=RTPRELAY.name, choices=[n for n, s in SUBJECTS.items() if s.pins])
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    profile = take(SUBJECTS[options.subject], options.seconds, options.clients, webrtc=options.webrtc)
    what = "legs" if options.webrtc else "commands"
    print(f"{profile.per_second:,.0f} {what}/s unsampled, {profile.cpu * 1e6:.0f} us of CPU each")
    for what in ("package", "function", "itself", "line"):
        print(f"\n{'share':>6} {'us':>6}  {what}")
        for key, share in profile.tops(what)[: options.top]:
            print(f"{share:6.1%} {share * profile.cpu * 1e6:6.1f}  {key}")
    return 0 if profile.stacks else 1


if __name__ == "__main__":
    sys.exit(main())
