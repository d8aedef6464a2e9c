"""Configuration files: our TOML, and rtpengine's INI with the same names."""

from __future__ import annotations

import configparser
import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from rtprelay.config.options import CHOICES, REPEATABLE, WORDS, Options
from rtprelay.config.rtpengine import IGNORED
from rtprelay.config.schema import ConfigError


def read_toml(path: Path, text: str) -> Options:
    """Raises ConfigError with file, line and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    for key in data:
        if key not in WORDS:
            close = difflib.get_close_matches(key, WORDS, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{path}:{_line_of(text, key)}: unknown key {key!r}{hint}")
    try:
        return msgspec.convert(data, Options)
    except msgspec.ValidationError as error:
        key, message = explain(error)
        raise ConfigError(f"{path}:{_line_of(text, key)}: {key}: {message}") from error


def read_ini(path: Path, text: str, section: str) -> tuple[Options, tuple[str, ...]]:
    """The options, and the names of those that mean nothing here: the file may be another program's."""
    parser = configparser.RawConfigParser(
        strict=False, delimiters=("=",), comment_prefixes=("#",), empty_lines_in_values=False
    )
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        raise ConfigError(str(error).replace("\n", " ")) from error
    if not parser.has_section(section):
        raise ConfigError(f"{path}: there is no section [{section}]")
    given: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in parser.items(section):
        if key not in WORDS:
            ignored.append(key if key in IGNORED else f"{key} (unknown)")
        elif key in REPEATABLE:
            given[key] = [part.strip() for part in value.split(";") if part.strip()]
        else:
            given[key] = value
    try:
        return msgspec.convert(given, Options, strict=False), tuple(ignored)
    except msgspec.ValidationError as error:
        key, message = explain(error)
        raise ConfigError(f"{path}:{_line_of(text, key)}: {key}: {message}") from error


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The key a validation error is about and what is wrong with it."""
    message, _, path = str(error).rpartition(" - at `$.")
    key = re.split(r"[.\[`]", path)[0]
    if key in CHOICES and message.startswith("Invalid enum value"):
        message += f", not one of {', '.join(str(item.value) for item in CHOICES[key])}"
    return key, message.replace("`", "").replace(" | null", "")


def _line_of(text: str, key: str) -> int:
    pattern = re.compile(rf"""\s*(\[\[\s*)?["']?{re.escape(key)}["']?\s*(=|\]\])""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)
