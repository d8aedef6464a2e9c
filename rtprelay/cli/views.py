"""The relay as a whole: what `list` shows of sessions, statistics, interfaces and flows."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rtprelay.cli.answer import MORE, Action, Answer, unknown_call
from rtprelay.core.registry import Registry
from rtprelay.core.statistics_view import overview, statistics
from rtprelay.kernel.backend import Backend
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling import console
from rtprelay.signalling.statistics import Statistics
from rtprelay.values import CallId, Endpoint, Family
from rtprelay.wire import json


class Views:
    def __init__(self, registry: Registry, backend: Backend) -> None:
        self._registry = registry
        self._backend = backend
        self.actions: dict[str, Action] = {
            "list numsessions": self._numsessions,
            "list totals": lambda words: Answer(console.totals(self._overview()), self._statistics()),
            "list counters": self._counters,
            "list jsonstats": self._jsonstats,
            "list interfaces": self._interfaces,
            "list flows": self._flows,
            "list reasons": self._reasons,
            "list transcoders": lambda words: Answer("No stats entries\n", {}),
        }

    def _overview(self) -> Statistics:
        return overview(self._registry, time.monotonic())

    def _statistics(self) -> Mapping[str, Any]:
        """As the ng command has them, but without being counted as a request."""
        return cast(Mapping[str, Any], statistics(self._registry, time.monotonic())["statistics"])

    def _numsessions(self, words: list[str]) -> Answer:
        current = self._overview().current
        families = Counter(frozenset(local.family for local in table) for table in self._registry.tables.values())
        media = {
            "ipv4": families[frozenset({Family.IP4})],
            "ipv6": families[frozenset({Family.IP6})],
            "mixed": families[frozenset(Family)],
        }
        sessions = {"own": current.sessionsown, "foreign": current.sessionsforeign, "total": current.sessionstotal}
        return Answer(console.numsessions(current, **media), {**sessions, **media})

    def _counters(self, words: list[str]) -> Answer:
        current = self._overview().current
        return Answer(console.counters(current), msgspec.to_builtins(current))

    def _jsonstats(self, words: list[str]) -> Answer:
        counted = self._statistics()
        return Answer(msgspec.json.format(json.encode(counted)).decode() + "\n", counted)

    def _interfaces(self, words: list[str]) -> Answer:
        used = [local for table in self._registry.tables.values() for local in table]
        lines, addresses, devices = [], [], []
        for item in self._registry.settings.interfaces:
            low, high = item.port_min, item.port_max
            count = sum(local.address == item.address and low <= local.port <= high for local in used)
            total = high - low + 1
            family = "IPv6" if ":" in item.address else "IPv4"
            advertised = f", advertised '{item.advertised}'" if item.advertised else ""
            lines += [
                f"Interface '{item.name}' address '{item.address}' ({family}){advertised}",
                f" Port range: {low:>5} - {high:>5}",
                f" Ports used: {count:>5} / {total:>5} ({100 * count / total:5.1f}%)",
            ]
            addresses.append({**msgspec.to_builtins(item), "used": count})
        for mode in self._backend.interfaces():
            lines.append(f"Device '{mode.interface}' served by {mode.mode}: {mode.reason}")
            devices.append(msgspec.to_builtins(mode))
        return Answer("\n".join(lines) + "\n", {"addresses": addresses, "devices": devices})

    def _flows(self, words: list[str]) -> Answer:
        """The data plane's own view of all ports, of so many, or of one call's."""
        locals_: list[Endpoint]
        match words:
            case []:
                locals_ = list(self._backend.adopt())
            case ["limit", count] if count.isascii() and count.isdigit():
                ports = itertools.chain.from_iterable(self._registry.tables.values())
                locals_ = list(itertools.islice(ports, int(count)))
            case ["limit", *_]:
                return MORE
            case [name, *_]:
                table = self._registry.tables.get(CallId(name))
                if table is None:
                    return unknown_call(name)
                locals_ = list(table)
        reports = self._backend.read(locals_)
        return Answer("".join(map(_flow, reports)) or "No flows.\n", [_plain(report) for report in reports])

    def _reasons(self, words: list[str]) -> Answer:
        """Why packets were handed up or dropped, by name."""
        seen = {name: count for name, count in sorted(self._backend.counters().items()) if count}
        text = "".join(f" {name:<48}:{count}\n" for name, count in seen.items())
        return Answer(text or "Nothing was handed up or dropped.\n", seen)


def _flow(report: FlowReport) -> str:
    path = "kernel" if report.in_kernel else "userspace"
    lines = [
        f"local {report.local} ({path})",
        f"    stats: {report.bytes:>20} bytes, {report.packets:>20} packets, {report.dropped:>20} errors, "
        f"{report.punted} handed up",
    ]
    lines += [
        f"    SSRC {item.ssrc:x}: {item.packets} packets, {item.lost} lost, {item.reordered} reordered, "
        f"{item.duplicates} duplicates, jitter {item.jitter * 1000:.1f} ms"
        for item in report.ssrcs
    ]
    lines += [
        f"    output from {item.source}: {item.bytes} bytes, {item.packets} packets, {item.errors} errors"
        for item in report.outputs
    ]
    return "\n".join(lines) + "\n\n"


def _plain(report: FlowReport) -> dict[str, Any]:
    """Endpoints as text, as they are written everywhere else."""
    plain: dict[str, Any] = {name: getattr(report, name) for name in report.__struct_fields__}
    plain["ssrcs"] = msgspec.to_builtins(report.ssrcs, enc_hook=str)
    plain["outputs"] = [
        {"source": str(item.source), "packets": item.packets, "bytes": item.bytes, "errors": item.errors}
        for item in report.outputs
    ]
    return {**plain, "local": str(report.local)}
