"""(e) Memory per call, in the process and in the kernel, and the time from exec to the first ping answered."""

from __future__ import annotations

import re
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.calls import set_up
from bench.ng import PORT
from bench.report import Goal, Section, Table, spread
from bench.subjects import CONSOLE, RTPRELAY, Daemon, Home, Subject
from bench.topology import Topology
from bench.traffic import MeasureError

NAME, TITLE = "footprint", "Memory and start"
_TOOL_MS = 100.0
_CTL = Path(RTPRELAY.program[0]).parent / "rtprelay-ctl"


class Memory(msgspec.Struct, frozen=True):
    """Bytes."""

    resident: int
    maps: int
    """BPF maps the process holds open, as the kernel accounts them."""
    slab: int
    """Of the whole machine: sockets live here. Meaningful as a difference, on a quiet machine."""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    starts = 2 if quick else 7
    rows, times = [], []
    for subject in subjects:
        steps = (100, 300) if quick else (1000, subject.calls(10_000))
        readings = _grow(subject, steps)
        empty = readings[0]
        for calls, reading in zip(steps, readings[1:], strict=True):
            rows.append(
                (
                    subject.name,
                    f"{calls:,}",
                    *(_mebibytes(value) for value in (reading.resident, reading.maps)),
                    *(
                        f"{(now - then) / calls / 1024:.1f}"
                        for now, then in zip(_parts(reading), _parts(empty), strict=True)
                    ),
                )
            )
        rows.append((subject.name, "0", _mebibytes(empty.resident), _mebibytes(empty.maps), "", "", ""))
        times.append((subject.name, "nothing", spread([each * 1e3 for each in _start_times(subject, starts)], 1)))
        if subject.pins:
            for calls in steps:
                taken_over = _take_over(subject, calls, starts)
                times.append((subject.name, f"{calls:,} calls", spread([each * 1e3 for each in taken_over], 1)))
    tools = _tool_times(starts) if RTPRELAY in subjects else {}
    return Section(
        TITLE,
        _HOW,
        (
            Table(
                "Memory",
                ("", "calls", "RSS MiB", "BPF maps MiB", "KiB/call, RSS", "KiB/call, maps", "KiB/call, kernel slab"),
                tuple(sorted(rows)),
            ),
            Table(
                f"Start, ms from exec to the first ping answered, {starts} starts",
                ("", "started over", "ms"),
                tuple(times),
            ),
            Table(
                f"Tools, ms from exec to exit, {starts} times",
                ("", "ms"),
                tuple((name, spread([each * 1e3 for each in found], 1)) for name, found in tools.items()),
            ),
        ),
        tuple(
            Goal(f"`{name}`, from exec to exit", f"< {_TOOL_MS:.0f} ms", f"{ms:.0f} ms", ms < _TOOL_MS)
            for name, ms in ((name, statistics.median(found) * 1e3) for name, found in tools.items())
        ),
    )


_HOW = """
Calls of one audio stream with RTCP, set up and left standing. RSS of the process; BPF maps as the kernel accounts
them (most are allocated in full at start); the kernel's slab, where sockets live, as the whole machine's difference.
Who opens sockets for each call has as many as this session's limit on open files allows. A start over nothing finds
no journal and no pins; one over calls follows a `kill -9`.
"""


def _grow(subject: Subject, steps: Sequence[int]) -> list[Memory]:
    with Topology() as topology, Daemon(subject, topology) as daemon:
        readings = [_settled(daemon.pid)]
        done = 0
        for calls in steps:
            set_up(daemon.client, calls - done, first=done)
            done = calls
            readings.append(_settled(daemon.pid))
        return readings


def _settled(pid: int) -> Memory:
    time.sleep(1)
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    slab = Path("/proc/meminfo").read_text(encoding="ascii")
    return Memory(_kilobytes("VmRSS", status), _map_bytes(pid), _kilobytes("SUnreclaim", slab))


def _kilobytes(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _map_bytes(pid: int) -> int:
    maps: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        text = entry.read_text(encoding="ascii", errors="replace")
        found = re.search(r"^memlock:\s+(\d+)$.*^map_id:\s+(\d+)$", text, re.MULTILINE | re.DOTALL)
        if found:
            maps[found[2]] = int(found[1])
    return sum(maps.values())


def _start_times(subject: Subject, starts: int) -> list[float]:
    found = []
    with Topology() as topology:
        for _ in range(starts):
            with Daemon(subject, topology) as daemon:
                found.append(daemon.start_seconds)
    return found


def _tool_times(runs: int) -> dict[str, list[float]]:
    """What an operator types, against a relay that runs."""
    with Topology() as topology, Daemon(RTPRELAY, topology):
        commands = {
            "rtprelay-ctl list": (str(_CTL), "-ip", CONSOLE, "list", "numsessions"),
            "rtprelay ng ping": (RTPRELAY.program[0], "ng", "--server", f"127.0.0.1:{PORT}", "ping"),
        }
        return {name: [_timed(topology, command) for _ in range(runs)] for name, command in commands.items()}


def _timed(topology: Topology, command: Sequence[str]) -> float:
    started = time.monotonic()
    topology.relay.run(*command)
    return time.monotonic() - started


def _take_over(subject: Subject, calls: int, starts: int) -> list[float]:
    """`kill -9` of a daemon with calls, and its successor's first answer, which it gives when it knows them."""
    found = []
    with Topology() as topology, Home() as home:
        daemon = Daemon(subject, topology, home=home)
        try:
            set_up(daemon.client, calls)
            for _ in range(starts):
                daemon.stop(signal.SIGKILL)
                daemon = Daemon(subject, topology, home=home)
                found.append(daemon.start_seconds)
            known = topology.relay.run(str(_CTL), "-ip", CONSOLE, "list", "numsessions")
            if f"Current sessions total: {calls}\n" not in known:
                raise MeasureError(f"{subject.name} did not take over {calls} calls: {known}")
        finally:
            daemon.stop()
    return found


def _parts(memory: Memory) -> tuple[int, int, int]:
    return memory.resident, memory.maps, memory.slab


def _mebibytes(value: int) -> str:
    return f"{value / 2**20:.1f}"
