"""How something went from the first time it was measured on: about ten points, as evenly in time as they came.

There are many calls, and some last long: what is kept of each is bounded, and packed.
"""

from __future__ import annotations

import struct

import msgspec

_POINT = struct.Struct("<d4f")
_PARTS = 10
_MOST = 32

Point = tuple[float, ...]
"""When, in seconds, and four values."""


class Course(msgspec.Struct, frozen=True, gc=False):
    packed: bytes = b""

    def going_on(self, *point: float) -> Course:
        """With one point more, the latest."""
        packed = self.packed + _POINT.pack(*point)
        if len(packed) <= _MOST * _POINT.size:
            return Course(packed)
        points = list(_POINT.iter_unpack(packed))
        kept = _apart(points, _span(points) / _PARTS)
        return Course(b"".join(_POINT.pack(*point) for point in kept[:_MOST]))

    def shown(self) -> tuple[int, list[Point]]:
        """Whole seconds, and points that are at least as much apart."""
        points = list(_POINT.iter_unpack(self.packed))
        interval = int(_span(points)) // _PARTS
        return interval, _apart(points, interval)


def _span(points: list[Point]) -> float:
    return points[-1][0] - points[0][0] if points else 0.0


def _apart(points: list[Point], interval: float) -> list[Point]:
    kept = points[:1]
    for point in points[1:]:
        if point[0] - kept[-1][0] >= interval:
            kept.append(point)
    return kept
