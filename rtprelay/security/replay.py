"""Which packets have come already, and which index a 16-bit sequence number stands for (RFC 3711 sections 3.3.1,
3.3.2). The rules of ebpf/lib/replay.h and srtp_stream.h, which continue where these have left off, and vice versa.
"""

from __future__ import annotations

import msgspec

WINDOW = 128
"""Packets; RFC 3711 asks for 64 at least."""
_MASK = (1 << WINDOW) - 1
CRASH_MARGIN = 2048
"""Indices not used after a crash: more than a source sends in the second that may not have been kept, and less than a
receiver takes for a new source (RFC 3550 appendix A.1: 3000)."""
MAX_RTP_INDEX = (1 << 48) - 1
MAX_RTCP_INDEX = (1 << 31) - 1


class ReplayWindow(msgspec.Struct, array_like=True):
    """The highest index seen and the WINDOW before it; bit i of `seen` stands for `highest - i`. A value: it can be
    stored and handed over.
    """

    highest: int = -1
    seen: int = 0
    bridge: int = 0
    """Sender: added to sequence numbers since the source started anew, modulo 65536."""
    restart: int = -1
    """Sender: the sequence number that would confirm that it has; -1: none."""
    doubtful: bool = False
    """Sender: since a crash; more may have been used than is known of."""

    def fresh(self, index: int) -> bool:
        """False for an index that has come, or is too old to tell. Changes nothing: ask before, commit after
        authentication.
        """
        behind = self.highest - index
        return behind < 0 or (behind < WINDOW and not self.seen >> behind & 1)

    def commit(self, index: int) -> None:
        ahead = index - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self.highest = index
        else:
            self.seen |= 1 << -ahead

    def settle(self) -> None:
        """Go on behind whatever may have been used. Numbers are bridged to it."""
        if self.doubtful:
            self.highest += CRASH_MARGIN
            self.seen = _MASK
            self.bridge = self.bridge + CRASH_MARGIN & 0xFFFF
            self.doubtful = False

    def following(self, sequence: int) -> int | None:
        """Use up the index that a packet to be sent stands for; above MAX_RTP_INDEX nothing is used up. None: it has
        been used, or is too old to tell.

        A packet too old may be the first after its source has started anew. SRTP cannot go back, so if the next number
        follows (RFC 3550 appendix A.1), numbers are bridged from there on to continue where the old ones ended.
        """
        self.settle()
        index = guess_index(self.highest, sequence + self.bridge & 0xFFFF)
        if not self.fresh(index):
            if self.highest - index < WINDOW or not self._restarted(sequence):
                return None
            index = self.highest + 1
        if index <= MAX_RTP_INDEX:
            self.commit(index)
        return index

    def _restarted(self, sequence: int) -> bool:
        if self.restart != sequence:
            self.restart = sequence + 1 & 0xFFFF
            return False
        self.bridge = self.highest + 1 - sequence & 0xFFFF
        self.restart = -1
        return True


def guess_index(highest: int, sequence: int) -> int:
    """The 48-bit index nearest to `highest` that ends in `sequence` (RFC 3711 appendix A); -1: nothing has come yet."""
    if highest < 0:
        return sequence
    difference = (sequence - highest + 0x8000 & 0xFFFF) - 0x8000
    index = highest + difference
    return index if index >= 0 else index + 0x10000
