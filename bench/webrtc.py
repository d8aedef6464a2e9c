"""(f) WebRTC legs set up per second of one core, and the time from a browser's offer to its first decrypted packet."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from bench.machine import in_turn, process_cpu
from bench.report import Goal, Section, Table, delays, spread
from bench.subjects import RTPENGINE, RTPRELAY, Daemon, Subject
from bench.topology import Topology
from bench.webrtc_client import Browsers

NAME, TITLE = "webrtc", "WebRTC legs"
_DAEMON_CORE, _CLIENT_CORE = 0, 1
_AT_ONCE = (1, 16)


class Run(msgspec.Struct, frozen=True):
    seconds: float
    delays: tuple[float, ...]
    """Seconds from offer to first decrypted packet, one for each leg."""
    failed: dict[str, int]
    daemon_cpu: float
    client_cpu: float
    """Share of one core."""

    @property
    def per_second(self) -> float:
        return len(self.delays) / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return len(self.delays) / self.daemon_cpu if self.daemon_cpu else 0.0


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CLIENT_CORE})
    try:
        results = {legs: _alternate(subjects, legs, seconds, rounds) for legs in _AT_ONCE}
    finally:
        os.sched_setaffinity(0, cores)
    tables = tuple(
        Table(
            f"{legs} at once, {rounds} rounds of {seconds:.0f} s",
            ("", "legs/s", "per CPU second", "p50 ms", "p99 ms", "failed", "client CPU"),
            tuple(_row(name, runs) for name, runs in by_name.items()),
        )
        for legs, by_name in results.items()
    )
    return Section(TITLE, _HOW, tables, _goals(results[_AT_ONCE[-1]]), _failures(results))


_HOW = f"""
A browser offers audio with ICE and DTLS-SRTP, a phone answers with plain RTP; the browser finds its path, shakes hands,
and the call is deleted when it has decrypted the first packet the phone sent. The delay is from sending the offer to
having decrypted that packet: ng, ICE, DTLS and the forwarding path are in it. The daemon and all its threads on core
{_DAEMON_CORE}, the client on core {_CLIENT_CORE}: the same client for both, this product's own ICE agent and OpenSSL by
pyOpenSSL, ECDSA on prime256v1. Legs per second of the daemon's own CPU time are its price; legs per second are what
client and daemon do together, since a handshake costs both the same.
"""


def _alternate(subjects: Sequence[Subject], legs: int, seconds: float, rounds: int) -> dict[str, list[Run]]:
    """A/B, B/A ...: both daemons are up, one works at a time."""
    found: dict[str, list[Run]] = {subject.name: [] for subject in subjects}
    with ExitStack() as stack:
        pairs = []
        for subject in subjects:
            topology = stack.enter_context(Topology())
            daemon = stack.enter_context(Daemon(subject, topology, core=_DAEMON_CORE))
            browsers = stack.enter_context(Browsers(topology, daemon.client, legs))
            browsers.run(0.3)
            pairs.append((daemon, browsers))
        for turn in range(rounds):
            for daemon, browsers in in_turn(pairs, turn):
                found[daemon.subject.name].append(_measure(daemon, browsers, seconds))
    return found


def _measure(daemon: Daemon, browsers: Browsers, seconds: float) -> Run:
    began, ours, theirs = time.monotonic(), time.process_time(), process_cpu(daemon.pid)
    waited, failed = browsers.run(seconds)
    took = time.monotonic() - began
    used = (time.process_time() - ours) / took
    return Run(took, tuple(waited), dict(failed), process_cpu(daemon.pid) - theirs, used)


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    return (
        name,
        spread([each.per_second for each in runs]),
        spread([each.per_cpu_second for each in runs]),
        *delays([delay for each in runs for delay in each.delays]),
        str(sum(sum(each.failed.values()) for each in runs)),
        f"{100 * statistics.median(each.client_cpu for each in runs):.0f} %",
    )


def _goals(runs: dict[str, list[Run]]) -> tuple[Goal, ...]:
    prices = {name: statistics.median(each.per_cpu_second for each in found) for name, found in runs.items()}
    if RTPRELAY.name not in prices or RTPENGINE.name not in prices:
        return ()
    ours, theirs = prices[RTPRELAY.name], prices[RTPENGINE.name]
    measured = f"{ours:,.0f} (rtpengine {theirs:,.0f}: {ours / max(theirs, 1e-9):.2f}x)"
    return (Goal("DTLS legs per CPU second", "no less than half of rtpengine's", measured, ours >= theirs / 2),)


def _failures(results: dict[int, dict[str, list[Run]]]) -> tuple[str, ...]:
    found = []
    for legs, by_name in results.items():
        for name, runs in by_name.items():
            failed: Counter[str] = Counter()
            for each in runs:
                failed.update(each.failed)
            found += [f"{name}, {legs} at once: {count} legs failed: {why}" for why, count in failed.items()]
    return tuple(found)
