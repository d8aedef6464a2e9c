"""(d) ng commands per second of one core: whole calls, offer + answer + delete."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from bench import profile
from bench.calls import set_up
from bench.load import Load, LoadResult
from bench.machine import in_turn, process_cpu
from bench.report import Goal, Section, Table, delays, percentile, spread
from bench.subjects import PORT_MAX, PORT_MIN, RTPENGINE, RTPRELAY, Daemon, Subject
from bench.topology import Topology

NAME, TITLE = "commands", "ng commands"
_GOAL = 5000.0
_CLIENTS = (1, 16)
_STANDING = 10_000
"""Calls that are there all the while; as many as one may have that opens sockets for each."""
_HALF = _GOAL / 2
"""Commands per second."""
_P99 = 5.0
_PACED, _FULL = f"{_HALF:,.0f}/s", f"{_CLIENTS[-1]} clients"
_DAEMON_CORE, _CLIENT_CORE = 0, 1


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CLIENT_CORE})
    try:
        results = {n: _alternate(subjects, n, seconds, rounds) for n in _CLIENTS}
        profiles = [profile.take(RTPRELAY, 2 if quick else 15)] if RTPRELAY in subjects else []
        standing = {subject: subject.calls(100 if quick else _STANDING) for subject in subjects}
        beside = {subject.name: _beside(subject, calls, seconds) for subject, calls in standing.items()}
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
    tables += (
        Table(
            "beside standing calls",
            ("", "calls", "load", "commands/s", "p50 ms", "p99 ms", "refused", "client CPU"),
            tuple(
                _beside_row(each.name, calls, load, result)
                for each, calls in standing.items()
                for load, result in beside[each.name].items()
            ),
        ),
    )
    tables += tuple(each.table(what, 15) for each in profiles for what in ("package", "itself"))
    goals = (*_goals(results[_CLIENTS[-1]]), *_goals_beside(beside))
    by_load = {f"{clients} clients": by_name for clients, by_name in results.items()}
    for load in (_PACED, _FULL):
        by_load[f"{load}, beside standing calls"] = {name: [(runs[load], 0.0)] for name, runs in beside.items()}
    return Section(TITLE, _HOW, tables, goals, _failures(by_load))


_HOW = f"""
Offer, answer and delete of one call after the other, bencode over UDP in Kamailio's shape, five codecs. The daemon
and all its threads on core {_DAEMON_CORE}, the client on core {_CLIENT_CORE} (`taskset`). `delete-delay` 0, ports
{PORT_MIN}-{PORT_MAX} on two interfaces, log level: warnings. Latency is of single commands, as the client sees it.
At half load commands come at a steady rate, and a late reply delays none of them: latency is from when a command was
due. Commands per second of the daemon's own CPU time do not depend on who else uses the core. Every client has a socket
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
            for daemon, load in in_turn(pairs, turn):
                before = process_cpu(daemon.pid)
                result = load.run(seconds)
                found[daemon.subject.name].append((result, process_cpu(daemon.pid) - before))
    return found


def _beside(subject: Subject, calls: int, seconds: float) -> dict[str, LoadResult]:
    """By load: half of what is asked for, at a steady rate, and as much as there may be."""
    with Topology() as topology, Daemon(subject, topology, core=_DAEMON_CORE) as daemon:
        set_up(daemon.client, calls)
        with Load(topology, _CLIENTS[-1]) as load:
            load.run(0.3)
            return {_PACED: load.run_paced(seconds, _HALF), _FULL: load.run(seconds)}


def _beside_row(name: str, calls: int, load: str, result: LoadResult) -> tuple[str, ...]:
    refused = str(sum(result.refused.values()) + result.unanswered)
    rate, client = f"{result.per_second:,.0f}", f"{100 * result.client_cpu:.0f} %"
    return name, f"{calls:,}", load, rate, *delays(result.latencies), refused, client


def _goals_beside(beside: dict[str, dict[str, LoadResult]]) -> tuple[Goal, ...]:
    if RTPRELAY.name not in beside:
        return ()
    ours = beside[RTPRELAY.name]
    rate = ours[_FULL].per_second
    p99 = percentile(ours[_PACED].latencies, 99) * 1e3
    return (
        Goal("commands per second, one core, beside standing calls", f">= {_GOAL:,.0f}", f"{rate:,.0f}", rate >= _GOAL),
        Goal(f"p99 of a reply at {_HALF:,.0f} commands/s", f"<= {_P99:.0f} ms", f"{p99:.2f} ms", p99 <= _P99),
    )


def _row(name: str, runs: Sequence[_Run]) -> tuple[str, ...]:
    latencies = [each for result, _ in runs for each in result.latencies]
    return (
        name,
        spread([result.per_second for result, _ in runs]),
        spread([result.replies / cpu for result, cpu in runs]),
        *delays(latencies),
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


def _failures(results: dict[str, dict[str, list[_Run]]]) -> tuple[str, ...]:
    found = []
    for load, by_name in results.items():
        for name, runs in by_name.items():
            where = f"{name}, {load}"
            for result, _ in runs:
                if result.unanswered:
                    found.append(f"{where}: {result.unanswered} commands had no reply within 2 s")
                found += [f"{where}: {count} refused: {text}" for text, count in result.refused.items()]
    return tuple(found)
