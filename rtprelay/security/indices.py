"""Which indices a key has been used for, and which one a packet stands for (RFC 3711 sections 3.2.3 and 3.3.1).

A key has one keeper of its indices at a time. Where two data planes use a key they ask the same keeper, which takes
each index once and atomically: the same index for two packets would show the XOR of two plain texts, and with GCM give
the key away (RFC 7714 section 10).
"""

from __future__ import annotations

from typing import Protocol

from rtprelay.errors import RelayError
from rtprelay.security.replay import MAX_RTP_INDEX, ReplayWindow, guess_index

MAX_SSRCS = 64
"""Of one key: a flood of SSRCs costs no memory, for only authenticated ones are remembered."""


class SrtpFault(RelayError):
    """The packet must not be passed on. `label` names the counter."""

    label = "srtp_malformed"


class AuthenticationFailed(SrtpFault):
    label = "srtp_auth"


class Replayed(SrtpFault):
    label = "srtp_replay"


class IndexExhausted(SrtpFault):
    """2^48 packets or 2^31 control packets under one key (RFC 3711 section 9.2), or too many sources: no more."""

    label = "srtp_exhausted"


class Indices(Protocol):
    """Of one key in one direction, RTP alone. Everything raises SrtpFault, and has then changed nothing."""

    def arriving(self, ssrc: int, sequence: int) -> int:
        """The index of a packet that has come, not used so far. Nothing changes: it may be forged."""

    def receive(self, ssrc: int, index: int) -> None:
        """Use up the index of a packet that is authentic."""

    def send(self, ssrc: int, sequence: int) -> int:
        """Use up the index that a packet to be sent stands for. It is sent under the index's number, which is another
        than `sequence` once the source has started anew."""


class KeptHere:
    """The keeper inside this process."""

    def __init__(self, windows: dict[int, ReplayWindow]) -> None:
        self._windows = windows
        """By SSRC; changed in place."""

    def arriving(self, ssrc: int, sequence: int) -> int:
        return arriving(self._windows.get(ssrc), sequence)

    def receive(self, ssrc: int, index: int) -> None:
        window = self._window(ssrc)
        check(window, index, MAX_RTP_INDEX)
        window.commit(index)

    def send(self, ssrc: int, sequence: int) -> int:
        window = self._window(ssrc)
        index = window.following(sequence)
        if index is None:
            raise Replayed("index has been used already")
        if index > MAX_RTP_INDEX:
            raise IndexExhausted("the key has been used up")
        return index

    def _window(self, ssrc: int) -> ReplayWindow:
        window = self._windows.get(ssrc)
        if window is None:
            if len(self._windows) >= MAX_SSRCS:
                raise IndexExhausted("too many SSRCs under one key")
            window = self._windows[ssrc] = ReplayWindow()
        return window


def arriving(window: ReplayWindow | None, sequence: int) -> int:
    """The index of a packet that has come from a source of which `window` is known. Raises SrtpFault."""
    if window is None:
        return sequence
    index = guess_index(window.highest, sequence)
    check(window, index, MAX_RTP_INDEX)
    return index


def check(window: ReplayWindow, index: int, limit: int) -> None:
    """Raises SrtpFault where the index must not be used (any more)."""
    if index > limit:
        raise IndexExhausted("the key has been used up")
    if not window.fresh(index):
        raise Replayed("index has been used already")
