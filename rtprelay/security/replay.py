"""Which packets have come already, and which index a 16-bit sequence number stands for (RFC 3711 sections 3.3.1,
3.3.2).
"""

from __future__ import annotations

import msgspec

WINDOW = 128
"""Packets; RFC 3711 asks for 64 at least."""
_MASK = (1 << WINDOW) - 1
MAX_RTP_INDEX = (1 << 48) - 1
MAX_RTCP_INDEX = (1 << 31) - 1


class ReplayWindow(msgspec.Struct, array_like=True):
    """The highest index seen and the WINDOW before it; bit i of `seen` stands for `highest - i`. A value: it can be
    stored and handed over.
    """

    highest: int = -1
    seen: int = 0

    def fresh(self, index: int) -> bool:
        """False for an index that has come, or is too old to tell. Changes nothing: ask before, commit after
        authentication.
        """
        behind = self.highest - index
        return behind < 0 or (behind < WINDOW and not self.seen >> behind & 1)

    def joined(self, other: ReplayWindow) -> ReplayWindow:
        """What either has seen."""
        ahead, behind = (other, self) if other.highest > self.highest else (self, other)
        shift = ahead.highest - behind.highest
        late = behind.seen << shift & _MASK if behind.highest >= 0 and shift < WINDOW else 0
        return ReplayWindow(ahead.highest, ahead.seen | late)

    def commit(self, index: int) -> None:
        ahead = index - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self.highest = index
        else:
            self.seen |= 1 << -ahead


def guess_index(highest: int, sequence: int) -> int:
    """The 48-bit index nearest to `highest` that ends in `sequence` (RFC 3711 appendix A); -1: nothing has come yet."""
    if highest < 0:
        return sequence
    difference = (sequence - highest + 0x8000 & 0xFFFF) - 0x8000
    index = highest + difference
    return index if index >= 0 else index + 0x10000
