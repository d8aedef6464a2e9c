"""(c) One publisher, n subscribers: what each further copy costs, and whether all of them arrive."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import msgspec

from bench.keys import EVERY, TRAILER, WANTED, Ears, choose
from bench.machine import CpuTimes, in_turn
from bench.ng import NgClient, media_port, sdp
from bench.report import Goal, Section, Table, percent, spread
from bench.subjects import RTPRELAY, Daemon, Subject
from bench.topology import RECEIVER, RELAY_A, SENDER, Topology
from bench.traffic import RTP_BYTES, Generator, Sink, Stream
from bench.window import Window, run_window
from tools.bencode import Value

NAME, TITLE = "fanout", "Fan-out"
_RING = 256
"""Slots of a veth's ring: more copies than this in one breath cannot arrive, however good the relay is."""
_COPIES_PER_SECOND = {True: 400_000, False: 40_000}
"""Offered load: what each kind of relay (frames, sockets) carries here without loss, with room to spare."""
_SECURED_COPIES_PER_SECOND = {True: 100_000, False: 20_000}
_STREAM_RATE = 500
"""Packets per second of one publisher, as of a video; there are as many rooms as the load needs. rtpengine stops
listening to a stream that fills its socket's queue (seen at 20,000 packets/s): that is no use anybody makes of it."""
_DELIVERY = 0.999
_LATE = 0.03
"""Share the generator may leave out for the machine's other users: the price per copy stands."""
_GOAL_NS = 350.0
_MOST = 256
_GOAL_RANGE = range(2, 33)
_FIRST_PORT = 10000
COLUMNS = ("n", "rooms", "packets/s in", "delivered", "served", "ns per further copy, machine", "..., charged")


class _Room(msgspec.Struct, frozen=True):
    stream: Stream
    ports: tuple[int, ...]
    keys: dict[int, bytes]
    """By these ports, where they get SRTP."""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    sizes = (2, 16) if quick else (2, 8, 16, 32, 64, _MOST)
    # Many and short: what else the machine does comes and goes by the second, and should meet both of a pair.
    seconds, rounds = (1.0, 1) if quick else (1.4, 15)
    tables, goals, failures = [], [], []
    for subject in subjects:
        rows = []
        for n in sizes:
            seen = measure(subject, n, seconds, rounds)
            rows.append(row(seen))
            fault = fault_of(seen)
            if fault:
                failures.append(f"{subject.name}, {n} subscribers: {fault}")
            elif subject == RTPRELAY:
                goals += _goals(seen)
        tables.append(
            Table(
                f"{subject.name}, {rounds} rounds of {seconds:g} s",
                COLUMNS,
                tuple(rows),
            )
        )
    return Section(TITLE, _HOW, tuple(tables), tuple(goals), tuple(failures))


_HOW = f"""
Rooms of one publisher and n subscribers beside as many with one subscriber; windows alternate between the two kinds
at the same rate in the same bursts, {_STREAM_RATE} packets/s from each publisher. A further copy costs (CPU with n
- CPU with 1) / (packets x (n - 1)): the generator and the ingress work cancel out, the crossing to the receiver and
the counting stay in. Bursts are paced so that the copies of one fit the {_RING} slots of a veth ring; delivered %
is beside each figure. Goals are held against the charged clock.
"""


class Seen(msgspec.Struct, frozen=True):
    """Windows with n subscribers and with one, in pairs."""

    n: int
    rooms: int
    ears: Ears
    many: tuple[Window, ...]
    one: tuple[Window, ...]

    @property
    def served(self) -> int:
        """Subscribers that got something, in every window."""
        return min(window.counted.receivers for window in self.many)

    def further_copy(self, clock: Callable[[CpuTimes], float]) -> list[float]:
        """Nanoseconds, by pair."""
        found = []
        for many, one in zip(self.many, self.one, strict=True):
            # Where the generator left something out, the two did not carry the same.
            ingress = clock(one.cpu) / max(1, one.sent.packets) * many.sent.packets
            copies = max(1, many.counted.packets - many.sent.packets)
            found.append((clock(many.cpu) - ingress) / copies * 1e9)
        return found


def _machine(cpu: CpuTimes) -> float:
    return cpu.machine


def _charged(cpu: CpuTimes) -> float:
    return cpu.charged


def row(seen: Seen) -> tuple[str, ...]:
    sent = sum(window.sent.packets for window in seen.many)
    arrived = sum(window.counted.packets for window in seen.many)
    return (
        str(seen.n),
        str(seen.rooms),
        f"{sent / sum(window.sent.seconds for window in seen.many):,.0f}",
        percent(arrived, sent * seen.n),
        f"{seen.served} of {seen.rooms * seen.n}",
        spread(seen.further_copy(_machine)),
        spread(seen.further_copy(_charged)),
    )


def _goals(seen: Seen) -> list[Goal]:
    goals = []
    if seen.n in _GOAL_RANGE:
        figure = statistics.median(seen.further_copy(_charged))
        goals.append(
            Goal(f"each further copy at n = {seen.n}", f"<= {_GOAL_NS:.0f} ns", f"{figure:.0f} ns", figure <= _GOAL_NS)
        )
    if seen.n == _MOST:
        due, served = seen.rooms * seen.n, seen.served
        goals.append(Goal(f"outputs served at n = {seen.n}", f"all {due}", f"{served} of {due}", served == due))
    return goals


def measure(subject: Subject, n: int, seconds: float, rounds: int, secured: bool = False) -> Seen:
    """`secured`: a key for each subscriber."""
    with ExitStack() as stack:
        topology = stack.enter_context(Topology())
        daemon = stack.enter_context(Daemon(subject, topology))
        offered = (_SECURED_COPIES_PER_SECOND if secured else _COPIES_PER_SECOND)[subject.frames]
        rate, batch = offered / n, max(1, min(64, _RING * 3 // 4 // n))
        publishers = max(1, round(rate / _STREAM_RATE))
        free = itertools.count(_FIRST_PORT, 2)
        singles = [_room(daemon.client, f"single-{i}", free, 1, secured) for i in range(publishers)]
        rooms = [_room(daemon.client, f"room-{i}", free, n, secured) for i in range(publishers)]
        ports = [port for room in (*singles, *rooms) for port in room.ports]
        ears = Ears({port: key for room in (*singles, *rooms) for port, key in room.keys.items()})
        length, every = (RTP_BYTES + TRAILER, EVERY) if secured else (RTP_BYTES, 0)
        sink = stack.enter_context(Sink(topology, ports, frames=subject.frames, length=length, every=every))
        one, many = (
            stack.enter_context(Generator(topology, [room.stream for room in side], core=0))
            for side in (singles, rooms)
        )
        for generator in (one, many):
            generator.start(5 * publishers, 1.0, 1)
            generator.finish()
        seen_one: list[Window] = []
        seen_many: list[Window] = []
        for turn in range(rounds):
            for generator, windows in in_turn(((one, seen_one), (many, seen_many)), turn):
                windows.append(run_window(topology, generator, sink, daemon.pid, rate, seconds, batch))
            ears.listen(sink.samples())
        return Seen(n, publishers, ears, tuple(seen_many), tuple(seen_one))


def _room(client: NgClient, name: str, ports: Iterator[int], subscribers: int, secured: bool) -> _Room:
    call_id, tag, source = f"{name}@example", "publisher", next(ports)
    reply = client.request(
        {
            "call-id": call_id,
            "from-tag": tag,
            "interface": "a",
            "sdp": sdp(SENDER, source, "sendonly"),
            "command": "publish",
        }
    )
    receivers, keys = tuple(itertools.islice(ports, subscribers)), {}
    for port in receivers:
        request: dict[str, Value] = {"call-id": call_id, "from-tag": tag, "interface": "b"}
        offered = client.request(request | (WANTED if secured else {}) | {"command": "subscribe request"})
        crypto = ""
        if secured:
            crypto, keys[port] = choose(offered)
        client.request(
            {
                "call-id": call_id,
                "from-tag": tag,
                "to-tag": offered["to-tag"],
                "sdp": sdp(RECEIVER, port, "recvonly", crypto),
                "command": "subscribe answer",
            }
        )
    return _Room(Stream(source, RELAY_A, media_port(reply)), receivers, keys)


def fault_of(seen: Seen) -> str | None:
    """Why these windows say nothing about the relay."""
    for window in seen.many:
        due = window.sent.packets * seen.n
        if window.late > _LATE:
            return f"the generator left out {percent(window.late, 1)}"
        if window.counted.packets < due * _DELIVERY:
            return f"delivered {percent(window.counted.packets, due)} to {window.counted.receivers}"
        if window.counted.bad:
            return f"{window.counted.bad} of {window.counted.checked} packets looked at had a wrong checksum"
    if seen.served != seen.rooms * seen.n:
        return f"{seen.served} of {seen.rooms * seen.n} subscribers got something"
    return None
