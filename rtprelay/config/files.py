"""Our configuration file, TOML, and what is wrong with it."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path

import msgspec

from rtprelay.config.options import CHOICES, WORDS, Options, spelled
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
            raise ConfigError(f"{path}:{line_of(text, key)}: unknown key {key!r}{hint}")
    if isinstance(data.get("templates"), str):
        raise ConfigError(f"{path}:{line_of(text, 'templates')}: templates: Expected a table, [templates]")
    try:
        return msgspec.convert(spelled(data), Options)
    except msgspec.ValidationError as error:
        key, message = explain(error)
        raise ConfigError(f"{path}:{line_of(text, key)}: {key}: {message}") from error


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The key a validation error is about and what is wrong with it."""
    message, _, path = str(error).rpartition(" - at `$.")
    key = re.split(r"[.\[`]", path)[0]
    if key in CHOICES and message.startswith("Invalid enum value"):
        message += f", not one of {', '.join(str(item.value) for item in CHOICES[key])}"
    return key, message.replace("`", "").replace(" | null", "")


def line_of(text: str, key: str) -> int:
    """Where the key is; 1 where it is not found."""
    pattern = re.compile(rf"""\s*(\[\[?\s*)?["']?{re.escape(key)}["']?\s*(=|\]\]?)""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)
