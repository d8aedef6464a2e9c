"""RTP statistics of one SSRC at one port: RFC 3550 section 6.4.1 and appendix A, with a window for duplicates.

The kernel keeps the same numbers by the same rules (`ebpf/lib/rtp.h`), so that a stream may be counted partly there
and partly here. Both keep what can be added up - packets, bytes, the first and the highest extended sequence number -
and loss is derived from the sums. By the 16-bit distance from the highest sequence number so far, a packet is

* forward by less than MAX_DROPOUT: the packets between may be lost;
* backward within the window: seen already, a duplicate; not seen yet, reordered;
* anything else: reordered for now, but if the next number follows, the source has restarted: the numbering goes on from
  there, and what was lost before stays lost.
"""

from __future__ import annotations

from rtprelay.plan.flow import SsrcReport

WINDOW = 128
"""How many sequence numbers back a packet is told from its duplicate."""

MAX_DROPOUT = 3000
MAX_TRANSIT = 5.0
"""Seconds; a larger step of a timestamp against the clock is a new base, not jitter."""

_NO_RESTART = 0x10000
_MASK = (1 << WINDOW) - 1
_JITTER_GAIN = 1 / 16


class StreamStatistics:
    """The counters of one SSRC. `update` is on the hot path of the unprivileged relay."""

    __slots__ = (
        "_clock",
        "_restart",
        "_window",
        "arrival",
        "base",
        "bytes",
        "duplicates",
        "highest",
        "jitter",
        "packets",
        "payload_type",
        "reordered",
        "ssrc",
        "timestamp",
    )

    def __init__(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self.packets = 0
        self.bytes = 0
        self.base = 0
        self.highest = 0
        self.reordered = 0
        self.duplicates = 0
        self.jitter = 0.0
        self.timestamp = 0
        self.payload_type = 0
        self._window = 0
        self._restart = _NO_RESTART
        self.arrival = 0.0
        self._clock = 0

    def update(self, sequence: int, timestamp: int, payload_type: int, size: int, now: float, clock: int) -> None:
        """Count one accepted packet; `clock` 0: the payload type's RTP clock is unknown."""
        if not self.packets:
            self.base = self.highest = sequence
            self._window = 1
        else:
            self._place(sequence)
        self.packets += 1
        self.bytes += size
        if clock and clock == self._clock:
            step = ((timestamp - self.timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
            transit = abs(now - self.arrival - step / clock)
            if transit < MAX_TRANSIT:
                self.jitter += (transit - self.jitter) * _JITTER_GAIN
        self.arrival = now
        self._clock = clock
        self.timestamp = timestamp
        self.payload_type = payload_type

    def _place(self, sequence: int) -> None:
        ahead = (sequence - self.highest) & 0xFFFF
        behind = -ahead & 0xFFFF
        if 0 < ahead < MAX_DROPOUT:
            self.highest += ahead
            self._window = (self._window << ahead | 1) & _MASK if ahead < WINDOW else 1
        elif behind < WINDOW:
            if self._window >> behind & 1:
                self.duplicates += 1
            else:
                self.reordered += 1
                self._window |= 1 << behind
        elif sequence == self._restart:
            # Of the new numbering two packets are expected so far, and have come: keep highest - base + 1 true.
            self.base += ahead - 2
            self.highest += ahead
            self._window = 3
            self.reordered -= 1
            self._restart = _NO_RESTART
        else:
            self.reordered += 1
            self._restart = (sequence + 1) & 0xFFFF

    def report(self) -> SsrcReport:
        return SsrcReport(
            ssrc=self.ssrc,
            packets=self.packets,
            bytes=self.bytes,
            highest_sequence=self.highest,
            lost=self.highest - self.base + 1 - self.packets,
            reordered=self.reordered,
            duplicates=self.duplicates,
            jitter=self.jitter,
            last_timestamp=self.timestamp,
            payload_type=self.payload_type,
        )
