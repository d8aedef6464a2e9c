"""What SRTP adds to a packet, by test-run of the code that relay_xdp uses, without the rest of it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.report import Goal, Section, Table
from bench.subjects import Subject
from rtprelay.kernel.libbpf import Object
from rtprelay.kernel.srtp_keys import SUITES_IN_KERNEL, srtp_key
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES

NAME = "srtp"
TITLE = "SRTP in eBPF, per packet"
_HOW = """BPF_PROG_TEST_RUN of `ebpf/srtp_test.bpf.c`, medians of {rounds} rounds; an index of its own for each packet.
*protect* is RTP to SRTP; *both* goes there and back, so the difference is what unprotecting costs. Before a round one
packet is protected and must be what userspace's SRTP unprotects; after a round of *both* the packet must be as it was.
Finding the flow, statistics and sending come on top: see the section above. There is no rtpengine here: its SRTP
cannot be called by itself."""
_OBJECT = Path(__file__).parent.parent / "ebpf" / "build" / "srtp_test.bpf.o"
_HEADERS = bytes(42)
_SIZES = (160, 1200)
_XDP_PASS = 2
_GOALS = {("AES_CM_128_HMAC_SHA1_80", 160): 1500, ("AEAD_AES_128_GCM", 160): 1600}


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    rounds, repeat = (3, 5_000) if quick else (7, 40_000)
    rows, failures, goals = [], [], []
    with Object(_OBJECT) as loaded:
        loaded.load()
        programs = {name: loaded.programs[f"srtp_test_{name}_again"] for name in ("protect", "both")}
        for name in sorted(SUITES_IN_KERNEL):
            suite = SUITES[name]
            parameters = SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length)))
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
                if (limit := _GOALS.get((name, size))) is not None:
                    goals.append(
                        Goal(f"RTP to SRTP, {name}, {size} B", f"<= {limit} ns", f"{protect:.0f} ns", protect <= limit)
                    )
    return Section(
        TITLE,
        _HOW.format(rounds=rounds),
        (Table("ns per packet", ("suite", "payload, bytes", "protect", "both"), tuple(rows)),),
        tuple(goals),
        tuple(failures),
    )
