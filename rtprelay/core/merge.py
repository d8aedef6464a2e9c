"""Two calls become one, so that a party of the one can be connected to one of the other: `connect` with `to-call-id`.

The parties of the second call are the first one's from then on, with their ports, flows, paths and keys as they are;
its call-id is another name of the first call. Nothing that is forwarded changes. In the journal the larger record comes
first: a process that dies between the two leaves both, and its successor passes the second one over (core/restore.py).
"""

from __future__ import annotations

from rtprelay.call.call import Call
from rtprelay.core.effects import Persist
from rtprelay.core.expiry import schedule
from rtprelay.core.registry import Registry
from rtprelay.errors import PeerFault


def merge(registry: Registry, call: Call, other: Call) -> None:
    """Raises PeerFault where a tag would stand for two parties; nothing has changed then."""
    common = {party.tag for party in call.parties.values()} & {party.tag for party in other.parties.values()} - {""}
    if common:
        raise PeerFault(f"Both calls have a party with the tag {min(common)!r}")
    registry.absorb(call, other)
    schedule(registry, call)
    registry.emit(*registry.replan(call), registry.persist(call), Persist(other.call_id, None))
    registry.notify("merged", call.call_id, other=other.call_id)
