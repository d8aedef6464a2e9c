"""The console's language, once: what the relay answers, what rtprelay-ctl explains and the shell completes.

Imports nothing but the standard library: rtprelay-ctl is quick, and runs where the relay's dependencies are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Line(NamedTuple):
    """`words` lead to an action; `arguments` is how what follows them is written, empty: nothing does."""

    words: str
    arguments: str
    help: str


SETTABLE = (
    Line("maxsessions", "COUNT", "refuse new calls above so many; -1: no limit, 0: take none"),
    Line("maxload", "NUMBER", "... while the load average is above; 0: no limit"),
    Line("maxcpu", "PERCENT", "... while so much of all cores is busy; 0: no limit"),
    Line("maxbw", "BYTES", "... while so many bytes of media come in per second; 0: no limit"),
    Line("timeout", "SECONDS", "end a call without media after"),
    Line("silenttimeout", "SECONDS", "... when it is muted"),
    Line("offertimeout", "SECONDS", "... when nobody answered"),
    Line("finaltimeout", "SECONDS", "end any call after; 0: never"),
    Line("deletedelay", "SECONDS", "keep a deleted call for"),
    Line("controltos", "TOS", "IP TOS of ng replies over UDP"),
    Line("loglevel", "LEVEL", "what is logged, 0 to 7 as in syslog(3)"),
)
"""To be seen by `list` and changed by `set`."""

REDIS = ("redisallowederrors", "redisdisabletime", "redisconnecttimeout")

LINES = (
    Line("list numsessions", "", "how many calls there are"),
    Line("list sessions", "all|own|foreign|CALL-ID", "all calls, or one with its streams"),
    Line("list totals", "", "statistics"),
    Line("list counters", "", "what passes per second"),
    Line("list jsonstats", "", "all statistics as JSON"),
    Line("list interfaces", "", "media addresses and their ports, devices and how they are served"),
    Line("list flows", "[CALL-ID|limit COUNT]", "the data plane's counters, port by port"),
    Line("list reasons", "", "why packets were handed up or dropped"),
    Line("list maxopenfiles", "", "how many files and sockets may be open"),
    Line("list loglevels", "", "the parts that log at a level of their own"),
    Line("list transcoders", "", "none: nothing is transcoded"),
    *(Line(f"list {line.words}", "", line.help) for line in SETTABLE),
    *(Line(f"set {line.words}", line.arguments, line.help) for line in SETTABLE),
    Line("set maxopenfiles", "COUNT", "not supported: it is set where the relay is started"),
    *(Line(f"{verb} {word}", "", "not supported: there is no Redis") for verb in ("list", "set") for word in REDIS),
    Line("terminate", "all|own|foreign|CALL-ID", "end a call, or all"),
    Line("params start", "", "the settings the relay was started with"),
    Line("params current", "", "those it has now"),
    Line("params diff", "", "which of them differ"),
    Line("params revert", "", "make those of the start hold again"),
    Line("debug", "CALL-ID [on|off]", "log everything about a call"),
    Line("call", "CALL-ID info|terminate|debug [on|off]|tag TAG info", "one call, or one of its parties"),
    Line("active", "", "this node owns all calls: it is alone"),
    Line("standby", "", "accepted; without effect, as there is no other node"),
    Line("kslist", "", "subscribed Redis keyspaces: none"),
    Line("ksadd", "KEYSPACE", "not supported: there is no Redis"),
    Line("ksrm", "KEYSPACE", "not supported"),
    Line("media", "list|add|reload|evict ...", "not supported: no media is played"),
    Line("version", "", "of the relay"),
)

ALIASES = {"get": "list"}

Tree = dict[str, Any]
"""Words lead to trees, the last of them to a Line."""


def tree() -> Tree:
    root: Tree = {}
    for line in LINES:
        *path, last = line.words.split()
        node = root
        for word in path:
            node = node.setdefault(word, {})
        node[last] = line
    return root | {alias: root[word] for alias, word in ALIASES.items()}


def usage() -> Iterator[str]:
    """A line of text for each line of the language."""
    for line in LINES:
        yield f"    {line.words} {line.arguments}".ljust(48) + f" {line.help}".rstrip()
