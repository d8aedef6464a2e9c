"""What an operator may set while the relay runs: `list`, `set` and `params`.

A change holds until the next start, the next reload of the configuration, or `params revert`.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from rtprelay.cli.answer import MORE, Action, Answer
from rtprelay.config.schema import Config
from rtprelay.core.settings import Settings
from rtprelay.observe.log import Verbosity

_LEVELS = "core - Everything\n"
_MAXIMUM = "Maximum {} configured on rtpengine: {}\n"
"""The name is a part of the text that scripts look for."""


class Setting(NamedTuple):
    """A setting as it is named, read and shown. `shown` has place for the value."""

    field: str
    shown: str
    read: Callable[[str], float] = int
    lowest: float = 0
    highest: float = 10**15
    written: str = "{}"
    """The value in the reply to `set`."""


SETTINGS = {
    "maxsessions": Setting("max_sessions", _MAXIMUM.format("sessions", "{}"), lowest=-1),
    "maxload": Setting("max_load", _MAXIMUM.format("load average", "{:.2f}"), read=float, written="{:.2f}"),
    "maxcpu": Setting("max_cpu", _MAXIMUM.format("CPU usage", "{:.1f}"), read=float, written="{:.1f}"),
    "maxbw": Setting("max_bandwidth", _MAXIMUM.format("bandwidth", "{}")),
    "timeout": Setting("timeout", "TIMEOUT={:g}\n"),
    "silenttimeout": Setting("silent_timeout", "SILENT_TIMEOUT={:g}\n"),
    "offertimeout": Setting("offer_timeout", "OFFER_TIMEOUT={:g}\n"),
    "finaltimeout": Setting("final_timeout", "FINAL_TIMEOUT={:g}\n"),
    "controltos": Setting("control_tos", "{}\n", highest=255),
    "deletedelay": Setting("delete_delay", "{:g}\n"),
}


class Parameters:
    """`settings` tells those that hold, `change` makes others hold; `config` is what the relay was started with."""

    def __init__(
        self,
        config: Config,
        verbosity: Verbosity,
        settings: Callable[[], Settings],
        change: Callable[[Settings], None],
    ) -> None:
        self.verbosity = verbosity
        self._start = config
        self._settings = settings
        self._change = change
        self.actions: dict[str, Action] = {
            **{f"list {name}": self._shows(name) for name in SETTINGS},
            **{f"set {name}": self._sets(name) for name in SETTINGS},
            "list loglevel": self._list_loglevel,
            "set loglevel": self._set_loglevel,
            "list loglevels": lambda words: Answer(_LEVELS),
            "list maxopenfiles": self._list_maxopenfiles,
            "params start": lambda words: _table(self._at_start()),
            "params current": lambda words: _table(self._now()),
            "params diff": self._params_diff,
            "params revert": self._params_revert,
        }

    # --- one by one ---

    def _shows(self, name: str) -> Action:
        setting = SETTINGS[name]

        def show(words: list[str]) -> Answer:
            value = getattr(self._settings(), setting.field)
            return Answer(setting.shown.format(value), {name: value})

        return show

    def _sets(self, name: str) -> Action:
        setting = SETTINGS[name]

        def change(words: list[str]) -> Answer:
            if not words:
                return MORE
            try:
                value = setting.read(words[0])
            except ValueError:
                return Answer(f"Fail setting {name} to {words[0]}; no digits found\n")
            # Written this way round, it holds for what is not a number, too.
            if not setting.lowest <= value <= setting.highest:
                allowed = "either positive or -1" if setting.lowest < 0 else "only positive"
                return Answer(f"Fail setting {name} to {words[0]}; {allowed} values allowed\n")
            self._change(msgspec.structs.replace(self._settings(), **{setting.field: value}))
            off = "; disable feature" if setting.lowest < 0 and value < 0 else ""
            return Answer(f"Success setting {name} to {setting.written.format(value)}{off}\n", {name: value})

        return change

    def _list_loglevel(self, words: list[str]) -> Answer:
        return Answer(f"core = {self.verbosity.level}\n", {"loglevel": self.verbosity.level})

    def _set_loglevel(self, words: list[str]) -> Answer:
        """`LEVEL`, or as rtpengine has it `core LEVEL`: there is one part only."""
        if words[:1] == ["core"]:
            words = words[1:]
        if not words:
            return MORE
        if not (words[0].isascii() and words[0].isdigit()):
            return Answer(f"Fail setting loglevel to {words[0]}; no digits found\n")
        self.verbosity.level = min(int(words[0]), 7)
        return Answer(f"Success setting loglevel to {self.verbosity.level}\n", {"loglevel": self.verbosity.level})

    def _list_maxopenfiles(self, words: list[str]) -> Answer:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Answer(_MAXIMUM.format("open-files", allowed), {"maxopenfiles": allowed})

    # --- all together ---

    def _at_start(self) -> dict[str, Any]:
        return {"log-level": self._start.log_level, **_named(self._start.settings), **self._fixed()}

    def _now(self) -> dict[str, Any]:
        return {"log-level": self.verbosity.level, **_named(self._settings()), **self._fixed()}

    def _fixed(self) -> dict[str, Any]:
        config = self._start
        interfaces = {
            f"interface[{number}]": f"{item.name}/{item.address}" + (f"!{item.advertised}" if item.advertised else "")
            for number, item in enumerate(config.settings.interfaces)
        }
        listen = {f"listen-{kind}": " ".join(map(str, endpoints)) for kind, endpoints in config.control.listen.items()}
        return {"backend": config.backend.value, **interfaces, **listen}

    def _params_diff(self, words: list[str]) -> Answer:
        start, now = self._at_start(), self._now()
        differing = {name: (start[name], now[name]) for name in start if start[name] != now[name]}
        text = "".join(f"{name}: {_shown(old)} => {_shown(new)}\n" for name, (old, new) in differing.items())
        return Answer(text, {name: {"start": old, "current": new} for name, (old, new) in differing.items()})

    def _params_revert(self, words: list[str]) -> Answer:
        self.verbosity.level = self._start.log_level
        self._change(self._start.settings)
        return Answer("")


def _named(settings: Settings) -> Mapping[str, Any]:
    """The settings by the options' names, without those that are lists."""
    values = {name.replace("_", "-"): getattr(settings, name) for name in settings.__struct_fields__}
    return {
        name: int(value) if isinstance(value, bool) else getattr(value, "value", value)
        for name, value in values.items()
        if not isinstance(value, tuple | Mapping)
    }


def _table(values: Mapping[str, Any]) -> Answer:
    return Answer("".join(f"{name} = {_shown(value)}\n" for name, value in values.items()), values)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
