"""`pierce-NAT`: an empty packet to every party that has sent nothing yet, so that its NAT or firewall, or ours, knows
the way before media comes. With every offer and answer that says so; ICE has checks of its own for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rtprelay.call.call import Call
from rtprelay.core.effects import SendDatagram
from rtprelay.core.registry import Registry


def pierce(registry: Registry, call: Call) -> Iterator[SendDatagram]:
    for _, media in call.medias():
        if media.ice is None:
            ways = ((media.local, media.destination), (media.rtcp_socket, media.destination_rtcp))
            for local, destination in dict.fromkeys(ways):
                if local is None or destination is None or local.family is not destination.family:
                    continue
                if local not in registry.totals.in_kernel:
                    yield SendDatagram(local, destination, b"")
