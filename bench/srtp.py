"""What SRTP costs a packet, by test-run: its code alone for every suite, and the whole programs."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.report import Goal, Section, Table
from bench.subjects import Subject
from bench.testrun import MisforwardedError, Ring
from rtprelay.kernel.libbpf import Object
from rtprelay.kernel.srtp_keys import SUITES_IN_KERNEL, srtp_key
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES

NAME = "srtp"
TITLE = "SRTP in eBPF, per packet"
_HOW = """The code alone: BPF_PROG_TEST_RUN of `ebpf/srtp_test.bpf.c`, medians of {rounds} rounds; an index of its own
for each packet. *protect* is RTP to SRTP; *both* goes there and back, so the difference is what unprotecting costs.
Before a round one packet is protected and must be what userspace's SRTP unprotects; after a round of *both* the packet
must be as it was. The whole programs, with finding the flow, replay windows, statistics and headers: two flows in a
circle as in the section above, from RTP to SRTP and back, so each figure is the mean of the two ways; after each round
the packet must have come through as it was. There is no rtpengine here: its SRTP cannot be called by itself."""
_OBJECT = Path(__file__).parent.parent / "ebpf" / "build" / "srtp_test.bpf.o"
_HEADERS = bytes(42)
_SIZES = (160, 1200)
_XDP_PASS = 2
_GOALS = {("AES_CM_128_HMAC_SHA1_80", 160): 1500, ("AEAD_AES_128_GCM", 160): 1600}
_WHOLE = (("xdp", 4), ("tc", 7))
"""Programs and their verdicts: redirect."""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    rounds, repeat = (3, 5_000) if quick else (7, 40_000)
    parts = _alone(rounds, repeat), _whole(rounds, repeat)
    return Section(
        TITLE,
        _HOW.format(rounds=rounds),
        tuple(table for table, _, _ in parts),
        tuple(goal for _, goals, _ in parts for goal in goals),
        tuple(failure for _, _, failures in parts for failure in failures),
    )


_Part = tuple[Table, list[Goal], list[str]]


def _keys(name: str) -> SrtpParameters:
    suite = SUITES[name]
    return SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length)))


def _goal(what: str, name: str, size: int, figure: float) -> list[Goal]:
    limit = _GOALS.get((name, size))
    if limit is None:
        return []
    return [Goal(f"{what}, {name}, {size} B", f"<= {limit} ns", f"{figure:.0f} ns", figure <= limit)]


def _whole(rounds: int, laps: int) -> _Part:
    rows, goals, failures = [], [], []
    for name, size in itertools.product(sorted({name for name, _ in _GOALS}), _SIZES):
        for program, verdict in _WHOLE:
            ring = Ring(2, v6=False, payload=size, keys=_keys(name))
            try:
                timing = ring.time(f"relay_{program}", verdict, laps, rounds)
            except MisforwardedError as error:
                failures.append(f"{name}, {size} bytes: {error}")
                continue
            finally:
                ring.close()
            least, most = min(timing.rounds), max(timing.rounds)
            rows.append((f"{program}: {name}", str(size), f"{timing.median:.0f}", str(least), str(most)))
            if program == "xdp":
                goals += _goal("relay, statistics and SRTP by XDP, mean of both ways", name, size, timing.median)
    header = ("program", "payload, bytes", "median", "min", "max")
    return Table("whole programs, ns per packet", header, tuple(rows)), goals, failures


def _alone(rounds: int, repeat: int) -> _Part:
    rows, failures, goals = [], [], []
    with Object(_OBJECT) as loaded:
        loaded.load()
        programs = {name: loaded.programs[f"srtp_test_{name}_again"] for name in ("protect", "both")}
        for name in sorted(SUITES_IN_KERNEL):
            parameters = _keys(name)
            loaded.maps["srtp_test_key"].update(bytes(4), srtp_key(parameters))
            for size in _SIZES:
                packet = b"\x80\0\0\1" + bytes(8) + os.urandom(size)
                room = bytes(len(SrtpContext(parameters).protect(packet)) - len(packet))
                frame = _HEADERS + packet + room
                durations: dict[str, list[int]] = {"protect": [], "both": []}
                for _ in range(rounds):
                    loaded.maps["srtp_test_result"].update(bytes(4), bytes(24))
                    once = programs["protect"].test_run(frame)
                    good = SrtpContext(parameters).unprotect(once.data[len(_HEADERS) :]) == packet
                    for kind, program in programs.items():
                        timed = program.test_run(frame, repeat)
                        good = good and timed.verdict == _XDP_PASS
                        durations[kind].append(timed.duration)
                    if not good or timed.data[: len(frame) - len(room)] != frame[: len(frame) - len(room)]:
                        failures.append(f"{name}, {size} bytes: a packet that is not the right one")
                        break
                protect, both = (statistics.median(durations[kind]) for kind in ("protect", "both"))
                rows.append((name, str(size), f"{protect:.0f}", f"{both:.0f}"))
                goals += _goal("RTP to SRTP", name, size, protect)
    return (
        Table("SRTP alone, ns per packet", ("suite", "payload, bytes", "protect", "both"), tuple(rows)),
        goals,
        failures,
    )
