"""Single calls: `list sessions`, `call`, `debug` and `terminate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtprelay.cli.answer import MORE, NO_SESSIONS, Action, Answer, unknown_call
from rtprelay.cli.keys import key_lines, keys
from rtprelay.cli.session import party_lines, session
from rtprelay.core.registry import Registry
from rtprelay.observe.log import Verbosity, printable
from rtprelay.signalling.command import Body, Command, CommandName
from rtprelay.values import CallId
from rtprelay.wire.bencode import plain

ON = {"on": True, "1": True, "yes": True, "off": False, "0": False, "no": False}


class Calls:
    def __init__(self, registry: Registry, carry_out: Callable[[Command], Body], verbosity: Verbosity) -> None:
        self._registry = registry
        self._carry_out = carry_out
        self._verbosity = verbosity
        self.actions: dict[str, Action] = {
            "list sessions": self._list,
            "terminate": self._terminate,
            "debug": self._debug,
            "call": self._call,
        }
        self.with_keys: dict[str, Action] = {"list sessions": self._list_with_keys}
        """The same lines, where keys have been asked for."""

    # --- list sessions ---

    def _list(self, words: list[str]) -> Answer:
        if not words:
            return MORE
        if words[0] == "foreign":
            return Answer("No foreign sessions on this media relay.\n", [])
        if words[0] in ("all", "own"):
            calls = [self._summary(call_id) for call_id in self._registry.calls]
            none = NO_SESSIONS if words[0] == "all" else "No own sessions on this media relay.\n"
            return Answer("".join(map(_line, calls)) or none, calls)
        return self._details(words[0]) or unknown_call(words[0])

    def _list_with_keys(self, words: list[str]) -> Answer:
        answer = self._list(words)
        call = self._registry.calls.get(self._id(words[0])) if words else None
        if call is None:
            return answer
        found = list(keys(call))
        return Answer(answer.text + key_lines(found), {**answer.data, "keys": found})

    def _id(self, name: str) -> CallId:
        """The call's own, if it is called by another."""
        return self._registry.aliases.get(CallId(name), CallId(name))

    def _summary(self, call_id: CallId) -> dict[str, Any]:
        call = self._registry.calls[call_id]
        return {
            "callid": call_id,
            "deletionmark": call.delete_at is not None,
            "created": int(call.created),
            "parties": len(call.parties),
        }

    def _details(self, name: str) -> Answer | None:
        """None: there is no such call."""
        reply = self._query(name)
        if reply is None:
            return None
        call = self._registry.calls[self._id(name)]
        marks = {"deletionmark": call.delete_at is not None, "tos": call.tos or self._registry.settings.tos}
        return Answer(session(name, reply, marks), {"callid": name, **marks, **reply})

    def _query(self, name: str) -> Body | None:
        reply: Body = plain(self._carry_out(Command(name=CommandName.QUERY, call_id=CallId(name))))
        return reply if reply["result"] == "ok" else None

    # --- call CALL-ID ... ---

    def _call(self, words: list[str]) -> Answer:
        if not words:
            return MORE
        name, *rest = words
        if self._id(name) not in self._registry.calls:
            return Answer(f"No such call '{name}'\n")
        match rest:
            case ["info"]:
                return self._details(name) or unknown_call(name)
            case ["terminate"]:
                return self._terminate([name])
            case ["debug", *switch]:
                return self._debug([name, *switch])
            case ["tag"]:
                return MORE
            case ["tag", tag, *what]:
                return self._tag(name, tag, what)
        return Answer(f"Unknown or incomplete command: {' '.join(rest)}\n")

    def _tag(self, name: str, tag: str, what: list[str]) -> Answer:
        party = (self._query(name) or {}).get("tags", {}).get(tag)
        if party is None:
            return Answer(f"No such tag '{tag}'\n")
        match what:
            case ["info"]:
                return Answer("\n".join(party_lines(tag, party)) + "\n", party)
            case ["delay" | "detect-dtmf", *_]:
                return Answer(f"Not supported: {what[0]} needs media processing this relay does not have\n")
        return Answer(f"Unknown or incomplete command: {' '.join(what)}\n")

    # --- debug ---

    def _debug(self, words: list[str]) -> Answer:
        if not words:
            return Answer("No call ID specified\n")
        name, switch = words[0], words[1] if len(words) > 1 else "on"
        on = ON.get(switch)
        if on is None:
            return Answer(f"Invalid on/off flag ('{switch}') specified\n")
        if self._id(name) not in self._registry.calls:
            return Answer(f"Call ID '{name}' not found\n")
        if on:
            self._verbosity.trace(self._id(name), self._registry.calls)
        else:
            self._verbosity.traced.discard(self._id(name))
        return Answer(f"{'Enabled' if on else 'Disabled'} debugging for call '{name}'\n")

    # --- terminate ---

    def _terminate(self, words: list[str]) -> Answer:
        if not words:
            return MORE
        match words[0]:
            case "all" | "own" | "foreign" as which:
                for call_id in [] if which == "foreign" else list(self._registry.calls):
                    self._end(call_id)
                return Answer(f"All {'' if which == 'all' else which + ' '}calls terminated by operator.\n")
            case name if self._id(name) in self._registry.calls:
                self._end(self._id(name))
                return Answer(f"\nCall Id ({name}) successfully terminated by operator.\n\n")
            case name:
                return Answer(f"\nCall Id not found ({name}).\n\n")

    def _end(self, call_id: CallId) -> None:
        self._carry_out(Command(name=CommandName.DELETE, call_id=call_id, delete_delay=0, forced=True))


def _line(call: dict[str, Any]) -> str:
    """In rtpengine's columns. Which proxy a call came from is not kept."""
    deleted = "yes" if call["deletionmark"] else "no"
    return (
        f"callid: {printable(call['callid']):>60} | deletionmark:{deleted:>4} | created:{call['created']:>12} "
        "| proxy: | redis_keyspace:-1 | foreign:no\n"
    )
