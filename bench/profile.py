"""Where our daemon's time goes under signalling load, sampled from outside by py-spy.

python -m bench.profile [--seconds N] [--outstanding N] [--top N]
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.load import Load
from bench.machine import process_cpu
from bench.subjects import RTPRELAY, SUBJECTS, Daemon
from bench.topology import Topology

_RATE = 400
"""Samples per second: each stops the daemon for a moment."""
_ROOT = Path(__file__).parent.parent
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+):(?P<line>\d+)\)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--outstanding", type=int, default=16)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--subject", default=RTPRELAY.name, choices=[n for n, s in SUBJECTS.items() if s.pins])
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with (
        Topology() as topology,
        Daemon(SUBJECTS[options.subject], topology, core=0) as daemon,
        topology.relay.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        load = Load(sock, options.outstanding)
        load.run(1.0)
        before = process_cpu(daemon.pid)
        plain = load.run(options.seconds / 3)
        cpu = (process_cpu(daemon.pid) - before) / plain.replies
        print(f"{plain.per_second:,.0f} commands/s unsampled, {cpu * 1e6:.0f} us of CPU each; shares of that:\n")
        stacks = _sample(daemon.pid, load, options.seconds)
    _print_tops(stacks, cpu, options.top)
    return 0 if stacks else 1


def _sample(pid: int, load: Load, seconds: float) -> Counter[tuple[str, ...]]:
    """Stacks, outermost first, each frame as `function (file:line)`, with how often they were seen."""
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
            load.run(1.0)
        stacks: Counter[tuple[str, ...]] = Counter()
        for line in output.read_text(encoding="utf-8").splitlines() if output.exists() else ():
            stack, _, count = line.rpartition(" ")
            stacks[tuple(stack.split(";"))] += int(count)
        return stacks


def _print_tops(stacks: Counter[tuple[str, ...]], cpu: float, top: int) -> None:
    total = sum(stacks.values()) or 1
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for stack, count in stacks.items():
        places = [_place(frame) for frame in stack]
        lines[f"{places[-1][1]}  {places[-1][0]}"] += count
        own[_function(places[-1])] += count
        for function in {_function(place) for place in places}:
            functions[function] += count
    for title, counter in (("function and all it calls", functions), ("function itself", own), ("line", lines)):
        print(f"{'share':>6} {'us':>6}  {title}")
        for what, count in counter.most_common(top):
            print(f"{count / total:6.1%} {count / total * cpu * 1e6:6.1f}  {what}")
        print()


def _place(frame: str) -> tuple[str, str]:
    """Function, and file:line as seen from the project."""
    found = _FRAME.fullmatch(frame)
    if not found:
        return frame, ""
    path = Path(found["file"])
    name = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path
    return found["function"], f"{name}:{found['line']}"


def _function(place: tuple[str, str]) -> str:
    return f"{place[1].rpartition(':')[0]}  {place[0]}"


if __name__ == "__main__":
    sys.exit(main())
