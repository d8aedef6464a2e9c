"""Nanoseconds for each packet, by BPF_PROG_TEST_RUN: the program alone, without device, queue or stack.

The trap of this harness: it runs a program again and again over the same buffer, so a relay that rewrites addresses
would meet its own output from the second run on, and the figure would be that of a packet that is no flow's. Here the
outputs lead on: each flow sends to the port of another (all in a random order), in the name of its expected sender, and
the last one to the first, one number and 20 ms later. So every run is the next packet of a real flow, and afterwards
the counters of all flows and the packet itself tell whether that was so.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.report import Goal, Section, Table
from bench.subjects import Subject
from rtprelay.kernel import abi, libbpf
from rtprelay.kernel.flowmap import FlowMap
from rtprelay.kernel.libbpf import Map, Object, Program
from rtprelay.kernel.srtp_keys import srtp_key
from rtprelay.security.srtp import SrtpParameters
from rtprelay.values import Endpoint

NAME = "testrun"
TITLE = "Nanoseconds per packet"

_ROOT = Path(__file__).parents[1]
_OBJECTS = _ROOT / "rtprelay/kernel/objects"
_FLOOR = _ROOT / "ebpf/build/floor.bpf.o"
_LO = 1
"""Stands for the device: a test run stops before anything is sent."""
_SSRC = 0x5EED
_XDP_REDIRECT, _TC_REDIRECT = 4, 7
_MANY = 55_000
_KEY_OUT, _KEY_IN = 0, 1
"""Places of the same key, once to protect and once to unprotect."""
_HOW = """\
`BPF_PROG_TEST_RUN` over one 214-byte frame (G.711, 160 bytes of payload; 234 on IPv6), statistics on, all checksums
adapted; the median of {rounds} rounds, with minimum and maximum. "hot" is one flow; "random" is {many} flows in random
order, whose memory has to come from wherever it fits. After every round the counters of each flow and the last packet's
bytes were compared with what they have to be. What the figures do not show: device, bulk queue, the run of the egress
program, stack. `floor` is an empty program in the same harness.
"""


class Timing(msgspec.Struct, frozen=True):
    """Nanoseconds of the rounds."""

    rounds: tuple[int, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


class MisforwardedError(Exception):
    """The packets did not go where they should: there is nothing to be timed."""


class Ring:
    """Flows that send to each other in a circle. With a key there are two: one protects, the other unprotects again."""

    def __init__(self, flows: int, v6: bool, payload: int = 160, keys: SrtpParameters | None = None) -> None:
        self.flows = flows
        self._v6 = v6
        self._payload = bytes(i & 0xFF for i in range(payload))
        self._secured = keys is not None
        self._sequence = 1000
        self.maps: dict[str, Map] = {}
        self._objects: list[Object] = []
        self.programs: dict[str, Program] = {}
        for name in ("relay_xdp", "relay_tc"):
            loaded = Object(_OBJECTS / f"{name}.bpf.o")
            self._objects.append(loaded)
            for resized in ("flows", "rules", "state", "aside", "output", "wrap", "sent", "unsent"):
                loaded.resize(f"rtprelay_{resized}", flows + 1)
            loaded.share({known: shared for known, shared in self.maps.items() if "." not in known})
            loaded.load()
            self.maps = loaded.maps | self.maps
            self.programs |= loaded.programs
        order = random.Random(flows).sample(range(flows), flows)
        self._next = dict(zip(order, [*order[1:], order[0]], strict=True))
        self._start = order[0]
        entry = abi.GroupEntry(1, self.programs["relay_egress"].fd)
        self.maps["rtprelay_devices"].update((1).to_bytes(4, "little"), bytes(entry))
        self._fill()
        for place in (_KEY_OUT, _KEY_IN) if keys is not None else ():
            self.maps["rtprelay_srtp_keys"].update(place.to_bytes(4, "little"), srtp_key(keys))
        self._state = self.maps["rtprelay_state"].mmap()

    def _local(self, i: int) -> Endpoint:
        prefix = "2001:db8::10:" if self._v6 else "198.51.100."
        return Endpoint.parse(f"{prefix}{i // 50000}", 10000 + i % 50000)

    def _sender(self, i: int) -> Endpoint:
        prefix = "2001:db8:1::" if self._v6 else f"10.{i >> 16 & 255}."
        return Endpoint.parse(f"{prefix}{i:x}" if self._v6 else f"{prefix}{i >> 8 & 255}.{i & 255}", 4000 + i % 1000)

    def _fill(self) -> None:
        outputs, wraps = {}, {}
        found = FlowMap(self.maps, lambda deed: deed())
        for i in range(self.flows):
            protects, unprotects = self._secured and i == self._start, self._secured and i != self._start
            rules = abi.Rules(rtcp_output=abi.NONE, srtp_in=_KEY_IN if unprotects else abi.NONE)
            following = self._next[i]
            last = following == self._start
            outputs[i.to_bytes(4, "little")] = bytes(
                abi.Output(
                    source=abi.address_bytes(self._sender(following)),
                    destination=abi.address_bytes(self._local(following)),
                    source_port=self._sender(following).port,
                    destination_port=self._local(following).port,
                    ifindex=_LO,
                    flags=abi.OutputFlag.PRESENT
                    | abi.OutputFlag.READY
                    | abi.OutputFlag.SSRC
                    | (abi.OutputFlag.IP6 if self._v6 else 0)
                    | (abi.OutputFlag.SRTP if protects else 0),
                    ssrc=_SSRC,
                    sequence_offset=int(last),
                    timestamp_offset=160 * last,
                )
            )
            wraps[i.to_bytes(4, "little")] = bytes(abi.Wrap(srtp_out=_KEY_OUT if protects else abi.NONE))
            flow = abi.Flow(
                local=abi.address_bytes(self._local(i)),
                local_port=self._local(i).port,
                expected=abi.address_bytes(self._sender(i)),
                expected_port=self._sender(i).port,
                slot=i,
                generation=1,
                output_base=i,
                output_count=1,
                flags=abi.FlowFlag.XDP
                | abi.FlowFlag.LOCK
                | (abi.FlowFlag.SRTP_OUT if protects else 0)
                | (abi.FlowFlag.SRTP if unprotects else 0),
                mtu=1500,
                usual_type=0,
                usual_clock=abi.tick(8000),
            )
            found.put(self._local(i), bytes(flow), bytes(rules))
        found.close()
        entry = abi.GroupEntry(_LO, self.programs["relay_egress"].fd)
        self.maps["rtprelay_devices"].update(_LO.to_bytes(4, "little"), bytes(entry))
        self.maps["rtprelay_wrap"].update_batch(wraps)
        self.maps["rtprelay_output"].update_batch(outputs)

    def frame(self, at: int, sequence: int) -> bytes:
        """The packet as flow `at` is to receive it."""
        rtp = b"\x80\0" + (sequence & 0xFFFF).to_bytes(2, "big")
        rtp += (160 * sequence & 0xFFFFFFFF).to_bytes(4, "big") + _SSRC.to_bytes(4, "big") + self._payload
        source, destination = self._sender(at), self._local(at)
        addresses = b"".join(e.packed if self._v6 else e.packed[12:] for e in (source, destination))
        udp = source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big") + (8 + len(rtp)).to_bytes(2, "big")
        pseudo = addresses + b"\0\x11" + udp[4:6]
        udp += (_checksum(pseudo + udp + rtp) or 0xFFFF).to_bytes(2, "big")
        if self._v6:
            header = b"\x60\0\0\0" + (len(udp) + len(rtp)).to_bytes(2, "big") + b"\x11\x40" + addresses
            return bytes(12) + b"\x86\xdd" + header + udp + rtp
        header = b"\x45\0" + (20 + len(udp) + len(rtp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11"
        header += _checksum(header + addresses).to_bytes(2, "big") + addresses
        return bytes(12) + b"\x08\0" + header + udp + rtp

    def time(self, program: str, verdict: int, laps: int, rounds: int) -> Timing:
        """`laps` times through all flows for each round. Raises MisforwardedError."""
        repeat = laps * self.flows
        durations = []
        for _ in range(rounds):
            before = self._packets()
            run = self.programs[program].test_run(self.frame(self._start, self._sequence), repeat)
            # One whole number of laps: the packet is back where it started, so many numbers later.
            self._sequence += laps
            if run.verdict != verdict or run.data != self.frame(self._start, self._sequence):
                raise MisforwardedError(f"{program}: verdict {run.verdict}, or a packet that is not the right one")
            if any(now - then != laps for now, then in zip(self._packets(), before, strict=True)):
                raise MisforwardedError(f"{program}: not every flow received {laps} packets")
            durations.append(run.duration)
        return Timing(tuple(durations))

    def _packets(self) -> list[int]:
        step = libbpf.stride(ctypes.sizeof(abi.State)) // 8
        words = (ctypes.c_uint64 * (step * self.flows)).from_buffer_copy(self._state)
        return words[::step]

    def close(self) -> None:
        self._state.close()
        for loaded in self._objects:
            loaded.close()


def _checksum(data: bytes) -> int:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    """There is nothing of rtpengine's to run this way."""
    rounds = 3 if quick else 11
    timings: dict[str, Timing] = {}
    failures: list[str] = []
    with Object(_FLOOR) as empty:
        empty.load()
        # tc wants something that looks like a packet.
        packet = bytes(12) + b"\x08\0\x45" + bytes(199)
        for name, floor in empty.programs.items():
            durations = [floor.test_run(packet, 1_000_000).duration for _ in range(rounds)]
            timings[f"{name.removeprefix('floor_')}: floor"] = Timing(tuple(durations))
    for family, flows in itertools.product(("IPv4", "IPv6"), (1, _MANY)):
        laps = (300_000, 2_000_000)[not quick] if flows == 1 else (4, 20)[not quick]
        ring = Ring(flows, family == "IPv6")
        try:
            for program, verdict in (("xdp", _XDP_REDIRECT), ("tc", _TC_REDIRECT)):
                label = f"{program}: {family}, {'hot' if flows == 1 else 'random'}"
                timings[label] = ring.time(f"relay_{program}", verdict, laps, rounds)
        except MisforwardedError as error:
            failures.append(str(error))
        finally:
            ring.close()
    rows = [
        (label, f"{timing.median:.0f}", str(min(timing.rounds)), str(max(timing.rounds)))
        for label, timing in sorted(timings.items())
    ]
    return Section(
        TITLE,
        _HOW.format(rounds=rounds, many=f"{_MANY:,}"),
        (Table("ns per packet", ("program", "median", "min", "max"), tuple(rows)),),
        tuple(_goals(timings)),
        tuple(failures),
    )


def _goals(timings: dict[str, Timing]) -> list[Goal]:
    goals = []
    for load, limit in (("hot", 100), ("random", 200)):
        timing = timings.get(f"xdp: IPv4, {load}")
        if timing is not None:
            what = f"relay + statistics by XDP, IPv4, {load}"
            goals.append(Goal(what, f"<= {limit} ns", f"{timing.median:.0f} ns", timing.median <= limit))
    return goals
