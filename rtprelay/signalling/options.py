"""What a request's keys and flags say, collected into the fields of MediaFlags and Command.

Nothing here makes a request fail, but text that is too long: users expect the call to go on without a flag that nobody
understands. Such flags are collected in `unknown`, to be logged.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from rtprelay.errors import PeerFault
from rtprelay.signalling.command import Command, MediaFlags, SdpReplace
from rtprelay.signalling.flags import BY_NAME, CODECS, IDENTIFICATION, LONGEST_NAME, Flag, Kind, find, normalise
from rtprelay.values import canonical_address

MAX_UNKNOWN = 32
MAX_FLAG = 1024
"""Longer ones are nobody's flags; what was parsed is cached."""
_SHOWN = 64
_ON = frozenset({"yes", "on", "true", "1", ""})
_OFF = frozenset({"no", "off", "false", "0"})
_BY_PREFIX = frozenset({Kind.WORD, Kind.WORDS, Kind.ANY, Kind.DICTIONARY})
_SEPARATORS = re.compile(r"[\s,]+")

_MEDIA_FIELDS = frozenset(MediaFlags.__struct_fields__)
_DEFAULTS: dict[str, Any] = {
    **{name: getattr(MediaFlags(), name) for name in MediaFlags.__struct_fields__},
    **dict(zip(Command.__struct_fields__[1:], Command.__struct_defaults__, strict=True)),
}


class Said(msgspec.Struct, frozen=True, gc=False):
    """What comes of it."""

    flags: MediaFlags
    command: Mapping[str, Any]
    """Fields of Command."""
    unknown: tuple[str, ...]
    missed: frozenset[str]


class Options:
    """Filled by `key` for each entry of the request's dictionary."""

    def __init__(self) -> None:
        self.media: dict[str, Any] = {}
        self.command: dict[str, Any] = {}
        self.extra: set[str] = set()
        self.unknown: list[str] = []
        self.missed: set[str] = set()

    def key(self, name: str, value: Any) -> None:
        """An entry of the dictionary; `None` (JSON null) says nothing."""
        if value is None:
            return
        if len(name) > MAX_FLAG:
            self.reject(name)
            return
        flag = find(name)
        if flag is not None:
            _TAKE[flag.kind](self, flag, value)
        elif parse_flag(name) is None:
            self.reject(name)
        elif _switched(value):
            self.flag(name)

    def flag(self, text: str) -> None:
        """An item of `flags`, or a word of `rtpp-flags`."""
        parsed = parse_flag(text) if len(text) <= MAX_FLAG else None
        if parsed is None or parsed[0].kind is Kind.FLAGS:
            self.reject(text)
            return
        flag, value = parsed
        if flag.key_only or value == "":
            return
        if flag.group == IDENTIFICATION and flag.kind is Kind.TEXT and flag.target in self.command:
            return  # what the proxy says in a key of its own is what it goes by
        _TAKE[flag.kind](self, flag, value)

    def store(self, flag: Flag, value: Any, shown: str = "") -> None:
        """Put a value that was understood where the row wants it."""
        target = flag.target
        if not target:
            self.extra.add(f"{flag.name}={shown}" if shown else flag.name)
            if flag.lacking:
                self.missed.add(flag.name)
            return
        fields = self.media if target in _MEDIA_FIELDS else self.command
        default = _DEFAULTS[target]
        if isinstance(default, SdpReplace):
            value = fields.get(target, default) | value
        elif isinstance(default, frozenset):
            value = fields.get(target, default) | {value}
        elif isinstance(default, tuple):
            value = (*fields.get(target, default), value)
        fields[target] = value

    def reject(self, text: str, value: Any = "") -> None:
        if len(self.unknown) < MAX_UNKNOWN:
            shown = f"{text}={value}" if value != "" else text
            self.unknown.append(shown[:_SHOWN])

    def said(self) -> Said:
        flags = MediaFlags(**self.media, extra=frozenset(self.extra))
        return Said(flags, self.command, tuple(self.unknown), frozenset(self.missed))


@functools.lru_cache(maxsize=4096)
def parse_flag(text: str) -> tuple[Flag, str | tuple[str, ...]] | None:
    """`name`, `name=value`, `name=[a b]` or `name-value`: the row and the value, None where no row is meant.

    A value of "" says nothing, on purpose.
    """
    flag = find(text)
    if flag is not None:
        if flag.kind is Kind.SWITCH:
            return flag, "on"
        return None if flag.bare is None else (flag, flag.bare)
    name, equals, value = text.partition("=")
    if equals and (flag := find(name)) is not None:
        if value.startswith("[") and value.endswith("]"):
            return flag, tuple(tokens(value[1:-1]))
        return flag, _unescaped(flag, value)
    spelled = normalise(text)
    end = spelled.rfind("-", 0, LONGEST_NAME + 1)
    while end > 0:
        flag = BY_NAME.get(spelled[:end])
        if flag is not None and flag.kind in _BY_PREFIX:
            value = text[end + 1 :]
            if value and (not flag.choices or normalise(value) in flag.choices):
                return flag, _unescaped(flag, value)
        end = spelled.rfind("-", 0, end)
    return None


def tokens(text: str) -> list[str]:
    """The words of an `rtpp-flags` string; white space within brackets does not part them."""
    found: list[str] = []
    depth = start = 0
    for position, character in enumerate(text):
        if character == "[":
            depth += 1
        elif character == "]":
            depth = max(0, depth - 1)
        elif character.isspace() and not depth:
            if start < position:
                found.append(text[start:position])
            start = position + 1
    if start < len(text):
        found.append(text[start:])
    return found


def _unescaped(flag: Flag, value: str) -> str:
    """Within a flag `--` stands for an equals sign in a codec's options: `codec-set-iLBC/8000/1///mode--30`."""
    return value.replace("--", "=") if flag.group == CODECS else value


def _switched(value: Any) -> bool | None:
    """On, off, or None: neither."""
    if isinstance(value, int):
        return bool(value)
    if isinstance(value, str):
        word = value.lower()
        return True if word in _ON else False if word in _OFF else None
    return None


def _take_switch(options: Options, flag: Flag, value: Any) -> None:
    switched = _switched(value)
    if switched is None:
        options.reject(flag.name, value)
    elif switched and flag.also:
        for text in flag.also:
            options.flag(text)
    elif switched:
        options.store(flag, flag.value)


def _take_text(options: Options, flag: Flag, value: Any) -> None:
    if not isinstance(value, str):
        options.reject(flag.name, value)
        return
    if len(value) > flag.high:
        raise PeerFault(f"{flag.name} is longer than {flag.high} characters")
    options.store(flag, value, value)


def _take_number(options: Options, flag: Flag, value: Any) -> None:
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number > flag.high:
        options.reject(flag.name, value)
    elif number >= flag.low:
        options.store(flag, number, str(number))


def _take_address(options: Options, flag: Flag, value: Any) -> None:
    address = read_address(value)
    if address is None:
        options.reject(flag.name, value)
    else:
        options.store(flag, address)


def read_address(value: Any) -> str | None:
    """`192.0.2.1`, `IP4 192.0.2.1` or `[IP4, 192.0.2.1]`; None: it is no address."""
    text = value[-1] if isinstance(value, list | tuple) and value else value
    try:
        return canonical_address(str(text).split(" ")[-1])
    except ValueError:
        return None


def _take_word(options: Options, flag: Flag, value: Any) -> None:
    word = normalise(value) if isinstance(value, str) else ""
    if word in flag.choices:
        options.store(flag, flag.choices[word], word)
    else:
        options.reject(flag.name, value)


def _take_words(options: Options, flag: Flag, value: Any) -> None:
    words: list[Any] | tuple[Any, ...]
    if isinstance(value, tuple) and normalise("-".join(value)) in flag.choices:
        words = ("-".join(value),)  # `supports=[load limit]`: it is one word
    elif isinstance(value, list | tuple):
        words = value
    elif isinstance(value, str) and flag.choices and normalise(value) not in flag.choices:
        words = _SEPARATORS.split(value.strip())
    else:
        words = (value,)
    for word in words:
        if flag.choices:
            _take_word(options, flag, word)
        else:
            _take_text(options, flag, word)


def _take_table(options: Options, flag: Flag, value: Any) -> None:
    """`codec: {strip: [...]}` is `codec-strip: [...]`; so is `codec=[strip=[...]]`."""
    if isinstance(value, dict):
        for name, member in value.items():
            row = find(f"{flag.name}-{name}")
            if row is None:
                options.reject(f"{flag.name}-{name}")
            elif member is not None:
                _TAKE[row.kind](options, row, member)
    elif isinstance(value, tuple):
        for text in value:
            options.flag(f"{flag.name}-{text}")
    else:
        options.reject(flag.name, value)


def _take_any(options: Options, flag: Flag, value: Any) -> None:
    options.store(flag, value, value if isinstance(value, str) else "")


def _take_flags(options: Options, flag: Flag, value: Any) -> None:
    for text in tokens(value) if isinstance(value, str) else value if isinstance(value, list) else (value,):
        if isinstance(text, str):
            options.flag(text)
        else:
            options.reject(flag.name, text)


def _take_dictionary(options: Options, flag: Flag, value: Any) -> None:
    """A dictionary, or in a flag `name=[audio=[add=[x y] substitute=[[from to]]]]`, or one change of it after the
    other: `name-add-audio-x`, `name-substitute-audio-from>to`.
    """
    if isinstance(value, tuple):
        value = _nested(value)
    if isinstance(value, str):
        value = _change(value)
    if not isinstance(value, dict):
        options.reject(flag.name, value)
        return
    before = options.media.get(flag.target, {})
    options.store(flag, {name: _joined(before.get(name), value.get(name)) for name in {**before, **value}})


def _change(text: str) -> Any:
    """`COMMAND-WHERE-ATTRIBUTE` as a dictionary; `--` stands for an equals sign, `..` for a space."""
    command, _, rest = text.partition("-")
    where, dash, attribute = rest.partition("-")
    attribute = _spaced(attribute)
    if not dash or not attribute:
        return text
    return {where: {command: [attribute.split(">", 1)] if command == "substitute" else [attribute]}}


def _joined(one: Any, other: Any) -> Any:
    """What two changes ask for together; what is no such thing is left to whoever reads it."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other if one is None else one if other is None else other
    return {
        name: [*one[name], *other[name]]
        if isinstance(one.get(name), list) and isinstance(other.get(name), list)
        else other.get(name, one.get(name))
        for name in {**one, **other}
    }


def _nested(words: Iterable[str]) -> Any:
    """Words that are all `name=[...]` make a dictionary, others a list; a word in brackets is a list of its own. Within
    one `--` stands for an equals sign and `..` for a space.
    """
    words = list(words)
    entries = [word.partition("=") for word in words]
    if words and all(equals and value.startswith("[") and value.endswith("]") for _, equals, value in entries):
        return {name: _nested(tokens(value[1:-1])) for name, _, value in entries}
    return [
        _nested(tokens(word[1:-1])) if word.startswith("[") and word.endswith("]") else _spaced(word) for word in words
    ]


def _spaced(word: str) -> str:
    return word.replace("--", "=").replace("..", " ")


_TAKE: dict[Kind, Callable[[Options, Flag, Any], None]] = {
    Kind.SWITCH: _take_switch,
    Kind.TEXT: _take_text,
    Kind.NUMBER: _take_number,
    Kind.ADDRESS: _take_address,
    Kind.WORD: _take_word,
    Kind.WORDS: _take_words,
    Kind.TABLE: _take_table,
    Kind.ANY: _take_any,
    Kind.DICTIONARY: _take_dictionary,
    Kind.FLAGS: _take_flags,
}
