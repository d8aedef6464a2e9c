"""SHA-1's inner state: two ways to it, and what either is worth."""

from __future__ import annotations

import ctypes.util
import hashlib
import os
import struct

import pytest

from rtprelay.kernel import sha1


def finished(block: bytes) -> bytes:
    """The digest of up to 55 bytes is the state after their only block, padding included (FIPS 180-4 section 5.1.1)."""
    return struct.pack("!5I", *sha1.by_ourselves(block))


@pytest.mark.parametrize("length", [0, 1, 20, 55])
def test_the_state_after_a_padded_block_is_its_digest(length: int) -> None:
    text = os.urandom(length)
    padded = (text + b"\x80").ljust(56, b"\0") + (8 * length).to_bytes(8)
    assert finished(padded) == hashlib.sha1(text).digest()


def test_the_library_says_the_same() -> None:
    library = sha1.by_library()
    if library is None:
        pytest.skip(f"no {sha1.LIBRARY} with its old interface")
    for _ in range(100):
        block = os.urandom(64)
        assert library(block) == sha1.by_ourselves(block)


@pytest.mark.parametrize("library", ["no-such-library.so", ctypes.util.find_library("c") or ""])
def test_without_it_we_do_it_ourselves(library: str) -> None:
    """A library that is missing, and one that has none of it."""
    assert sha1.by_library(library) is None
