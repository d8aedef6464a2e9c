"""One publisher in the clear, ten subscribers with a key each."""

from __future__ import annotations

from collections.abc import Sequence

from bench.fanout import COLUMNS, fault_of, measure, row
from bench.keys import EVERY, SUITE
from bench.report import Goal, Section, Table, percent
from bench.subjects import RTPRELAY, Subject

NAME, TITLE = "srtp-fanout", "Fan-out as SRTP"
_N = 10
_HOW = f"""
As the fan-out above, with {_N} subscribers who have each asked for SRTP and answered with a key of their own
({SUITE}, SDES), beside as many rooms with one. A further copy is encrypted and authenticated by itself. One
of {EVERY} packets that arrive is decrypted by libsrtp with the key of its receiver, and must be what was sent.
"""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    rows, goals, failures = [], [], []
    for subject in subjects:
        seen = measure(subject, _N, seconds, rounds, secured=True)
        rows.append((subject.name, *row(seen), str(seen.ears)))
        fault = fault_of(seen) or seen.ears.fault
        if fault:
            failures.append(f"{subject.name}: {fault}")
        elif subject == RTPRELAY:
            sent = sum(window.sent.packets for window in seen.many) * _N
            arrived = sum(window.counted.packets for window in seen.many)
            met = arrived >= 0.999 * sent
            goals.append(Goal(f"SRTP copies delivered at n = {_N}", ">= 99.9 %", percent(arrived, sent), met))
    title = f"{rounds} rounds of {seconds:.0f} s"
    return Section(
        TITLE, _HOW, (Table(title, ("", *COLUMNS, "decrypted"), tuple(rows)),), tuple(goals), tuple(failures)
    )
