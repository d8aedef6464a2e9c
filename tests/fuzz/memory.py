"""How much memory a process holds."""

from __future__ import annotations

import os
from pathlib import Path


def rss_mib(pid: int | None = None) -> int:
    for line in Path(f"/proc/{pid or os.getpid()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise ProcessLookupError(f"{pid} has ended")
