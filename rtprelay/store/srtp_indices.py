"""How far each SRTP key has been used in userspace, kept beside the journal: what the kernel's pinned maps are for its
own flows.

Written as a whole every second that something moved, by rename; a crash costs the last second. That is harmless:
indices are guessed from the last ones known (RFC 3711 section 3.3.1), and our own are moved on by a margin, unless the
file says that it is the last word. Names are hashes of keys; no key is in the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rtprelay.security.replay import WINDOW, ReplayWindow
from rtprelay.security.srtp import SrtpState

VERSION = 1
_NAME = "srtp-indices"


class _Window(msgspec.Struct, array_like=True):
    highest: int
    seen: bytes
    """More bits than a msgpack number has."""
    bridge: int = 0
    doubtful: bool = False


_Windows = dict[int, _Window]
"""By SSRC."""


class _File(msgspec.Struct, array_like=True):
    version: int
    states: dict[str, tuple[_Windows, _Windows]]
    """RTP and RTCP."""
    settled: bool = False
    """The writer has sent nothing since."""


_decoder = msgspec.msgpack.Decoder(_File)


class SrtpIndices:
    """In the relay's state directory, which only one relay uses at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._written = b""

    def load(self) -> tuple[dict[str, SrtpState], bool]:
        """What was kept last, and whether it is settled; nothing where there is none, or none that can be read."""
        try:
            found = _decoder.decode(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError, ValueError):
            return {}, False
        if found.version != VERSION:
            return {}, False
        states = {name: SrtpState(_unpack(rtp), _unpack(rtcp)) for name, (rtp, rtcp) in found.states.items()}
        return states, found.settled

    def save(self, states: Mapping[str, SrtpState], settled: bool = False) -> None:
        """`settled`: nothing will be sent any more. Raises OSError."""
        packed = {name: (_pack(state.rtp), _pack(state.rtcp)) for name, state in states.items()}
        data = msgspec.msgpack.encode(_File(VERSION, packed, settled))
        if data == self._written:
            return
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        new.replace(self._path)
        self._written = data


def _pack(windows: Mapping[int, ReplayWindow]) -> _Windows:
    return {
        ssrc: _Window(window.highest, window.seen.to_bytes(WINDOW // 8), window.bridge, window.doubtful)
        for ssrc, window in windows.items()
    }


def _unpack(windows: _Windows) -> dict[int, ReplayWindow]:
    return {
        ssrc: ReplayWindow(kept.highest, int.from_bytes(kept.seen), kept.bridge, doubtful=kept.doubtful)
        for ssrc, kept in windows.items()
    }
