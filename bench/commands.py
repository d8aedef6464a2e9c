"""(d) ng commands per second of one core: whole calls, offer + answer + delete."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from bench import profile
from bench.load import Load, LoadResult
from bench.machine import process_cpu
from bench.report import Goal, Section, Table, spread
from bench.subjects import PORT_MAX, PORT_MIN, RTPENGINE, RTPRELAY, Daemon, Subject
from bench.topology import Topology

NAME, TITLE = "commands", "ng commands"
_GOAL = 3000.0
_CLIENTS = (1, 16)
_DAEMON_CORE, _CLIENT_CORE = 0, 1


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CLIENT_CORE})
    try:
        results = {n: _alternate(subjects, n, seconds, rounds) for n in _CLIENTS}
        profiles = [profile.take(RTPRELAY, 2 if quick else 15)] if RTPRELAY in subjects else []
    finally:
        os.sched_setaffinity(0, cores)
    tables = tuple(
        Table(
            f"{clients} clients, {rounds} rounds of {seconds:.0f} s",
            ("", "commands/s", "per CPU second", "p50 ms", "p99 ms", "refused", "client CPU"),
            tuple(_row(name, runs) for name, runs in by_name.items()),
        )
        for clients, by_name in results.items()
    )
    tables += tuple(each.table(what, 15) for each in profiles for what in ("package", "itself"))
    return Section(TITLE, _HOW, tables, _goals(results[_CLIENTS[-1]]), _failures(results))


_HOW = f"""
Offer, answer and delete of one call after the other, bencode over UDP in Kamailio's shape, five codecs. The daemon
and all its threads on core {_DAEMON_CORE}, the client on core {_CLIENT_CORE} (`taskset`). `delete-delay` 0, ports
{PORT_MIN}-{PORT_MAX} on two interfaces, log level: warnings. Latency is of single commands, as the client sees it.
Commands per second of the daemon's own CPU time do not depend on who else uses the core. Every client has a socket
of its own and one command outstanding, as a proxy's worker has. The profile is taken by py-spy under the same load
(`python -m bench.profile` prints more of it); a package's share includes what it calls outside the product, system
calls above all.
"""
_Run = tuple[LoadResult, float]
"""What the client saw, and the daemon's CPU seconds."""


def _alternate(subjects: Sequence[Subject], clients: int, seconds: float, rounds: int) -> dict[str, list[_Run]]:
    """A/B, B/A ...: both daemons are up, one works at a time."""
    found: dict[str, list[_Run]] = {subject.name: [] for subject in subjects}
    with ExitStack() as stack:
        pairs = []
        for subject in subjects:
            topology = stack.enter_context(Topology())
            daemon = stack.enter_context(Daemon(subject, topology, core=_DAEMON_CORE))
            load = stack.enter_context(Load(topology, clients))
            load.run(0.3)
            pairs.append((daemon, load))
        for turn in range(rounds):
            for daemon, load in pairs if turn % 2 == 0 else reversed(pairs):
                before = process_cpu(daemon.pid)
                result = load.run(seconds)
                found[daemon.subject.name].append((result, process_cpu(daemon.pid) - before))
    return found


def _row(name: str, runs: Sequence[_Run]) -> tuple[str, ...]:
    latencies = sorted(each for result, _ in runs for each in result.latencies)
    return (
        name,
        spread([result.per_second for result, _ in runs]),
        spread([result.replies / cpu for result, cpu in runs]),
        f"{latencies[len(latencies) // 2] * 1e3:.2f}" if latencies else "",
        f"{latencies[len(latencies) * 99 // 100] * 1e3:.2f}" if latencies else "",
        str(sum(sum(result.refused.values()) for result, _ in runs)),
        f"{100 * statistics.median(result.client_cpu for result, _ in runs):.0f} %",
    )


def _goals(runs: dict[str, list[_Run]]) -> tuple[Goal, ...]:
    rates = {name: statistics.median(result.per_second for result, _ in each) for name, each in runs.items()}
    if RTPRELAY.name not in rates:
        return ()
    ours = rates[RTPRELAY.name]
    measured = f"{ours:,.0f}"
    if RTPENGINE.name in rates:
        measured += f" (rtpengine {rates[RTPENGINE.name]:,.0f}: {ours / rates[RTPENGINE.name]:.2f}x)"
    return (Goal("commands per second, one core", f">= {_GOAL:,.0f}", measured, ours >= _GOAL),)


def _failures(results: dict[int, dict[str, list[_Run]]]) -> tuple[str, ...]:
    found = []
    for clients, by_name in results.items():
        for name, runs in by_name.items():
            where = f"{name}, {clients} clients"
            for result, _ in runs:
                if result.unanswered:
                    found.append(f"{where}: {result.unanswered} commands had no reply within 2 s")
                found += [f"{where}: {count} refused: {text}" for text, count in result.refused.items()]
    return tuple(found)
