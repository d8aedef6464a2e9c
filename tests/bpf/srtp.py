"""SRTP's code in eBPF by itself: ebpf/srtp_test.bpf.c, one packet at a time."""

from __future__ import annotations

import ctypes
import enum
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from rtprelay.kernel.libbpf import Object, Program
from rtprelay.kernel.srtp_keys import srtp_key
from rtprelay.security.replay import ReplayWindow
from rtprelay.security.srtp import SrtpParameters

OBJECT = Path(__file__).parents[2] / "ebpf" / "build" / "srtp_test.bpf.o"
HEADERS = bytes(42)
"""What stands for Ethernet, IPv4 and UDP."""
_PASS = 2


class Fault(enum.IntEnum):
    """enum srtp_fault of lib/srtp.h, and two of the test program."""

    OK = 0
    NO_KEY = 1
    MALFORMED = 2
    FORGED = 3
    REPLAYED = 16
    NO_ROOM = 17


class _Result(ctypes.Structure):
    _fields_ = (
        ("change", ctypes.c_uint64),
        ("index", ctypes.c_uint64),
        ("fault", ctypes.c_uint32),
        ("zero", ctypes.c_uint32),
    )


class _Source(ctypes.Structure):
    _fields_ = (("highest", ctypes.c_uint64), ("window", ctypes.c_uint64 * 2))


class SrtpPrograms:
    """protect() and unprotect() under one key and one set of indices: a direction, like a SrtpContext."""

    def __init__(self) -> None:
        self._object = Object(OBJECT)
        self._object.load()
        maps, programs = self._object.maps, self._object.programs
        self._key, self._result = maps["srtp_test_key"], maps["srtp_test_result"]
        self._sources = maps["srtp_test_sources"]
        self._protect, self._unprotect = programs["srtp_test_protect"], programs["srtp_test_unprotect"]
        self.change = 0
        """Of the sum of the UDP payload, by the last packet that was treated."""

    def use(self, parameters: SrtpParameters) -> Self:
        """A new direction, with this key."""
        return self.use_key(srtp_key(parameters))

    def use_key(self, key: bytes) -> Self:
        self._key.update(bytes(4), key)
        for source in list(self._sources.keys()):
            self._sources.delete(source)
        return self

    def seed(self, ssrc: int, window: ReplayWindow) -> None:
        """Go on from here."""
        halves = (ctypes.c_uint64 * 2)(window.seen & (1 << 64) - 1, window.seen >> 64)
        self._sources.update(ssrc.to_bytes(4, "little"), bytes(_Source(window.highest, halves)))

    def window(self, ssrc: int) -> ReplayWindow | None:
        raw = self._sources.lookup(ssrc.to_bytes(4, "little"))
        if raw is None:
            return None
        source = _Source.from_buffer_copy(raw)
        return ReplayWindow(source.highest, source.window[0] | source.window[1] << 64)

    def protect(self, packet: bytes) -> bytes | Fault:
        return self._run(self._protect, packet)

    def unprotect(self, packet: bytes) -> bytes | Fault:
        return self._run(self._unprotect, packet)

    def _run(self, program: Program, packet: bytes) -> bytes | Fault:
        run = program.test_run(HEADERS + packet)
        result = _Result.from_buffer_copy(self._result.lookup(bytes(4)) or b"")
        self.change = result.change
        return run.data[len(HEADERS) :] if run.verdict == _PASS else Fault(result.fault)

    def close(self) -> None:
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def require_srtp_programs() -> None:
    if os.geteuid() != 0:
        pytest.skip("loading eBPF programs needs root")
    if not OBJECT.exists():
        pytest.skip("not built: make -C ebpf build/srtp_test.bpf.o")
