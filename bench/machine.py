"""What the machine is and where its CPU time went.

Two clocks, both in seconds of CPU, both exact to the nanosecond or to a jiffy over many seconds:

* `machine`: cores x time minus idle time of the whole machine. Nothing escapes it, other people's work included.
  Without IRQ time accounting only this clock sees an interrupt's work wherever it ran: a quiet machine is
  measured with it.
* `charged`: what the scheduler charged to the processes taking part and to the ksoftirqd threads. On veth a packet is
  handled to its end in the context of whoever sent it, so this sees nearly all of the work, and nothing of the
  neighbours'.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

_TICK = os.sysconf("SC_CLK_TCK")


class CpuTimes(msgspec.Struct, frozen=True):
    """Readings of the clocks at one moment, or their differences over a window."""

    wall: float
    machine: float
    charged: float

    def since(self, earlier: CpuTimes) -> CpuTimes:
        return CpuTimes(self.wall - earlier.wall, self.machine - earlier.machine, self.charged - earlier.charged)


def cpu_times(pids: Iterable[int]) -> CpuTimes:
    """Read both clocks; `pids` are the processes charged beside ksoftirqd."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    idle, iowait = int(fields[3]), int(fields[4])
    wall = time.monotonic()
    machine = (os.cpu_count() or 1) * wall - (idle + iowait) / _TICK
    return CpuTimes(wall, machine, sum(process_cpu(pid) for pid in (*_ksoftirqd(), *pids)))


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
