"""SRTP keys in the programs' maps: who uses which, and how far each has been used.

A key has a place for as long as anyone uses it: flows that come in under it, outputs that go out under it. The indices
used under it (RFC 3711 section 3.2.3) are kept at the same place; they start where userspace has left off. As long as
the place exists, there is no other record: for a packet that has come up userspace takes an index there as well, by
`claim`, so that none is used twice whoever is faster. When the kernel's last user has left, and no program can be
looking any more, userspace is told how far they have come, and the key is zeroed.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import msgspec

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import Map, Program
from rtprelay.kernel.slots import AfterGrace, Blocks
from rtprelay.kernel.srtp_keys import NO_KEY, parameters_of, srtp_key
from rtprelay.security.indices import IndexExhausted, Indices, Replayed, arriving
from rtprelay.security.replay import ReplayWindow
from rtprelay.security.srtp import Direction, SrtpContexts, SrtpParameters

_NO_STATE = bytes(ctypes.sizeof(abi.SrtpState))
_USED = 1 << 32
_SSRC = _USED - 1
_WORD = (1 << 64) - 1
_RESTART, _NUMBER = 1 << 16, (1 << 16) - 1
"""Of SrtpStream.restart."""


class _Place(msgspec.Struct):
    index: int
    users: int = 0
    left: int = 0
    """How often it has been without users."""


class KeyPrograms(NamedTuple):
    """Of `ebpf/claim.bpf.c`."""

    claim: Program
    forget: Program


class KeptInKernel:
    """The indices of a key that the programs use: an `Indices`."""

    def __init__(self, ring: Keyring, index: int) -> None:
        self._ring = ring
        self._index = index

    def arriving(self, ssrc: int, sequence: int) -> int:
        return arriving(self._ring.window(self._index, ssrc), sequence)

    def receive(self, ssrc: int, index: int) -> None:
        self._ring.take(abi.SrtpClaim(key=self._index, ssrc=ssrc, index=index))

    def send(self, ssrc: int, sequence: int) -> int:
        return self._ring.take(abi.SrtpClaim(key=self._index, ssrc=ssrc, sequence=sequence, sending=1))


class Keyring:
    """Owns the contents of the key maps."""

    def __init__(
        self, maps: dict[str, Map], userspace: SrtpContexts, programs: KeyPrograms, after_grace: AfterGrace
    ) -> None:
        self._keys = maps["rtprelay_srtp_keys"]
        self._state = maps["rtprelay_srtp_state"]
        self._streams = maps["rtprelay_srtp_streams"]
        self._userspace = userspace
        self._programs = programs
        self._after_grace = after_grace
        self._indices = Blocks(self._keys.max_entries, "SRTP keys")
        self._places: dict[tuple[Direction, SrtpParameters], _Place] = {}

    def acquire(self, direction: Direction, parameters: SrtpParameters | None) -> int:
        """The key's place, NONE for no key. Raises BackendFault where there is no room."""
        if parameters is None:
            return abi.NONE
        place = self._places.get((direction, parameters))
        if place is None:
            place = _Place(self._indices.take(0))
            self._write(place.index, parameters, self._userspace.known(direction, parameters))
            self._places[direction, parameters] = place
        place.users += 1
        return place.index

    def place(self, direction: Direction, parameters: SrtpParameters | None) -> int:
        """Of a key in use; NONE for no key."""
        return abi.NONE if parameters is None else self._places[direction, parameters].index

    def release(self, direction: Direction, parameters: SrtpParameters | None) -> None:
        if parameters is None:
            return
        place = self._places[direction, parameters]
        place.users -= 1
        if not place.users:
            place.left += 1
            left = place.left
            self._after_grace(self._give_up, direction, parameters, left)

    def _give_up(self, direction: Direction, parameters: SrtpParameters, left: int) -> None:
        """Unless somebody has taken it up meanwhile."""
        place = self._places[direction, parameters]
        if place.users or place.left != left:
            return
        del self._places[direction, parameters]
        self._userspace.learn(direction, parameters, self._windows(place.index))
        self._forget(place.index)

    def adopt(self, direction: Direction, index: int) -> SrtpParameters | None:
        """The key a predecessor has left at a place; it is in use from now on, but has no user yet."""
        if index == abi.NONE:
            return None
        parameters = parameters_of(self._keys.lookup(_number(index)) or NO_KEY)
        if parameters is not None and (direction, parameters) not in self._places:
            if not self._indices.claim(index, 0):
                return None
            self._places[direction, parameters] = _Place(index)
        return parameters

    def sweep(self) -> None:
        """Once all are adopted: the others are what a predecessor was about to give up."""
        kept = {_number(place.index) for place in self._places.values()}
        used = {number for number, state in self._state.items() if any(state[:8])}
        for number in (used | set(self._keys.keys())) - kept:
            index = int.from_bytes(number, "little")
            if self._indices.claim(index, 0):
                self._after_grace(self._forget, index)

    def shared(self, direction: Direction, parameters: SrtpParameters) -> Indices | None:
        """The indices of a key that the programs use, or may still be using."""
        place = self._places.get((direction, parameters))
        return None if place is None else KeptInKernel(self, place.index)

    def take(self, claim: abi.SrtpClaim) -> int:
        """Use up an index. Raises SrtpFault."""
        match self._programs.claim.call(claim):
            case 0:
                return claim.index
            case abi.Reason.SRTP_EXHAUSTED:
                raise IndexExhausted("the key has been used up, or by too many sources")
            case _:
                raise Replayed("index has been used already")

    def window(self, index: int, ssrc: int) -> ReplayWindow | None:
        """How far the key at a place has been used for a source."""
        state = self._read(index)
        return _window(state.stream) if state.first == _USED | ssrc else self._further(index, ssrc)

    def _windows(self, index: int) -> dict[int, ReplayWindow]:
        state = self._read(index)
        windows = {ssrc: self._further(index, ssrc) for ssrc in _further_of(state)}
        if state.first:
            windows[state.first & _SSRC] = _window(state.stream)
        return {ssrc: window for ssrc, window in windows.items() if window is not None}

    def _further(self, index: int, ssrc: int) -> ReplayWindow | None:
        value = self._streams.lookup(bytes(abi.SrtpStreamKey(index, ssrc)))
        return _window(abi.SrtpStream.from_buffer_copy(value)) if value is not None else None

    def _read(self, index: int) -> abi.SrtpState:
        return abi.SrtpState.from_buffer_copy(self._state.lookup(_number(index)) or _NO_STATE)

    def _write(self, index: int, parameters: SrtpParameters, known: dict[int, ReplayWindow]) -> None:
        """State first: a key is used from the moment it is there."""
        state = abi.SrtpState()
        for ssrc, window in list(known.items())[: 1 + abi.Limits.MAX_SSRCS]:
            if not state.first:
                state.first = _USED | ssrc
                state.stream = _stream(window)
            else:
                self._streams.update(bytes(abi.SrtpStreamKey(index, ssrc)), bytes(_stream(window)))
                state.further[state.count] = ssrc
                state.count += 1
        self._state.update(_number(index), bytes(state))
        try:
            self._keys.update(_number(index), srtp_key(parameters))
        except BackendFault:
            self._forget(index)
            raise

    def _forget(self, index: int) -> None:
        self._programs.forget.call(abi.SrtpClaim(key=index))
        self._keys.delete(_number(index))
        state = self._read(index)
        for ssrc in _further_of(state):
            self._streams.delete(bytes(abi.SrtpStreamKey(index, ssrc)))
        self._state.update(_number(index), _NO_STATE)
        self._indices.free(index, 0)


def _number(index: int) -> bytes:
    return index.to_bytes(4, "little")


def _further_of(state: abi.SrtpState) -> list[int]:
    """All sources but the first."""
    return list(state.further[: min(state.count, len(state.further))])


def _window(stream: abi.SrtpStream) -> ReplayWindow | None:
    seen = stream.window[0] | stream.window[1] << 64
    if not seen:
        return None
    restart = stream.restart & _NUMBER if stream.restart else -1
    return ReplayWindow(stream.highest, seen, stream.bridge, restart)


def _stream(window: ReplayWindow) -> abi.SrtpStream:
    window.settle()
    stream = abi.SrtpStream(bridge=window.bridge)
    if window.restart >= 0:
        stream.restart = _RESTART | window.restart
    if window.highest >= 0:
        stream.highest = window.highest
        stream.window[0], stream.window[1] = window.seen & _WORD, window.seen >> 64
    return stream
