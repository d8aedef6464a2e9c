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
        self._ports: dict[CallId, tuple[Endpoint, ...]] = {}
        """Of each call all ports."""

    def of(self, local: Endpoint) -> Owner | None:
        return self._owners.get(local)

    def __len__(self) -> int:
        return len(self._owners)

    def note(self, call: Call) -> None:
        """The call's ports are these, and no others."""
        pairs = [(rtp, party.number, media.index) for party, media in call.medias() for rtp in media.pairs]
        if pairs == self._pairs.get(call.call_id):
            return
        self.forget(call.call_id)
        self._pairs[call.call_id] = pairs
        owners = {
            local: Owner(call.call_id, number, index, rtcp)
            for rtp, number, index in pairs
            for local, rtcp in zip(rtp.pair, (False, True), strict=True)
        }
        self._owners.update(owners)
        self._ports[call.call_id] = tuple(owners)

    def ports(self, call_id: CallId) -> tuple[Endpoint, ...]:
        """Of the call, in pairs."""
        return self._ports.get(call_id, ())

    def forget(self, call_id: CallId) -> None:
        if self._pairs.pop(call_id, None) is not None:
            for local in self._ports.pop(call_id):
                del self._owners[local]
