"""rtpengine's configuration file: the section of the daemon, and the sections that lead from there.

[rtpengine]
interface = internal/10.0.0.1;external/10.0.0.2!203.0.113.1
interfaces-config = media
templates = templates

[media-more]
address = 10.0.0.3
advertised = 203.0.113.3
port-min = 20000
port-max = 24999

[templates]
WebRTC = transport-protocol=UDP/TLS/RTP/SAVPF ICE=force rtcp-mux=[offer require]
"""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import msgspec

from rtprelay.config.files import explain, line_of
from rtprelay.config.options import REPEATABLE, WORDS, Options, spelled
from rtprelay.config.rtpengine import IGNORED
from rtprelay.config.schema import ConfigError

_INTERFACE_KEYS = frozenset({"address", "name", "advertised", "port-min", "port-max"})


class _Parser(configparser.RawConfigParser):
    """Names are what they are, in upper or lower case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read_ini(path: Path, text: str, section: str, templates: str | None = None) -> tuple[Options, tuple[str, ...]]:
    """The options, and the names of those that mean nothing here: the file may be another program's.

    `templates` is the section of templates, if the command line names it.
    """
    parser = _Parser(strict=False, delimiters=("=",), comment_prefixes=("#",), empty_lines_in_values=False)
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        raise ConfigError(str(error).replace("\n", " ")) from error
    if not parser.has_section(section):
        raise ConfigError(f"{path}: there is no section [{section}]")
    given: dict[str, Any] = {}
    ignored: list[str] = []
    prefix = ""
    for key, value in parser.items(section):
        if key == "interfaces-config":
            prefix = value
        elif key == "templates":
            templates = templates or value
        elif key not in WORDS:
            ignored.append(key if key in IGNORED else f"{key} (unknown)")
        elif key in REPEATABLE:
            given[key] = [part.strip() for part in value.split(";") if part.strip()]
        else:
            given[key] = value
    if prefix:
        tables = [
            _interface(parser, name, prefix, ignored) for name in parser.sections() if name.startswith(f"{prefix}-")
        ]
        given["interface"] = [*given.get("interface", ()), *tables]
    if templates:
        if not parser.has_section(templates):
            raise ConfigError(f"{path}: templates: there is no section [{templates}]")
        given["templates"] = dict(parser.items(templates))
    try:
        return msgspec.convert(spelled(given), Options, strict=False), tuple(ignored)
    except msgspec.ValidationError as error:
        key, message = explain(error)
        raise ConfigError(f"{path}:{line_of(text, key)}: {key}: {message}") from error


def _interface(parser: _Parser, section: str, prefix: str, ignored: list[str]) -> dict[str, str]:
    """`[PREFIX-NAME]`: an interface called NAME, unless it says otherwise."""
    items = dict(parser.items(section))
    ignored += [f"{key} in [{section}]" for key in items if key not in _INTERFACE_KEYS]
    return {"name": section.removeprefix(f"{prefix}-"), **{k: v for k, v in items.items() if k in _INTERFACE_KEYS}}
