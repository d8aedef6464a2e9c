"""Calls set up for the benchmarks: offer and answer as a proxy would send them, with both parties' addresses known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import msgspec

from bench.keys import EVERY, TRAILER, WANTED, Ears, choose
from bench.ng import NgClient, answer, media_port, offer
from bench.subjects import Daemon, Subject
from bench.topology import RECEIVER, RELAY_A, SENDER, Topology
from bench.traffic import RTP_BYTES, Generator, Sink, Stream
from bench.window import Window, run_window

_FIRST_PORT = 10000


class Calls(msgspec.Struct, frozen=True):
    streams: tuple[Stream, ...]
    """Callers' media, one way: a call costs the same in the other."""
    ports: tuple[int, ...]
    """Where the callees listen."""
    keys: dict[int, bytes]
    """By these ports, where they get SRTP."""


def set_up(client: NgClient, count: int, first: int = 0, secured: bool = False) -> Calls:
    """`secured`: SRTP towards the callees."""
    streams, ports, keys = [], [], {}
    for i in range(first, first + count):
        port, call_id, crypto = _FIRST_PORT + 2 * i, f"bench-{i:05d}@example", ""
        offered = client.request(offer(call_id, SENDER, port, WANTED if secured else {}))
        if secured:
            crypto, keys[port] = choose(offered)
        reply = client.request(answer(call_id, RECEIVER, port, crypto))
        streams.append(Stream(port, RELAY_A, media_port(reply)))
        ports.append(port)
    return Calls(tuple(streams), tuple(ports), keys)


class Bench:
    """A relay with calls running through it, a generator on core 0 and a sink. Use as a context manager. `secured`:
    what leaves is SRTP, and some of it is decrypted."""

    def __init__(self, subject: Subject, calls: int, secured: bool = False) -> None:
        with ExitStack() as stack:
            self.topology = topology = stack.enter_context(Topology())
            self.daemon = stack.enter_context(Daemon(subject, topology))
            made = set_up(self.daemon.client, calls, secured=secured)
            self.ears = Ears(made.keys)
            length, every = (RTP_BYTES + TRAILER, EVERY) if secured else (RTP_BYTES, 0)
            self.sink = stack.enter_context(
                Sink(topology, made.ports, frames=subject.frames, length=length, every=every)
            )
            self.generator = stack.enter_context(Generator(topology, made.streams, core=0))
            self.alone = stack.enter_context(Generator(topology, made.streams, core=0, alone=True))
            self._stack = stack.pop_all()
        self.subject = subject
        self.warm_up(made.streams)

    def warm_up(self, streams: Sequence[Stream]) -> None:
        """Neighbours are resolved, sources learned and confirmed, before anything is counted."""
        self.generator.start(20 * len(streams), 1.0, 16)
        self.generator.finish()

    def window(self, rate: float, seconds: float) -> Window:
        window = run_window(self.topology, self.generator, self.sink, self.daemon.pid, rate, seconds)
        self.ears.listen(self.sink.samples())
        return window

    def window_alone(self, rate: float, seconds: float) -> Window:
        """The generator by itself, for as long and as fast."""
        return run_window(self.topology, self.alone, self.sink, None, rate, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
