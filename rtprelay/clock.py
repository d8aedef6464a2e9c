"""Floor 0: two clocks, one number. The core counts in CLOCK_MONOTONIC seconds, people and wires in seconds since 1970.

Both are floats handed in from outside; this file only knows how one becomes the other, and never reads a clock.
"""

from __future__ import annotations

import datetime
from typing import NewType

Monotonic = NewType("Monotonic", float)
"""Seconds of CLOCK_MONOTONIC, the clock of the kernel's packet stamps as well; starts again at boot."""


def wall_offset(wall: float, monotonic: float) -> float:
    """What has to be added to a monotonic time to get wall-clock time; read both clocks one after the other."""
    return wall - monotonic


def iso(wall: float) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.250Z`."""
    moment = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
