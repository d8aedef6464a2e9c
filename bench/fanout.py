"""(c) One publisher, n subscribers: what each further copy costs, and whether all of them arrive."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from bench.ng import NgClient, media_port, sdp
from bench.report import Goal, Section, Table, percent, spread
from bench.subjects import RTPRELAY, Daemon, Subject
from bench.topology import RECEIVER, RELAY_A, SENDER, Topology
from bench.traffic import Generator, Sink, Stream
from bench.window import Window, run_window

NAME, TITLE = "fanout", "Fan-out"
_RING = 256
"""Slots of a veth's ring: more copies than this in one breath cannot arrive, however good the relay is."""
_COPIES_PER_SECOND = {True: 400_000, False: 40_000}
"""Offered load: what each kind of relay (frames, sockets) carries here without loss, with room to spare."""
_DELIVERY = 0.999
_LATE = 0.03
"""Share the generator may leave out for the machine's other users: the price per copy stands."""
_GOAL_NS = 350.0
_GOAL_RANGE = range(2, 33)
_FIRST_PORT = 10000


class _Room(msgspec.Struct, frozen=True):
    stream: Stream
    ports: tuple[int, ...]


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    sizes = (2, 16) if quick else (2, 8, 16, 32, 64, 256)
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    tables, goals, failures = [], [], []
    for subject in subjects:
        rows = []
        for n in sizes:
            machine, charged, windows = _further_copy(subject, n, seconds, rounds)
            sent = sum(window.sent.packets for window in windows) * n
            arrived = sum(window.counted.packets for window in windows)
            served = min(window.counted.receivers for window in windows)
            rate = windows[0].sent.packets / seconds
            rows.append((str(n), f"{rate:,.0f}", percent(arrived, sent), f"{served}", spread(machine), spread(charged)))
            fault = _fault(windows, n)
            if fault:
                failures.append(f"{subject.name}, {n} subscribers: {fault}")
            elif subject == RTPRELAY and n in _GOAL_RANGE:
                figure = statistics.median(charged)
                goals.append(
                    Goal(
                        f"each further copy at n = {n}", f"<= {_GOAL_NS:.0f} ns", f"{figure:.0f} ns", figure <= _GOAL_NS
                    )
                )
            if subject == RTPRELAY and n == max(sizes):
                goals.append(
                    Goal(f"outputs of one stream served at n = {n}", f"all {n}", f"{served} of {n}", served == n)
                )
        tables.append(
            Table(
                f"{subject.name}, {rounds} rounds of {seconds:.0f} s",
                ("n", "packets/s in", "delivered", "served", "ns per further copy, machine", "..., charged"),
                tuple(rows),
            )
        )
    return Section(TITLE, _HOW, tuple(tables), tuple(goals), tuple(failures))


_HOW = f"""
One publisher and n subscribers beside a publisher with one; windows alternate between the two streams at the same
rate in the same bursts. A further copy costs (CPU with n - CPU with 1) / (packets x (n - 1)): the generator and the
ingress work cancel out, the crossing to the receiver and the counting stay in. Bursts are paced so that the copies of
one fit the {_RING} slots of a veth ring; delivered % is beside each figure. Goals are held against the charged clock.
"""


def _further_copy(
    subject: Subject, n: int, seconds: float, rounds: int
) -> tuple[list[float], list[float], list[Window]]:
    """Nanoseconds per further copy by both clocks, and the windows with n subscribers."""
    with ExitStack() as stack:
        topology = stack.enter_context(Topology())
        daemon = stack.enter_context(Daemon(subject, topology))
        rooms = (_room(daemon.client, "one", _FIRST_PORT, 1), _room(daemon.client, "many", _FIRST_PORT + 10, n))
        ports = [port for room in rooms for port in room.ports]
        sink = stack.enter_context(Sink(topology, ports, frames=subject.frames))
        one, many = (stack.enter_context(Generator(topology, (room.stream,), core=0)) for room in rooms)
        rate, batch = _COPIES_PER_SECOND[subject.frames] / n, max(1, min(64, _RING * 3 // 4 // n))
        for generator in (one, many):
            generator.start(100, 1.0, 1)
            generator.finish()
        machine, charged, windows = [], [], []
        for _ in range(rounds):
            single = run_window(topology, one, sink, daemon.pid, rate, seconds, batch)
            window = run_window(topology, many, sink, daemon.pid, rate, seconds, batch)
            copies = max(1, window.counted.packets - single.counted.packets)
            machine.append((window.cpu.machine - single.cpu.machine) / copies * 1e9)
            charged.append((window.cpu.charged - single.cpu.charged) / copies * 1e9)
            windows.append(window)
        return machine, charged, windows


def _room(client: NgClient, name: str, first_port: int, subscribers: int) -> _Room:
    call_id, tag = f"room-{name}@example", "publisher"
    reply = client.request(
        {
            "call-id": call_id,
            "from-tag": tag,
            "interface": "a",
            "sdp": sdp(SENDER, first_port, "sendonly"),
            "command": "publish",
        }
    )
    ports = tuple(first_port + 2 * i for i in range(1, subscribers + 1))
    for port in ports:
        request = {"call-id": call_id, "from-tag": tag, "interface": "b", "command": "subscribe request"}
        to_tag = client.request(request)["to-tag"]
        client.request(
            {
                "call-id": call_id,
                "from-tag": tag,
                "to-tag": to_tag,
                "sdp": sdp(RECEIVER, port, "recvonly"),
                "command": "subscribe answer",
            }
        )
    return _Room(Stream(first_port, RELAY_A, media_port(reply)), ports)


def _fault(windows: Sequence[Window], n: int) -> str | None:
    """Why these windows say nothing about the relay."""
    for window in windows:
        due = window.sent.packets * n
        if window.late > _LATE:
            return f"the generator left out {percent(window.sent.late, window.sent.packets)}"
        if window.counted.packets < due * _DELIVERY:
            return f"delivered {percent(window.counted.packets, due)} to {window.counted.receivers} of {n}"
        if window.counted.bad:
            return f"{window.counted.bad} of {window.counted.checked} packets looked at had a wrong checksum"
        if window.counted.receivers != n:
            return f"{window.counted.receivers} of {n} receivers got something"
    return None
