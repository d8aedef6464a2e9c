"""One window of traffic through a relay: what was sent, what arrived, what it cost."""

from __future__ import annotations

import time

import msgspec

from bench.machine import CpuTimes, cpu_times
from bench.topology import Topology
from bench.traffic import Counted, Generator, Sent, Sink


class Window(msgspec.Struct, frozen=True):
    sent: Sent
    counted: Counted
    cpu: CpuTimes
    to_sockets: int
    """UDP datagrams that came up to sockets in the relay's namespace: the kernel's word on which path was measured."""

    @property
    def delivered(self) -> float:
        """Share of what went in that came out, for one output per packet."""
        return self.counted.packets / self.sent.packets if self.sent.packets else 0.0

    @property
    def late(self) -> float:
        """Share of what was due that the generator could not send."""
        return self.sent.late / (self.sent.late + self.sent.packets)


def run_window(
    topology: Topology,
    generator: Generator,
    sink: Sink,
    pid: int | None,
    rate: float,
    seconds: float,
    batch: int = 64,
) -> Window:
    """Send at this rate for so long, let queues drain, read the clocks and the counters."""
    sink.count()
    datagrams = topology.relay.snmp()["InDatagrams"]
    pids = () if pid is None else (pid,)
    before = cpu_times(pids)
    generator.start(rate, seconds, batch)
    sent = generator.finish()
    # A queue in a socket empties within milliseconds; waiting costs no CPU on either clock.
    time.sleep(0.05)
    cpu = cpu_times(pids).since(before).with_generator(sent.cpu)
    return Window(sent, sink.count(), cpu, topology.relay.snmp()["InDatagrams"] - datagrams)


class Cost(msgspec.Struct, frozen=True):
    """Nanoseconds of CPU per packet that arrived, the generator's own taken off, by either clock."""

    machine: float
    charged: float


def cost(window: Window, alone: Window) -> Cost:
    """`alone` is the generator by itself at the same rate for as long."""
    packets = max(1, window.counted.packets)
    return Cost(
        (window.cpu.machine - alone.cpu.machine) / packets * 1e9,
        (window.cpu.charged - alone.cpu.charged) / packets * 1e9,
    )
