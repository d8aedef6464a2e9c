"""What the machine is and where its CPU time went.

Two clocks, both in seconds of CPU, both exact to the nanosecond or to a jiffy over many seconds:

* `machine`: cores x time minus idle time of the whole machine, minus what the scheduler charged to processes that take
  no part. Without IRQ time accounting only this clock sees an interrupt's work wherever it ran. Where the kernel does
  not tell the total of all processes (no cgroup v1 cpuacct), neighbours stay in it, and it needs a quiet machine.
* `charged`: what the scheduler charged to the processes taking part and to the ksoftirqd threads. On veth a packet is
  handled to its end in the context of whoever sent it, so this sees nearly all of the work, and nothing of the
  neighbours'.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
_TICK = os.sysconf("SC_CLK_TCK")
_QUIET = 0.05
_ALL_PROCESSES = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")


class CpuTimes(msgspec.Struct, frozen=True):
    """Readings of the clocks at one moment, or their differences over a window."""

    wall: float
    machine: float
    """Neighbours included."""
    charged: float
    everyone: float | None
    """Charged to any process; None: not known."""

    def since(self, earlier: CpuTimes) -> CpuTimes:
        known = self.everyone is not None and earlier.everyone is not None
        return CpuTimes(
            self.wall - earlier.wall,
            self.machine - earlier.machine,
            self.charged - earlier.charged,
            (self.everyone or 0) - (earlier.everyone or 0) if known else None,
        )

    def with_generator(self, cpu: float) -> CpuTimes:
        """The generator, which reads its own clock, takes part; neighbours do not."""
        charged = self.charged + cpu
        neighbours = 0.0 if self.everyone is None else max(0.0, self.everyone - charged)
        return CpuTimes(self.wall, self.machine - neighbours, charged, self.everyone)


def cpu_times(pids: Iterable[int]) -> CpuTimes:
    """Read both clocks; `pids` are the processes charged beside ksoftirqd."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    idle, iowait = int(fields[3]), int(fields[4])
    wall = time.monotonic()
    machine = (os.cpu_count() or 1) * wall - (idle + iowait) / _TICK
    everyone = int(_ALL_PROCESSES.read_text(encoding="ascii")) / 1e9 if _ALL_PROCESSES.exists() else None
    return CpuTimes(wall, machine, sum(process_cpu(pid) for pid in (*_ksoftirqd(), *pids)), everyone)


def in_turn(each: Sequence[T], turn: int) -> Iterable[T]:
    """A, B in one turn and B, A in the next, so that a machine that grows slower favours neither."""
    return each if turn % 2 == 0 else reversed(each)


def process_cpu(pid: int) -> float:
    """CPU seconds of all threads of a process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def _ksoftirqd() -> list[int]:
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                name = (directory / "comm").read_text(encoding="ascii", errors="replace")
            except OSError:  # gone meanwhile
                continue
            if name.startswith("ksoftirqd/"):
                found.append(int(directory.name))
    return found


def neighbours_load(seconds: float = 1.0) -> float:
    """Cores busy while the benchmark does nothing: above a few percent of one, the figures are noisy."""
    before = cpu_times(())
    time.sleep(seconds)
    passed = cpu_times(()).since(before)
    return max(0.0, passed.machine / passed.wall)


def wait_for_quiet(patience: float) -> float:
    """Wait at most so many seconds for the neighbours to rest; what they use now, in cores."""
    give_up = time.monotonic() + patience
    while (load := neighbours_load()) > _QUIET and time.monotonic() < give_up:
        time.sleep(5)
    return load


def facts() -> str:
    """One line about the machine."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores {model}, {memory:.0f} GiB, {system}"
