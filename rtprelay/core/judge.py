"""Packets the data plane hands up: unexpected sources are judged, datagrams that are no RTP are passed on."""

from __future__ import annotations

from collections.abc import Iterable

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core.effects import Effect, Notify, ReadFlows, Reinject, SendDatagram
from rtprelay.core.learning import Judgement
from rtprelay.core.registry import Owner, Registry
from rtprelay.values import Endpoint
from rtprelay.wire.demux import PacketKind, classify


def judge(registry: Registry, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
    owned = registry.owned(local)
    if owned is None:
        return
    owner, call, media = owned
    if not media.rtp:
        _pass_on(registry, owner, call, media, source, data)
        return
    match classify(data):
        case PacketKind.RTP if not owner.rtcp:
            _judge_rtp(registry, call, media, local, source, data, now)
        case PacketKind.RTCP:
            _judge_rtcp(registry, call, media, local, source, data)


def _pass_on(registry: Registry, owner: Owner, call: Call, media: Media, source: Endpoint, data: bytes) -> None:
    """UDPTL, DTLS/SCTP: from the party's own host only, for there is nothing in the packet to judge it by."""
    expected = media.expected
    if expected is None or source.address not in (expected.address, media.hint):
        return
    for subscription in call.subscriptions:
        if (subscription.source.party, subscription.source.index) != (owner.party, owner.index):
            continue
        sink = call.media(subscription.sink)
        if sink is not None and sink.local is not None and sink.destination is not None:
            registry.emit(SendDatagram(sink.local, sink.destination, data))


def _judge_rtp(
    registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint, data: bytes, now: float
) -> None:
    if source == media.expected:
        return  # not refused for its source
    if source == media.remote:
        media.forget_sources()
        registry.emit(*_adopted(registry, call, local, source, [data]))
        return
    flow = registry.tables[call.call_id].get(local)
    payload_types = frozenset(rule.payload_type for rule in flow.payloads) if flow is not None else frozenset()
    judgement = registry.learning.observe(media, local, payload_types, source, data, now)
    if judgement is Judgement.RIPE:
        registry.emit(ReadFlows((local,)))
        registry.later(lambda: _adopt_if_silent(registry, call, media, local, source))


def _adopt_if_silent(
    registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint
) -> Iterable[Effect]:
    candidate = registry.learning.candidate(local, source)
    if candidate is None:
        return ()
    report = registry.fresh.get(local)
    registry.learning.forget(local)
    if report is not None and report.spoken and (not media.media_handover or report.last_packet >= candidate.since):
        return ()
    media.source = source
    media.source_rtcp = None
    return _adopted(registry, call, local, source, candidate.kept)


def _judge_rtcp(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint, data: bytes) -> None:
    """RTCP follows RTP: same host, and never where RTP and RTCP share a port (there RTP alone decides)."""
    expected = media.expected
    if media.rtcp_mux or expected is None or source == media.expected_rtcp or source.address != expected.address:
        return
    media.source_rtcp = None if source == media.remote_rtcp else source
    registry.emit(*_adopted(registry, call, local, source, [data]))


def _adopted(
    registry: Registry, call: Call, local: Endpoint, source: Endpoint, packets: list[bytes]
) -> Iterable[Effect]:
    """The source is the party's from now on; what it sent meanwhile goes its way."""
    return (
        *registry.replan(call),
        registry.persist(call),
        Notify("source learned", call.call_id, {"port": str(local), "source": str(source)}),
        *(Reinject(local, source, packet) for packet in packets),
    )
