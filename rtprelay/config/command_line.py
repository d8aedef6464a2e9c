"""The command line, in rtpengine's spelling, read into the same dictionary a file gives."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rtprelay import __version__
from rtprelay.config.options import REPEATABLE, WORDS
from rtprelay.config.rtpengine import IGNORED_SWITCHES, IGNORED_WITH_VALUE, LETTERS


def read_command_line(arguments: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What was given, by option name, values still text; and which of rtpengine's options mean nothing here."""
    given = vars(_parser().parse_args(list(arguments)))
    ignored = tuple(sorted(name for name in given if name in IGNORED_WITH_VALUE or name in IGNORED_SWITCHES))
    return {name: value for name, value in given.items() if name not in ignored}, ignored


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtprelay",
        description="A SIP/SFU media relay whose packets never reach userspace.",
        epilog="All but --config-file can stand in the file too. Other options of rtpengine are accepted and ignored.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("-v", "--version", action="version", version=f"Version: rtprelay {__version__}")
    parser.add_argument("--codecs", action="version", version="Nothing is transcoded.", help=argparse.SUPPRESS)
    for name, words in WORDS.items():
        names = [f"-{words.letter}"] if words.letter else []
        names.append(f"--{name}")
        if not words.value:
            parser.add_argument(*names, dest=name, action="store_true", help=words.help)
        else:
            action = "append" if name in REPEATABLE else "store"
            parser.add_argument(*names, dest=name, action=action, metavar=words.value, help=words.help)
    letters = {name: letter for letter, name in LETTERS.items()}
    for name in sorted(IGNORED_WITH_VALUE | IGNORED_SWITCHES):
        names = [f"-{letters[name]}"] if name in letters else []
        action = "store" if name in IGNORED_WITH_VALUE else "store_true"
        parser.add_argument(*names, f"--{name}", dest=name, action=action, help=argparse.SUPPRESS)
    return parser
