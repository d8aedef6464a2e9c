"""Inputs out of well-formed ones: bits flipped, pieces cut, doubled and put together, words of the language put in.

The same seed gives the same inputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

MAX_LENGTH = 8192
NUMBERS = (b"0", b"-1", b"65535", b"65536", b"4294967296", b"99999999999999999999", b"1e9", b"\xc2\xb2")
AWKWARD = (b"\0", b"\r", b"\n", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"%s", b"\t", b" ", b":", b"=", b"/")


class Mutator:
    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        self._seeds = seeds
        self._words = (*words, *NUMBERS, *AWKWARD)
        self._random = random.Random(seed)
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            *(self._flip, self._cut, self._double, self._insert, self._insert, self._replace, self._splice),
        )

    def inputs(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            data = bytearray(self._random.choice(self._seeds))
            for _ in range(self._random.choice((1, 1, 2, 4, 16))):
                self._random.choice(self._ways)(data)
            yield bytes(data[:MAX_LENGTH])

    def _at(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _piece(self, data: bytearray) -> slice:
        start = self._at(data)
        return slice(start, start + self._random.choice((1, 2, 8, 64, 1024)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _cut(self, data: bytearray) -> None:
        del data[self._piece(data)]

    def _double(self, data: bytearray) -> None:
        start = self._at(data)
        data[start:start] = data[self._piece(data)] * self._random.choice((1, 2, 50))

    def _insert(self, data: bytearray) -> None:
        start = self._at(data)
        data[start:start] = self._random.choice(self._words)

    def _replace(self, data: bytearray) -> None:
        data[self._piece(data)] = self._random.choice(self._words)

    def _splice(self, data: bytearray) -> None:
        other = bytearray(self._random.choice(self._seeds))
        data[self._at(data) :] = other[self._at(other) :]
