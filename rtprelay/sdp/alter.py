"""Attribute lines added, removed and substituted as an operator says (`sdp-attr`), in an SDP that is otherwise
finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rtprelay.errors import PeerFault
from rtprelay.sdp.document import Line, Section, SessionDescription

MAX_CHANGES = 256
SESSION = ("none", "global", "session")
"""Names of the session section; any other is the kind of a media section."""


class AttributeChanges(msgspec.Struct, frozen=True):
    """Attributes without the `a=`. A line `a=foo:bar baz` is meant by `foo:bar baz`, by `foo:bar` and by `foo`."""

    add: tuple[str, ...] = ()
    """Whole ones, `ptime:20`; what is there already is not added again."""
    remove: frozenset[str] = frozenset()
    substitute: Mapping[str, str] = {}
    """By the attribute, the whole one in its place."""


def read_changes(value: Mapping[str, Any]) -> dict[str, AttributeChanges]:
    """From `{audio: {add: [...], remove: [...], substitute: [[from, to], ...]}}`. Raises PeerFault naming what is
    wrong.
    """
    changes = {}
    for name, rules in value.items():
        if not isinstance(rules, Mapping):
            raise PeerFault(f"sdp-attr: {name} is no dictionary")
        unknown = set(rules) - {"add", "remove", "substitute"}
        if unknown:
            raise PeerFault(f"sdp-attr: {name}: unknown change {min(unknown)!r}")
        pairs = _pairs(rules.get("substitute", ()), name)
        key = "session" if name in SESSION else name
        changes[key] = AttributeChanges(
            add=_texts(rules.get("add", ()), name),
            remove=frozenset(_texts(rules.get("remove", ()), name)),
            substitute={pair[0]: pair[1] for pair in pairs},
        )
    return changes


def alter(text: str, changes: Mapping[str, AttributeChanges]) -> str:
    """The text with the changes made; sections nobody named come back byte for byte."""
    document = SessionDescription.parse(text)
    out = [_section(document.session, changes.get("session"))]
    for section in document.media:
        out.append(_section(section, changes.get(section.own[0].value.split(" ", 1)[0])))
    return "".join(out)


def _section(section: Section, changes: AttributeChanges | None) -> str:
    if changes is None:
        return str(section)
    lines = [_line(line, changes) for line in section.lines]
    ending = section.own[0].ending or "\r\n"
    added = (f"a={attribute}{ending}" for attribute in dict.fromkeys(changes.add))
    return "".join((*lines, *(line for line in added if line not in lines)))


def _line(line: Line, changes: AttributeChanges) -> str:
    if line.type != "a":
        return str(line)
    for name in dict.fromkeys((line.value, line.value.split(" ", 1)[0], line.name, f"{line.name}:")):
        if name in changes.remove:
            return ""
        if name in changes.substitute:
            return f"a={changes.substitute[name]}{line.ending}"
    return str(line)


def _pairs(value: object, name: str) -> list[tuple[str, ...]]:
    """Of one substitution, or of several."""
    given = _list(value, name)
    pairs = [_texts(given, name)] if any(isinstance(item, str) for item in given) else [_texts(i, name) for i in given]
    if any(len(pair) != 2 for pair in pairs):
        raise PeerFault(f"sdp-attr: {name}: substitute takes pairs")
    return pairs


def _list(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list | tuple) or len(value) > MAX_CHANGES:
        raise PeerFault(f"sdp-attr: {name}: not a list of at most {MAX_CHANGES}")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    texts = tuple(text for text in _list(value, name) if isinstance(text, str))
    if len(texts) != len(_list(value, name)) or any(not text or not text.isprintable() for text in texts):
        raise PeerFault(f"sdp-attr: {name}: not texts of one line")
    return texts
