"""The traffic tool (tools/traffic.c) from Python: built on demand, one generator and one sink per topology."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from bench.topology import RECEIVER, SENDER, Topology

_SOURCES = Path(__file__).parent / "tools"
_BUILD = Path(__file__).parent.parent / "build" / "bench"
PAYLOAD = 160
"""20 ms of G.711."""
MEDIA = bytes(i * 7 & 0xFF for i in range(PAYLOAD))
"""What the generator's packets say."""
RTP_BYTES = 12 + PAYLOAD
MAX_RECORDED = 262144
"""Packets made beforehand for one window; each has the length of these with a tag of 80 bits."""
_UDP_HEADER = 8
_SAMPLE = struct.Struct("=II")
"""What struct bench_sample begins with."""


class MeasureError(Exception):
    """The apparatus failed: there is no figure."""


def build() -> None:
    """Compile both halves where a source is newer than its product."""
    _BUILD.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in _SOURCES.iterdir())
    arch = subprocess.run(("gcc", "-print-multiarch"), capture_output=True, text=True, check=True).stdout.strip()
    commands = {
        _BUILD / "traffic.bpf.o": (
            *("clang-16", "-O2", "-g", "-Wall", "-Werror", "-mcpu=v3", "-target", "bpf"),
            *(f"-I/usr/include/{arch}", "-c", str(_SOURCES / "traffic.bpf.c")),
        ),
        _BUILD / "traffic": (
            *("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare"),
            *(str(_SOURCES / "traffic.c"), "-lbpf"),
        ),
    }
    for product, command in commands.items():
        if not product.exists() or product.stat().st_mtime < newest:
            subprocess.run((*command, "-o", str(product)), check=True)


class Stream(msgspec.Struct, frozen=True):
    """One sender: from its port to the relay's port."""

    source_port: int
    relay_address: str
    relay_port: int


class Sent(msgspec.Struct, frozen=True):
    packets: int
    seconds: float
    cpu: float
    """Of the generator process: its own work and whatever ran in its context."""
    late: int
    """Due but not sent."""


class Counted(msgspec.Struct, frozen=True):
    packets: int
    bytes: int
    checked: int
    bad: int
    stray: int
    receivers: int
    least: int
    most: int
    """Packets of the receivers that got fewest and most."""


class Sample(msgspec.Struct, frozen=True):
    """A packet as it arrived."""

    port: int
    data: bytes


class _Tool:
    """A traffic process that answers one line per line."""

    def __init__(self, command: Sequence[str], lines: Sequence[str], place: str) -> None:
        """`lines` go into a file whose name replaces `place` in the command; the tool may write one, `@samples`, and
        read another, `@packets`."""
        self._directory = tempfile.TemporaryDirectory(prefix="rtprelay-bench-")
        table, self._kept, self._packets = (
            Path(self._directory.name) / name for name in ("lines", "samples", "packets")
        )
        table.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        names = {place: str(table), "@samples": str(self._kept), "@packets": str(self._packets)}
        self._process = subprocess.Popen(
            [names.get(word, word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        if self._read() != ["ready"]:
            raise MeasureError(f"{command[-1]} did not start")

    def _read(self) -> list[str]:
        return _pipe(self._process.stdout).readline().split()

    def ask(self, line: str) -> list[int]:
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        _pipe(self._process.stdin).write(line + "\n")

    def hear(self) -> list[int]:
        words = self._read()
        if not words:
            raise MeasureError("the traffic tool ended early")
        return [int(word) for word in words]

    def close(self) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Generator(_Tool):
    """Sends the streams in turn, so each has its share of the rate. `alone`: frames are made, then dropped at once.
    `recorded`: the payloads are made beforehand (`record`)."""

    def __init__(
        self, topology: Topology, streams: Sequence[Stream], *, core: int, alone: bool = False, recorded: bool = False
    ) -> None:
        lines = [
            f"{topology.sender_mac} {topology.relay_mac} {SENDER} {stream.relay_address} "
            f"{stream.source_port} {stream.relay_port} {0x10000 + index}"
            for index, stream in enumerate(streams)
        ]
        device = "drop" if alone else "out"
        super().__init__(
            topology.senders.command(
                *("taskset", "-c", str(core), str(_BUILD / "traffic"), str(_BUILD / "traffic.bpf.o")),
                *("replay" if recorded else "generate", device, topology.spare(), "@flows"),
                "@packets" if recorded else str(PAYLOAD),
            ),
            lines,
            "@flows",
        )

    def record(self, packets: Iterable[bytes]) -> None:
        """What the next window sends, in turn from the first stream to the last and again."""
        self._packets.write_bytes(b"".join(packets))

    def start(self, rate: float, seconds: float, batch: int) -> None:
        self.tell(f"{rate} {seconds} {batch}")

    def finish(self) -> Sent:
        packets, nanoseconds, cpu, late = self.hear()
        return Sent(packets, nanoseconds / 1e9, cpu / 1e9, late)


class Sink(_Tool):
    """Counts what arrives for the receivers' ports, in the form that costs least for this kind of relay. Of each
    `every` packets (a power of two; 0: never) one is kept; `length` is that of a packet whose checksum can be verified.
    """

    def __init__(
        self, topology: Topology, ports: Sequence[int], *, frames: bool, length: int = RTP_BYTES, every: int = 0
    ) -> None:
        if not frames:
            # Without GRO, veth hands a socket's packet over in the sender's own context, the shortest way there is.
            topology.receivers.run("ethtool", "-K", "in", "gro", "off")
        self._read_to = 0
        super().__init__(
            topology.receivers.command(
                *(str(_BUILD / "traffic"), str(_BUILD / "traffic.bpf.o"), "sink", "in"),
                *("xdp" if frames else "tc", RECEIVER, str(_UDP_HEADER + length), "@ports"),
                *(str(every), "@samples"),
            ),
            [str(port) for port in ports],
            "@ports",
        )

    def count(self) -> Counted:
        """Since the last time."""
        return Counted(*self.ask(""))

    def samples(self) -> list[Sample]:
        """What has been kept since the last time, as of the last count."""
        raw, found = self._kept.read_bytes(), []
        while self._read_to < len(raw):
            port, length = _SAMPLE.unpack_from(raw, self._read_to)
            start = self._read_to + _SAMPLE.size
            found.append(Sample(port, raw[start : start + length]))
            self._read_to = start + length
        return found


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise MeasureError("no pipe to the traffic tool")
    return pipe
