"""The benchmarks measure what they say: frames are counted to the last one, and what was not delivered is no figure.

senders 10.90.1.2 ---- veth ---- 10.90.1.1  relay  10.90.2.1 ---- veth ---- 10.90.2.2 receivers
generator (live XDP frames)      the kernel's own IP forwarding                        counting sink
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import document, traffic
from bench.keys import TRAILER
from bench.report import Section, Table, markdown
from bench.topology import RECEIVER, Topology
from bench.traffic import MEDIA, RTP_BYTES, Generator, Sink, Stream
from bench.window import cost, run_window
from tools.bencode import Value, decode, encode

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")
needs_compilers = pytest.mark.skipif(
    not (shutil.which("clang-16") and shutil.which("gcc")), reason="the traffic tool is compiled by clang-16 and gcc"
)
needs_rtpengine = pytest.mark.skipif(not shutil.which("rtpengine"), reason="Debian's rtpengine-daemon is not installed")
PORTS = (6000, 6002, 6004)


@pytest.fixture
def routed() -> Iterator[Topology]:
    """The topology with no relay in it: the kernel routes, and what is sent must arrive."""
    traffic.build()
    with Topology() as topology:
        topology.relay.sysctl("net.ipv4.ip_forward", "1")
        topology.receivers.ip("route", "add", "default", "via", "10.90.2.1")
        topology.relay.run("ping", "-c", "1", "-W", "2", RECEIVER)
        yield topology


def streams() -> list[Stream]:
    return [Stream(5000 + port, RECEIVER, port) for port in PORTS]


@needs_root
@needs_compilers
@pytest.mark.netns
@pytest.mark.parametrize("frames", [True, False])
def test_every_frame_sent_is_counted_once_at_its_receiver(routed: Topology, frames: bool) -> None:
    with Sink(routed, PORTS, frames=frames) as sink, Generator(routed, streams(), core=0) as generator:
        window = run_window(routed, generator, sink, None, 3000, 0.5, batch=8)
    assert window.sent.packets + window.sent.late == 1500
    assert window.counted.packets == window.sent.packets
    assert window.counted.receivers == len(PORTS)
    assert window.counted.most - window.counted.least <= 1
    assert window.counted.stray == 0


@needs_root
@needs_compilers
@pytest.mark.netns
def test_the_sink_looks_at_the_checksums_of_some_packets(routed: Topology) -> None:
    with Sink(routed, PORTS, frames=True) as sink, Generator(routed, streams(), core=0) as generator:
        window = run_window(routed, generator, sink, None, 3000, 0.5, batch=8)
    assert window.counted.checked > 10
    assert window.counted.bad == 0


@needs_root
@needs_compilers
@pytest.mark.netns
@pytest.mark.parametrize("frames", [True, False])
def test_of_so_many_packets_one_is_kept_as_it_arrived(routed: Topology, frames: bool) -> None:
    with (
        Sink(routed, PORTS, frames=frames, every=64) as sink,
        Generator(routed, streams(), core=0) as generator,
    ):
        window = run_window(routed, generator, sink, None, 3000, 0.5, batch=8)
        kept = sink.samples()
        assert sink.samples() == []
    # Each CPU counts for itself.
    assert 0 <= window.counted.packets // 64 - len(kept) <= (os.cpu_count() or 1)
    assert kept
    for sample in kept:
        assert sample.port in PORTS
        assert sample.data[12:] == MEDIA


@needs_root
@needs_compilers
@pytest.mark.netns
def test_packets_made_beforehand_leave_as_they_are_each_by_its_stream(routed: Topology) -> None:
    length = RTP_BYTES + TRAILER
    with (
        Sink(routed, PORTS, frames=True, length=length, every=64) as sink,
        Generator(routed, streams(), core=0, recorded=True) as generator,
    ):
        # The first window ends in the middle of a turn: the next begins with the first stream all the same.
        for seconds in (0.1, 0.5):
            count = round(2500 * seconds) + 1
            generator.record(b"%d." % number + bytes(length - len(b"%d." % number)) for number in range(count))
            window = run_window(routed, generator, sink, None, 2500, seconds, batch=8)
            assert window.counted.packets == window.sent.packets > 0
            assert window.counted.bad == 0
            for sample in sink.samples():
                assert len(sample.data) == length
                assert sample.port == PORTS[int(sample.data.partition(b".")[0]) % len(PORTS)]
    assert window.counted.checked > 0


@needs_root
@needs_compilers
@pytest.mark.netns
def test_packets_nobody_listens_for_are_strays_and_not_delivered(routed: Topology) -> None:
    with Sink(routed, PORTS[:1], frames=True) as sink, Generator(routed, streams(), core=0) as generator:
        window = run_window(routed, generator, sink, None, 3000, 0.5, batch=8)
    assert window.counted.packets + window.counted.stray == window.sent.packets
    assert window.counted.receivers == 1
    assert window.delivered == pytest.approx(1 / 3, abs=0.01)


@needs_root
@needs_compilers
@pytest.mark.netns
def test_the_generator_alone_delivers_nothing(routed: Topology) -> None:
    with Sink(routed, PORTS, frames=True) as sink, Generator(routed, streams(), core=0, alone=True) as generator:
        window = run_window(routed, generator, sink, None, 3000, 0.3, batch=8)
    assert window.sent.packets > 0
    assert window.counted.packets == 0
    assert cost(window, window).charged == 0


@needs_root
@needs_compilers
@needs_rtpengine
@pytest.mark.netns
@pytest.mark.parametrize(
    "benchmark",
    [
        pytest.param("relay", marks=pytest.mark.slow),
        pytest.param("fanout", marks=pytest.mark.slow),
        "srtp-relay",
        "dtls-relay",
        "srtp-fanout",
        "commands",
        "footprint",
    ],
)
def test_a_quick_run_prints_its_figures_and_fails_exactly_when_it_says_something_was_not_measured(
    benchmark: str,
) -> None:
    command = (sys.executable, "-m", "bench", "--quick", "--subject", "rtpengine", benchmark)
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    # Whether all was delivered depends on who else uses the machine; that it is said does not.
    assert done.returncode == (1 if "NOT MEASURED" in done.stdout else 0), done.stdout + done.stderr
    assert re.search(r"^\*\*rtpengine|^\| rtpengine +\|", done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_bencode_keeps_the_order_in_which_a_proxy_writes_its_keys() -> None:
    message: dict[str, Value] = {"sdp": "v=0\r\n", "flags": ["a", 7], "call-id": "x", "command": "offer"}
    data = encode(message)
    assert data == b"d3:sdp5:v=0\r\n5:flagsl1:ai7ee7:call-id1:x7:command5:offere"
    assert decode(data) == message


def test_bencode_refuses_what_is_cut_off() -> None:
    for cut in (b"d3:sdp5:v=", b"d3:sdp", b"l", b"i7"):
        with pytest.raises(ValueError, match=r".*"):
            decode(cut)


def test_a_failure_is_in_the_report() -> None:
    section = Section("T", "how", (Table("t", ("a", "b"), (("x", "1"),)),), failures=("nothing arrived",))
    assert "NOT MEASURED: nothing arrived" in markdown(section)


def test_writing_one_section_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "PATH", tmp_path / "benchmarks.md")
    order = ("One", "Two")
    document.write({"Two": "## Two\n\nold two\n"}, order)
    document.write({"One": "## One\n\nfirst\n", "Two": "## Two\n\nnew two\n"}, order)
    document.write({"One": "## One\n\nsecond\n"}, order)
    text = document.PATH.read_text(encoding="utf-8")
    assert text.index("## One\n\nsecond") < text.index("## Two\n\nnew two")
    assert "first" not in text
    assert "old two" not in text
