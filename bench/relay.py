"""(b) What relaying a packet costs at equal rate, and the highest rate without loss."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from bench.calls import Bench
from bench.machine import in_turn
from bench.report import Goal, Section, Table, percent, spread
from bench.subjects import RTPENGINE, RTPRELAY, Subject
from bench.window import Cost, Window, cost

NAME, TITLE = "relay", "CPU per relayed packet"
_DELIVERY = 0.999
"""A window that delivered less has no price: what was lost was not relayed."""
_LATE = 0.03
"""Share the generator may leave out for the machine's other users: the price per packet stands."""
_GOAL = 10.0


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    calls, rates = (50, (10_000,)) if quick else (500, (25_000, 100_000))
    seconds, rounds = (1.0, 1) if quick else (10.0, 4)
    tables, goals, failures = [], [], []
    with ExitStack() as stack:
        benches = [stack.enter_context(Bench(subject, calls)) for subject in subjects]
        for rate in rates:
            costs, rows, faults = at_rate(benches, rate, seconds, rounds)
            tables.append(
                Table(
                    f"{calls} calls, {rate:,} packets/s, {rounds} rounds of {seconds:.0f} s",
                    ("", "delivered", "through userspace", "ns/packet, machine", "ns/packet, charged"),
                    rows,
                )
            )
            failures += faults
            if RTPRELAY in subjects and RTPENGINE in subjects and not faults:
                goals.append(ratio(costs[RTPRELAY.name], costs[RTPENGINE.name], f"at {rate:,} packets/s", _GOAL))
    knees = {subject.name: lossless_knee(subject, calls, quick) for subject in subjects}
    tables.append(
        Table(
            "Lossless knee (less than 0.1 % lost, relay restarted for each rate)",
            ("", "packets/s", "first rate with loss", "delivered there"),
            tuple((name, f"{knee[0]:,.0f}", *knee[1]) for name, knee in knees.items()),
        )
    )
    failures += [f"knee of {name}: lossy at every rate tried" for name, knee in knees.items() if not knee[0]]
    if RTPRELAY in subjects and RTPENGINE in subjects and knees[RTPENGINE.name][0]:
        higher = knees[RTPRELAY.name][0] / knees[RTPENGINE.name][0]
        goals.append(Goal("knee, ours over rtpengine's", "> 1x", f"{higher:.1f}x", higher > 1))
    return Section(TITLE, _HOW, tuple(tables), tuple(goals), tuple(failures))


_HOW = """
G.711 (214-byte frames) over veth between namespaces: senders, relay, receivers. The generator sends live XDP frames
in breaths of one millisecond from core 0; the other core is free. Each figure is CPU time per *delivered* packet
minus the generator alone (frames made, then dropped) at the same rate; both veth crossings and the counting sink stay
in it. `machine` is the busy time of the whole machine without its other users' processes, `charged` that of the
processes taking part and of ksoftirqd; windows alternate alone/A/B, alone/B/A. Median (least..greatest). Not shown: a
network card, receive-side scaling, hardware interrupts.
"""


class Measured(Protocol):
    """A relay with traffic through it."""

    @property
    def subject(self) -> Subject: ...

    def window(self, rate: float, seconds: float) -> Window: ...

    def window_alone(self, rate: float, seconds: float) -> Window: ...


def at_rate(
    benches: Sequence[Measured], rate: int, seconds: float, rounds: int
) -> tuple[dict[str, list[Cost]], tuple[tuple[str, ...], ...], list[str]]:
    costs: dict[str, list[Cost]] = {bench.subject.name: [] for bench in benches}
    windows: dict[str, list[Window]] = {bench.subject.name: [] for bench in benches}
    for turn in range(rounds):
        alone = benches[0].window_alone(rate, seconds)
        for bench in in_turn(benches, turn):
            window = bench.window(rate, seconds)
            windows[bench.subject.name].append(window)
            costs[bench.subject.name].append(cost(window, alone))
    rows, failures = [], []
    for name, seen in windows.items():
        sent = sum(window.sent.packets for window in seen)
        arrived = sum(window.counted.packets for window in seen)
        rows.append(
            (
                name,
                percent(arrived, sent),
                percent(sum(window.to_sockets for window in seen), sent),
                spread([each.machine for each in costs[name]]),
                spread([each.charged for each in costs[name]]),
            )
        )
        failures += [f"{name} at {rate:,} packets/s: {fault}" for window in seen if (fault := _fault(window, _LATE))]
    return costs, tuple(rows), failures


def _fault(window: Window, late: float = 1 - _DELIVERY) -> str | None:
    """Why this window says nothing about the relay."""
    counted = window.counted
    if window.late > late:
        return f"the generator left out {percent(window.late, 1)}"
    if window.delivered < _DELIVERY:
        return f"delivered {percent(counted.packets, window.sent.packets)}"
    if counted.bad:
        return f"{counted.bad} of {counted.checked} packets looked at had a wrong checksum"
    if not counted.least:
        return "a receiver got nothing"
    return None


def ratio(ours: Sequence[Cost], peer: Sequence[Cost], where: str, goal: float) -> Goal:
    machine = statistics.median(c.machine for c in peer) / max(1.0, statistics.median(c.machine for c in ours))
    charged = statistics.median(c.charged for c in peer) / max(1.0, statistics.median(c.charged for c in ours))
    return Goal(
        f"CPU per delivered packet {where}, rtpengine's over ours",
        f">= {goal:.0f}x",
        f"{machine:.1f}x by the machine clock, {charged:.1f}x by the charged one",
        machine >= goal,
    )


def lossless_knee(subject: Subject, calls: int, quick: bool) -> tuple[float, tuple[str, str]]:
    """Double until it loses, then bisect. The rate, and the lowest rate that lost with what it delivered."""
    seconds, precision = (0.5, 2.0) if quick else (4.0, 1.05)
    good, bad = 0.0, 0.0
    lost = ("none found", "")
    rate = 25_000.0
    while not bad or bad > good * precision:
        with Bench(subject, calls) as bench:
            window = bench.window(rate, seconds)
        if _fault(window):
            bad, lost = rate, (f"{rate:,.0f}", percent(window.counted.packets, window.sent.packets + window.sent.late))
        else:
            good = rate
        if bad and not good and bad < 2_000:
            break
        rate = good * 2 if not bad else (good + bad) / 2 if good else bad / 2
    return good, lost
