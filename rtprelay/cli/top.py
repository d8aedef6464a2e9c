"""`rtprelay top`: a live view of a relay, over its console: calls, streams, what passes and what is lost.

Theory of operation. `fetch` asks the console for a Sample, `screen` makes lines of two of them, both know nothing of
terminals; the loop around them draws with curses, or with --once prints one screen.
"""

from __future__ import annotations

import argparse
import curses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtprelay.cli.ctl import address, ask

PORTS = 256
"""Looked at in detail: the relay reads each one's counters for us."""

Node = dict[str, Any]


class Sample(NamedTuple):
    """The console's answers at one time, in seconds of any clock."""

    when: float
    sessions: Node
    counters: Node
    flows: list[Node]
    reasons: Node


class Port(NamedTuple):
    local: str
    path: str
    packets: float
    """Per second, accepted."""
    lost: float
    """Percent of what its senders sent."""
    jitter: float
    """Milliseconds, of the worst sender."""
    refused: float
    """Per second."""


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 1 where no relay answers."""
    parser = argparse.ArgumentParser(prog="rtprelay top", description="A live view of a relay; q ends it.")
    default = os.environ.get("RTPRELAY_CLI", "127.0.0.1:9900")
    parser.add_argument("--server", default=default, metavar="HOST[:PORT]", help="its console; default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECS", help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="print one screen, measured over one interval")
    options = parser.parse_args(list(arguments))
    host, port = address(options.server, 9900)

    def look() -> Sample:
        return fetch(lambda line: json.loads(ask(host, port, f"--json {line}", 10.0)), time.monotonic())

    try:
        if options.once:
            before = look()
            time.sleep(options.interval)
            print("\n".join(screen(options.server, before, look(), 120, 60)))
        else:
            curses.wrapper(lambda window: _live(window, options.server, look, options.interval))
    except (OSError, ValueError) as error:
        print(f"rtprelay top: no answer from {options.server}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def fetch(say: Callable[[str], Any], now: float) -> Sample:
    return Sample(
        now,
        sessions=say("list numsessions"),
        counters=say("list counters"),
        flows=say(f"list flows limit {PORTS}"),
        reasons=say("list reasons"),
    )


def screen(server: str, before: Sample, after: Sample, width: int, height: int) -> list[str]:
    """The lines of a screen: the relay, then why packets were refused, then the ports, the worst first."""
    seconds = max(after.when - before.when, 1e-3)
    counters, sessions = after.counters, after.sessions
    lines = [
        f"rtprelay {server}   calls {sessions['total']} (IPv4 {sessions['ipv4']}, IPv6 {sessions['ipv6']}, "
        f"both {sessions['mixed']})",
        f"streams   kernel {counters['media_kernel']}, userspace {counters['media_userspace']}, "
        f"both {counters['media_mixed']}",
        _rates("kernel", counters, "_kernel"),
        _rates("userspace", counters, "_user"),
        "",
    ]
    reasons = _reasons(before, after, seconds)
    lines += ["dropped or handed up, per second:", *reasons, ""] if reasons else []
    ports = measure(before, after, seconds)
    known = f"the first {PORTS} ports" if len(after.flows) == PORTS else f"{len(after.flows)} ports"
    lines.append(f"{known}, the worst first")
    lines.append(f"{'local':<46} {'path':<9} {'packets/s':>9} {'loss %':>7} {'jitter ms':>9} {'refused/s':>9}")
    for local, path, packets, lost, jitter, refused in ports:
        lines.append(f"{local:<46} {path:<9} {packets:>9.0f} {lost:>7.2f} {jitter:>9.1f} {refused:>9.0f}")
    return [line[:width] for line in lines[:height]]


def _rates(path: str, counters: Node, suffix: str) -> str:
    packets, size, errors = (counters[f"{kind}rate{suffix}"] for kind in ("packet", "byte", "error"))
    return f"{path:<9} {packets:>9} packets/s {size * 8 / 1e6:>9.2f} Mbit/s {errors:>7} errors/s"


def _reasons(before: Sample, after: Sample, seconds: float) -> list[str]:
    grown = {name: (count - before.reasons.get(name, 0)) / seconds for name, count in after.reasons.items()}
    worst = sorted(((rate, name) for name, rate in grown.items() if rate > 0), reverse=True)
    return [f"  {name:<40} {rate:>9.0f}" for rate, name in worst[:8]]


def measure(before: Sample, after: Sample, seconds: float) -> list[Port]:
    """Loss first, then refusals, then jitter: what hurts most is on top. Ports that are silent come last."""
    known = {flow["local"]: flow for flow in before.flows}
    ports = [_port(known.get(flow["local"]), flow, seconds) for flow in after.flows]
    return sorted(ports, key=lambda port: (-port.lost, -port.refused, -port.jitter, -port.packets))


def _port(before: Node | None, after: Node, seconds: float) -> Port:
    """A port that has come in between has no rate yet."""
    old = before if before is not None and before["packets"] <= after["packets"] else after
    lost = sum(max(0, source["lost"]) for source in after["ssrcs"])
    heard = sum(source["packets"] for source in after["ssrcs"])
    return Port(
        after["local"],
        "kernel" if after["in_kernel"] else "userspace",
        packets=(after["packets"] - old["packets"]) / seconds,
        lost=100.0 * lost / (lost + heard) if lost else 0.0,
        jitter=1000.0 * max((source["jitter"] for source in after["ssrcs"]), default=0.0),
        refused=max(0, after["dropped"] - old["dropped"]) / seconds,
    )


def _live(window: curses.window, server: str, look: Callable[[], Sample], interval: float) -> None:
    curses.use_default_colors()
    curses.curs_set(0)
    window.timeout(int(interval * 1000))
    before = look()
    while True:
        after = look()
        height, width = window.getmaxyx()
        window.erase()
        for row, line in enumerate(screen(server, before, after, width - 1, height)):
            window.addstr(row, 0, line, curses.A_BOLD if row == 0 else curses.A_NORMAL)
        window.refresh()
        if window.getch() in (ord("q"), 27):
            return
        before = after
