"""The `a=` lines of a section by name, and the values shared by reading and writing them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import msgspec


class Direction(enum.StrEnum):
    """Who may send (RFC 8866 section 6.7), as the describing party sees it."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    sends: bool
    receives: bool

    def __init__(self, text: str) -> None:
        # Kept: enumerations are slow to name and to hash their members, and each is asked a dozen times per call.
        self.sends = text in ("sendrecv", "sendonly")
        self.receives = text in ("sendrecv", "recvonly")

    @property
    def reversed(self) -> Direction:
        """The same media seen from the other side (RFC 3264 section 6.1)."""
        return Direction.of(sends=self.receives, receives=self.sends)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


DIRECTIONS: Mapping[str, Direction] = {direction.value: direction for direction in Direction}

ICE_ATTRIBUTES = frozenset(
    {
        "candidate",
        "end-of-candidates",
        "ice-lite",
        "ice-mismatch",
        "ice-options",
        "ice-pacing",
        "ice-pwd",
        "ice-ufrag",
        "remote-candidates",
    }
)
"""RFC 8839 section 5, RFC 8840 section 4."""


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """The attributes of one section, in the order they came."""

    values: Mapping[str, Sequence[str]]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def first(self, name: str) -> str | None:
        """The value of the first attribute of that name: "" for a flag, None when there is none."""
        found = self.values.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self.values.get(name, ()))

    @property
    def direction(self) -> Direction | None:
        for name in self.values:
            if name in DIRECTIONS:
                return DIRECTIONS[name]
        return None


def number(text: str, most: int) -> int | None:
    """The decimal number `text` is, if it is one and at most `most`.

    `int` alone would take signs, underscores, non-ASCII digits, and minutes for a megabyte of them.
    """
    if len(text) > 20 or not text.isascii() or not text.isdigit():
        return None
    value = int(text)
    return value if value <= most else None
