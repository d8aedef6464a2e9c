"""What `query` and `statistics` say, read off the registry."""

from __future__ import annotations

from rtprelay.call.call import Call
from rtprelay.core.registry import Registry
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body


def query(registry: Registry, call: Call) -> Body:
    """The call with the counters a ReadFlows has just brought in."""
    created = call.created
    rtp = {"packets": 0, "bytes": 0, "errors": 0}
    for local in registry.tables.get(call.call_id, {}):
        report = registry.fresh.get(local)
        if report is not None:
            rtp["packets"] += report.packets
            rtp["bytes"] += report.bytes
            rtp["errors"] += report.dropped
    return reply.ok(created=int(created), totals={"RTP": rtp})


def statistics(registry: Registry, now: float) -> Body:
    return reply.ok(statistics={"currentstatistics": {"sessionsown": len(registry.calls)}})
