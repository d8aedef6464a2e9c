"""Taking over from a predecessor: its journal says which calls there are, the data plane which flows it has left.

Ports are opened again; flows that still stand as planned are not touched, missing ones are put back, those of no call
are removed. Counters and time go on where the data plane has them: a call all of whose flows are still there is as
alive as its last packet says, any other gets a new start, because nothing is known of its packets.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rtprelay.call.call import Call
from rtprelay.core import snapshot
from rtprelay.core.effects import ApplyFlows, OpenPorts, Persist
from rtprelay.core.expiry import schedule
from rtprelay.core.queue import fault
from rtprelay.core.registry import Registry
from rtprelay.core.spoken import lock_spoken
from rtprelay.errors import RelayError
from rtprelay.plan.diff import diff
from rtprelay.plan.flow import Flow, FlowTable


def restore(registry: Registry, records: Iterable[bytes], installed: FlowTable, now: float) -> None:
    calls = _without_merged(registry, list(_read(registry, records)))
    left = {local: _ordered(flow) for local, flow in installed.items()}
    registry.ports.claim(rtp for call in calls for _, media in call.medias() for rtp in media.pairs)
    registry.totals.adopt(left)
    for call in calls:
        registry.put(call, {})
    for local, flow in left.items():
        owner = registry.owners.of(local)
        if owner is not None:
            registry.tables[owner.call_id][local] = flow
    for call in calls:
        try:
            _revive(registry, call, now)
        except Exception as error:
            registry.emit(*fault(error, call.call_id, None))
            registry.forget(call.call_id)
    orphans = {local: flow for local, flow in left.items() if registry.owners.of(local) is None}
    if orphans:
        registry.emit(ApplyFlows(diff(orphans, {})))
    if calls or orphans:
        registry.notify("restored", None, calls=len(calls), adopted=len(left), orphans=len(orphans))


def _revive(registry: Registry, call: Call, now: float) -> None:
    found = registry.tables[call.call_id]
    channels = _lose_channels(registry, call)
    flows = registry.replan(call)
    for _, media in call.medias():
        for rtp in media.pairs:
            # Each by itself: where one is lost, the other is not.
            for local in rtp.pair:
                registry.emit(OpenPorts((local,), media.tos))
    written = {local for local, flow in registry.tables[call.call_id].items() if found.get(local) != flow}
    registry.emit(*flows, *lock_spoken(call, written))
    registry.emit(*registry.transports.sync(registry, call, now))
    if channels:
        registry.emit(registry.persist(call))
    if any(local not in found for local in registry.tables[call.call_id]):
        registry.touch(call.call_id, now)
    schedule(registry, call)


def _lose_channels(registry: Registry, call: Call) -> bool:
    """Keys of media outlive a process, DTLS associations do not: whoever has a data channel needs another one."""
    lost = [party.carrier(media) for party, media in call.medias() if media.channel and media.live]
    for carrier in lost:
        if carrier.dtls is not None:
            carrier.dtls.lost = True
            text = "data channel waits for the next offer or answer"
            registry.notify(text, call.call_id, level="warning", port=str(carrier.local))
    return bool(lost)


def _read(registry: Registry, records: Iterable[bytes]) -> Iterable[Call]:
    for record in records:
        try:
            call = snapshot.decode(record)
        except RelayError as error:
            registry.notify("call lost", None, level="error", reason=error.reason)
            continue
        registry.records[call.call_id] = record
        yield call


def _without_merged(registry: Registry, calls: list[Call]) -> list[Call]:
    """A call that is part of another one has a record of its own only where the predecessor died in the middle."""
    merged = {alias for call in calls for alias in call.aliases}
    for call in calls:
        if call.call_id in merged:
            registry.records.pop(call.call_id, None)
            registry.emit(Persist(call.call_id, None))
    return [call for call in calls if call.call_id not in merged]


def _ordered(flow: Flow) -> Flow:
    """The outputs in the planner's order: a data plane that was told of them one by one may keep another."""
    outputs = tuple(sorted(flow.outputs, key=lambda output: (output.lane or 0, output.source)))
    return flow if outputs == flow.outputs else msgspec.structs.replace(flow, outputs=outputs)
