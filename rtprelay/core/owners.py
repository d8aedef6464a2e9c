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
        self._ports: dict[CallId, list[Endpoint]] = {}

    def of(self, local: Endpoint) -> Owner | None:
        return self._owners.get(local)

    def __len__(self) -> int:
        return len(self._owners)

    def note(self, call: Call) -> None:
        """The call's ports are these, and no others."""
        self.forget(call.call_id)
        ports = self._ports[call.call_id] = []
        for party, media in call.medias():
            for rtp in media.rtp_ports:
                for local, rtcp in ((rtp, False), (rtp.with_port(rtp.port + 1), True)):
                    self._owners[local] = Owner(call.call_id, party.number, media.index, rtcp)
                    ports.append(local)

    def forget(self, call_id: CallId) -> None:
        for local in self._ports.pop(call_id, ()):
            del self._owners[local]
