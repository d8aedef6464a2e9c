"""The console: what an operator asks in the words of rtpengine-ctl, on a port of its own or over HTTP, WS and ng.

A line is looked up in the grammar, word by word, down to an action; groups of actions are in files of their own. What
changes a call goes through the core as an ng command does; the rest is read off. A line that begins with `--json` gets
the same as JSON; with `--keys` a call is listed with its SRTP keys, at the console port alone.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rtprelay import __version__
from rtprelay.cli.answer import MORE, Action, Actions, Answer, refused
from rtprelay.cli.calls import Calls
from rtprelay.cli.grammar import REDIS, Line, Tree, tree
from rtprelay.cli.parameters import Parameters
from rtprelay.cli.views import Views
from rtprelay.core.relay import Relay
from rtprelay.kernel.backend import Backend
from rtprelay.signalling.command import Body, Command
from rtprelay.wire import json

AS_JSON, WITH_KEYS = "--json", "--keys"
_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if chr(number) not in "\n\t"}
"""Call-IDs, tags and labels come from the wire and go to an operator's terminal, which obeys control characters."""

_NO_REDIS = refused("this relay uses no Redis")

_NODE: dict[str, Action] = {
    "active": lambda words: Answer("Ok, all calls set to 'owned (active)'\n"),
    "standby": lambda words: Answer(
        "Ok, all calls set to 'foreign (standby)'\n"
        "(There is no other node to own them: calls and media go on here. To take no new ones: set maxsessions 0)\n"
    ),
    **{f"{verb} {word}": _NO_REDIS for verb in ("list", "set") for word in REDIS},
    "set maxopenfiles": refused("it is raised as far as may be at the start; the limit is LimitNOFILE= or ulimit -n"),
    "kslist": lambda words: Answer("\nSubscribed-on keyspaces:\n\n", []),
    "ksadd": _NO_REDIS,
    "ksrm": _NO_REDIS,
    "media": refused("this relay plays no media"),
    "version": lambda words: Answer(f"rtprelay {__version__}\n", {"version": __version__}),
}
"""What concerns this relay among others."""


class Console:
    """`execute` answers a line. `carry_out` executes an ng command and returns its reply."""

    def __init__(
        self, relay: Relay, carry_out: Callable[[Command], Body], backend: Backend, parameters: Parameters
    ) -> None:
        calls = Calls(relay.registry, carry_out, parameters.verbosity)
        views = Views(relay.registry, backend)
        self.actions = {**views.actions, **parameters.actions, **calls.actions, **_NODE}
        self._with_keys = calls.with_keys
        self._tree = tree()

    def execute(self, line: str, keys: bool = False) -> str:
        """`keys`: who asks may be told of them."""
        words, options = line.split(), set()
        while words and words[0] in (AS_JSON, WITH_KEYS):
            options.add(words.pop(0))
        if WITH_KEYS not in options:
            answer = self._answer(words, self.actions)
        elif keys:
            answer = self._answer(words, self.actions | self._with_keys)
        else:
            answer = Answer("Keys are shown at the console port only\n")
        if AS_JSON not in options:
            return answer.text.translate(_CONTROL)
        data = {"response": answer.text} if answer.data is None else answer.data
        return msgspec.json.format(json.encode(data)).decode() + "\n"

    def _answer(self, words: list[str], actions: Actions) -> Answer:
        if not words or words in (["help"], ["usage"]):
            return _choices(self._tree)
        node: Line | Tree = self._tree
        while not isinstance(node, Line):
            if not words:
                return Answer(MORE.text + _choices(node).text)
            word = words.pop(0)
            if word not in node:
                return Answer(f"Unknown or incomplete command: {word}\n" + _choices(node).text)
            node = node[word]
        return actions[node.words](words)


def _choices(tree: Tree) -> Answer:
    text = "Available sub-commands at this level:\n" + "".join(f"\t{word}\n" for word in tree) + "\n"
    return Answer(text, list(tree))
