"""What an operator asks on the console port, in the words of rtpengine-ctl; served by listen/cli.py.

A table of words: each leads to another table or to a method that takes the words left over. What changes a call goes
through the core as an ng command does; the rest is read off.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rtprelay import __version__
from rtprelay.cli.session import session
from rtprelay.cli.totals import counters, totals
from rtprelay.core.relay import Relay
from rtprelay.core.settings import Settings
from rtprelay.kernel.backend import Backend
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling.command import Body, Command, CommandName
from rtprelay.values import CallId, Family

MORE = "More parameters required.\n"

Action = Callable[[list[str]], str]
Table = Mapping[str, "Action | Table"]

TIMEOUTS = {
    "timeout": "timeout",
    "silenttimeout": "silent_timeout",
    "finaltimeout": "final_timeout",
    "offertimeout": "offer_timeout",
    "deletedelay": "delete_delay",
}
"""The console's name and the setting's."""


class Console:
    """`execute` answers a line."""

    def __init__(self, relay: Relay, carry_out: Callable[[Command], Body], backend: Backend) -> None:
        self._relay = relay
        self._carry_out = carry_out
        self._backend = backend
        self._table: Table = {
            "list": {
                "numsessions": self._list_numsessions,
                "sessions": self._list_sessions,
                "maxsessions": self._list_maxsessions,
                "maxopenfiles": self._list_maxopenfiles,
                "totals": self._list_totals,
                "counters": self._list_counters,
                "interfaces": self._list_interfaces,
                "flows": self._list_flows,
                "reasons": self._list_reasons,
                "jsonstats": self._list_jsonstats,
                **{name: self._shows(name) for name in TIMEOUTS},
            },
            "set": {"maxsessions": self._set_maxsessions, **{name: self._sets(name) for name in TIMEOUTS}},
            "terminate": self._terminate,
            "version": self._version,
        }

    def execute(self, line: str) -> str:
        words = line.split()
        if not words or words == ["help"]:
            return _choices(self._table)
        node: Action | Table = self._table
        while not callable(node):
            if not words:
                return MORE + _choices(node)
            word = words.pop(0)
            if word not in node:
                return f"Unknown or incomplete command: {word}\n" + _choices(node)
            node = node[word]
        return node(words)

    # --- list ---

    def _list_numsessions(self, words: list[str]) -> str:
        tables = self._relay.registry.tables.values()
        families = Counter(frozenset(local.family for local in table) for table in tables)
        return (
            f"Current sessions own: {len(tables)}\n"
            "Current sessions foreign: 0\n"
            f"Current sessions total: {len(tables)}\n"
            "Current transcoded media: 0\n"
            f"Current sessions ipv4 only media: {families[frozenset({Family.IP4})]}\n"
            f"Current sessions ipv6 only media: {families[frozenset({Family.IP6})]}\n"
            f"Current sessions ip mixed  media: {families[frozenset(Family)]}\n"
        )

    def _list_sessions(self, words: list[str]) -> str:
        if not words:
            return MORE
        if words[0] in ("all", "own"):
            return (
                "".join(self._session_line(call_id) for call_id in self._call_ids())
                or "No sessions on this media relay.\n"
            )
        if words[0] == "foreign":
            return "No sessions on this media relay.\n"
        reply = self._carry_out(Command(name=CommandName.QUERY, call_id=CallId(words[0])))
        if reply["result"] != "ok":
            return f"\nCall ID not found ({words[0]}).\n\n"
        return session(words[0], reply)

    def _session_line(self, call_id: CallId) -> str:
        call = self._relay.registry.calls[call_id]
        return f"callid: {call_id:>60} | created: {int(call.created):>11} | parties: {len(call.parties)}\n"

    def _call_ids(self) -> list[CallId]:
        return list(self._relay.registry.calls)

    def _list_maxsessions(self, words: list[str]) -> str:
        return f"Maximum sessions configured on rtprelay: {self._settings.max_sessions}\n"

    def _list_maxopenfiles(self, words: list[str]) -> str:
        return f"Maximum open-files configured on rtprelay: {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}\n"

    def _list_totals(self, words: list[str]) -> str:
        return totals(self._statistics())

    def _list_counters(self, words: list[str]) -> str:
        return counters(self._statistics())

    def _list_jsonstats(self, words: list[str]) -> str:
        return msgspec.json.format(msgspec.json.encode(self._statistics())).decode() + "\n"

    def _statistics(self) -> Mapping[str, Any]:
        statistics: Mapping[str, Any] = self._carry_out(Command(name=CommandName.STATISTICS)).get("statistics", {})
        return statistics

    def _list_interfaces(self, words: list[str]) -> str:
        used = [local for table in self._relay.registry.tables.values() for local in table]
        lines = []
        for item in self._settings.interfaces:
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
        for mode in self._backend.interfaces():
            lines.append(f"Device '{mode.interface}' served by {mode.mode}: {mode.reason}")
        return "\n".join(lines) + "\n"

    def _list_flows(self, words: list[str]) -> str:
        """The data plane's own view, or with a call-id that call's."""
        if words:
            table = self._relay.registry.tables.get(CallId(words[0]))
            if table is None:
                return f"\nCall ID not found ({words[0]}).\n\n"
            locals_ = list(table)
        else:
            locals_ = list(self._backend.adopt())
        return "".join(_flow(report) for report in self._backend.read(locals_)) or "No flows.\n"

    def _list_reasons(self, words: list[str]) -> str:
        """Why packets were handed up or dropped, by name."""
        seen = {name: count for name, count in sorted(self._backend.counters().items()) if count}
        return (
            "".join(f" {name:<48}:{count}\n" for name, count in seen.items()) or "Nothing was handed up or dropped.\n"
        )

    # --- set ---

    def _shows(self, name: str) -> Action:
        return lambda words: f"{TIMEOUTS[name].upper()}={getattr(self._settings, TIMEOUTS[name]):g}\n"

    def _sets(self, name: str) -> Action:
        return lambda words: self._set(name, TIMEOUTS[name], words, lowest=0)

    def _set_maxsessions(self, words: list[str]) -> str:
        return self._set("maxsessions", "max_sessions", words, lowest=-1)

    def _set(self, name: str, setting: str, words: list[str], lowest: int) -> str:
        if not words:
            return MORE
        try:
            value = int(words[0])
        except ValueError:
            return f"Fail setting {name} to {words[0]}; not a whole number\n"
        if value < lowest:
            return f"Fail setting {name} to {value}; the lowest possible is {lowest}\n"
        self._relay.registry.settings = msgspec.structs.replace(self._settings, **{setting: value})
        return f"Success setting {name} to {value}\n"

    @property
    def _settings(self) -> Settings:
        return self._relay.registry.settings

    # --- the rest ---

    def _terminate(self, words: list[str]) -> str:
        if not words:
            return MORE
        if words[0] in ("all", "own"):
            call_ids = self._call_ids()
            for call_id in call_ids:
                self._delete(call_id)
            return f"{len(call_ids)} calls successfully terminated by operator.\n"
        if CallId(words[0]) not in self._relay.registry.calls:
            return f"\nCall Id not found ({words[0]}).\n\n"
        self._delete(CallId(words[0]))
        return f"\nCall Id ({words[0]}) successfully terminated by operator.\n\n"

    def _delete(self, call_id: CallId) -> None:
        self._carry_out(Command(name=CommandName.DELETE, call_id=call_id, delete_delay=0))

    def _version(self, words: list[str]) -> str:
        return f"rtprelay {__version__}\n"


def _choices(table: Table) -> str:
    return "Available sub-commands at this level:\n" + "".join(f"\t{word}\n" for word in table) + "\n"


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
