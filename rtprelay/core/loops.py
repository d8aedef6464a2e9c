"""A packet must leave the relay in the end: chains of flows over our own ports are fine, circles are not.

Two calls may meet on one relay (a B2BUA on the same host); the destination of the one is then a local port of the
other. Calls whose SDP names each other's ports in a circle would forward a packet for ever, inside the kernel, where
nothing counts hops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rtprelay.plan.flow import Flow
from rtprelay.values import Endpoint

MAX_CHAIN = 8
"""Flows one after the other on this relay."""


def leads_back(flow: Flow, follow: Callable[[Endpoint], Flow | None]) -> bool:
    """True if a packet entering `flow` could come back to it, or runs through more than MAX_CHAIN of our own flows.

    `follow` gives the flow at an endpoint of ours, None for any other endpoint.
    """
    front = _next_hops([flow], follow)
    for _ in range(MAX_CHAIN):
        if flow.local in front:
            return True
        if not front:
            return False
        front = _next_hops(front.values(), follow)
    return True


def _next_hops(flows: Iterable[Flow], follow: Callable[[Endpoint], Flow | None]) -> dict[Endpoint, Flow]:
    destinations = {output.destination for flow in flows for output in (*flow.outputs, *flow.rtcp_outputs)}
    return {hop.local: hop for hop in map(follow, destinations) if hop is not None}
