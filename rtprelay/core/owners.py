"""Whose local port is whose."""

from __future__ import annotations

import msgspec

from rtprelay.call.call import Call
from rtprelay.values import CallId, Endpoint


class Owner(msgspec.Struct, frozen=True, array_like=True, gc=False):
    call_id: CallId
    party: int
    index: int
    rtcp: bool


class Owners:
    def __init__(self) -> None:
        self._owners: dict[Endpoint, Owner] = {}
        self._pairs: dict[CallId, list[tuple[Endpoint, int, int]]] = {}
        """Of each call the RTP ports, each with its party and media."""

    def of(self, local: Endpoint) -> Owner | None:
        return self._owners.get(local)

    def __len__(self) -> int:
        return len(self._owners)

    def note(self, call: Call) -> None:
        """The call's ports are these, and no others."""
        pairs = [
            (rtp, party.number, media.index)
            for party in call.parties.values()
            for media in party.medias
            for rtp in media.rtp_ports
        ]
        if pairs == self._pairs.get(call.call_id):
            return
        self.forget(call.call_id)
        self._pairs[call.call_id] = pairs
        for rtp, party_number, index in pairs:
            self._owners[rtp] = Owner(call.call_id, party_number, index, False)
            self._owners[rtp.with_port(rtp.port + 1)] = Owner(call.call_id, party_number, index, True)

    def forget(self, call_id: CallId) -> None:
        for rtp, _, _ in self._pairs.pop(call_id, ()):
            del self._owners[rtp]
            del self._owners[rtp.with_port(rtp.port + 1)]
