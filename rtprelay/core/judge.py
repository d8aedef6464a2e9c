"""Packets the data plane hands up: RTP and RTCP of unexpected sources are judged, what is no RTP goes its own way."""

from __future__ import annotations

from collections.abc import Iterable

from rtprelay.call.call import Call
from rtprelay.call.media import Media
from rtprelay.core.effects import Effect, Notify, ReadFlows, Reinject
from rtprelay.core.learning import Judgement
from rtprelay.core.opaque import pass_on
from rtprelay.core.registry import Registry
from rtprelay.core.transports import Key
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint
from rtprelay.wire.demux import PacketKind, classify


def judge(registry: Registry, local: Endpoint, source: Endpoint, data: bytes, now: float) -> None:
    owned = registry.owned(local)
    if owned is None or not registry.policy.permits(source):
        return
    owner, call, media = owned
    if media.opaque:
        pass_on(registry, owner, call, media, local, source, data)
        return
    key = Key(call.call_id, owner.party, owner.index)
    match classify(data):
        case PacketKind.STUN:
            registry.transports.stun(registry, key, local, source, data, now)
        case PacketKind.DTLS:
            registry.transports.dtls(registry, key, local, source, data, now)
        case PacketKind.RTP | PacketKind.RTCP if media.by_ice:
            _judge_by_ice(registry, key, call, media, local, source, data, now)
        case PacketKind.RTP | PacketKind.RTCP if media.secure and media.crypto_receive is None:
            pass  # before there are keys nobody can show who he is
        case PacketKind.RTP if not owner.rtcp:
            _judge_rtp(registry, call, media, local, source, data, now)
        case PacketKind.RTCP:
            _judge_rtcp(registry, call, media, local, source, data)


def _judge_by_ice(
    registry: Registry,
    key: Key,
    call: Call,
    media: Media,
    local: Endpoint,
    source: Endpoint,
    data: bytes,
    now: float,
) -> None:
    """The party sends from another pair that is valid: nobody else is believed, and nothing is learned."""
    if not registry.transports.verified(key, local, source):
        return
    if local in media.rtp_ports and (local, source) != (media.local, media.source):
        media.use(local, source)
    elif local == media.local_rtcp and source != media.source_rtcp:
        media.source_rtcp = source
    else:
        return
    registry.emit(*_adopted(registry, call, local, source, [data]))
    registry.transports.moved(registry, key, local, source, now)


def _judge_rtp(
    registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint, data: bytes, now: float
) -> None:
    if source == media.expected:
        if media.waiting:
            media.waiting = False
            registry.emit(*_adopted(registry, call, local, source, [data]))
        return  # not refused for its source
    if source == media.remote:
        media.forget_sources()
        media.heard = source
        media.waiting = False
        registry.learning.forget((local,))
        registry.emit(*_adopted(registry, call, local, source, [data]))
        return
    flow = registry.tables[call.call_id].get(local)
    payload_types = frozenset(rule.payload_type for rule in flow.payloads) if flow is not None else frozenset()
    judgement = registry.learning.observe(media, local, payload_types, source, data, now)
    if judgement is Judgement.RIPE:
        registry.emit(ReadFlows((local,)))
        registry.queue.later(lambda: _adopt_if_silent(registry, call, media, local, source), call.call_id)


def _adopt_if_silent(
    registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint
) -> Iterable[Effect]:
    since = registry.learning.since(local, source)
    report = registry.fresh.get(local)
    if since is None or report is None:
        return ()  # what the data plane has heard is not known now: the next packet will be judged as well
    if report.spoken and (not media.media_handover or report.last_packet >= since):
        registry.learning.forget((local,))
        return ()
    media.source = source
    media.source_rtcp = None
    media.waiting = False
    return _adopted(registry, call, local, source, registry.learning.take(local, source))


def _judge_rtcp(registry: Registry, call: Call, media: Media, local: Endpoint, source: Endpoint, data: bytes) -> None:
    """RTCP follows RTP: same host, and never where RTP and RTCP share a port (there RTP alone decides)."""
    expected = media.expected
    if media.learning is EndpointLearning.OFF or media.rtcp_mux or local != media.local_rtcp:
        return
    if expected is None or source == media.expected_rtcp or source.address != expected.address:
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
