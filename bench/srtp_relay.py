"""What a packet costs that comes as RTP and leaves as SRTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench.calls import Bench
from bench.keys import EVERY, SUITE
from bench.relay import at_rate, ratio
from bench.report import Section, Table
from bench.subjects import RTPENGINE, RTPRELAY, Subject

NAME, TITLE = "srtp-relay", "CPU per packet relayed as SRTP"
_GOAL = 3.0
_HOW = f"""
As above, but the callees have asked for SRTP (RTP/SAVP, SDES, {SUITE} chosen by their answer, `DTLS: off`). One of
{EVERY} packets that arrive is decrypted by libsrtp with the key of its receiver, and must be what was sent.
"""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    calls, rates = (50, (10_000,)) if quick else (500, (25_000, 60_000))
    seconds, rounds = (1.0, 1) if quick else (10.0, 4)
    tables, goals, failures = [], [], []
    with ExitStack() as stack:
        benches = [stack.enter_context(Bench(subject, calls, secured=True)) for subject in subjects]
        for rate in rates:
            costs, rows, faults = at_rate(benches, rate, seconds, rounds)
            decrypted = [(*row, str(bench.ears)) for row, bench in zip(rows, benches, strict=True)]
            faults += [f"{bench.subject.name}: {bench.ears.fault}" for bench in benches if bench.ears.fault]
            tables.append(
                Table(
                    f"{calls} calls, {rate:,} packets/s, {rounds} rounds of {seconds:.0f} s",
                    ("", "delivered", "through userspace", "ns/packet, machine", "ns/packet, charged", "decrypted"),
                    tuple(decrypted),
                )
            )
            failures += faults
            if RTPRELAY in subjects and RTPENGINE in subjects and not faults:
                goals.append(ratio(costs[RTPRELAY.name], costs[RTPENGINE.name], f"at {rate:,} packets/s", _GOAL))
    return Section(TITLE, _HOW, tuple(tables), tuple(goals), tuple(failures))
