"""How busy the host is: its load average, and how much of its cores' time went by in work (proc_stat(5))."""

from __future__ import annotations

import os
from pathlib import Path

PROC_STAT = Path("/proc/stat")
_IDLE = slice(3, 5)
"""Of the first line's numbers: idle and iowait."""
_GUEST = 8
"""From here on guests' time, which is in the first two numbers already."""


class HostLoad:
    """Compares with the sample before: the first one tells nothing."""

    def __init__(self, stat: Path = PROC_STAT) -> None:
        self._stat = stat
        self._before = self._times()

    def sample(self) -> tuple[float, float]:
        """The load average over one minute, and the percent of all cores that was busy since the last sample."""
        now = self._times()
        total, idle = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        return os.getloadavg()[0], 100.0 * (total - idle) / total if total > 0 else 0.0

    def _times(self) -> tuple[int, int]:
        """Ticks of all cores since the boot, and those of them spent idle."""
        numbers = [int(number) for number in self._stat.read_text("ascii").partition("\n")[0].split()[1:]]
        return sum(numbers[:_GUEST]), sum(numbers[_IDLE])
