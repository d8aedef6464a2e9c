"""A call as `query` and `delete` show it, read off the call and the counters that ReadFlows has just brought in."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from rtprelay.call.call import Call, MediaKey, Party, SubscriptionKind
from rtprelay.call.media import Media
from rtprelay.core.registry import Registry
from rtprelay.plan.flow import FlowReport, SsrcReport
from rtprelay.plan.quality import Heard, Hearing
from rtprelay.sdp.attributes import Direction
from rtprelay.signalling import query as view
from rtprelay.signalling.command import Body
from rtprelay.values import Endpoint

_NOTHING = view.Counts()


def query(registry: Registry, call: Call, parties: Collection[Party]) -> Body:
    """The reply about these parties of the call."""
    reader = _Reader(registry, call)
    return view.query(
        view.CallView(
            created_us=round(call.created * 1_000_000),
            last_signal=int(call.last_signal),
            tags=tuple(reader.tag(party) for party in parties),
            hearings=reader.hearings(parties),
            metadata=next((party.metadata for party in call.parties.values() if party.metadata), ""),
        )
    )


class _Reader:
    def __init__(self, registry: Registry, call: Call) -> None:
        self._call = call
        self._wall = registry.wall
        table = registry.tables.get(call.call_id, {})
        self._reports = {local: registry.fresh[local] for local in table if local in registry.fresh}
        self._sent: dict[Endpoint, view.Counts] = {}
        for report in self._reports.values():
            for output in report.outputs:
                counts = view.Counts(output.packets, output.bytes, output.errors)
                others = self._sent.get(output.source)
                self._sent[output.source] = counts if others is None else others + counts
        self._heard = any(report.ssrcs for report in self._reports.values())

    def tag(self, party: Party) -> view.TagView:
        return view.TagView(
            tag=party.tag,
            created=int(party.created),
            via_branch=party.via_branch,
            label=party.label or "",
            metadata=party.metadata or "",
            subscriptions=self._others(party, sources=True),
            subscribers=self._others(party, sources=False),
            medias=tuple(self._media(party, media) for media in party.medias),
        )

    def hearings(self, parties: Iterable[Party]) -> tuple[view.HearingView, ...]:
        """What these parties have reported of what they hear."""
        ports = (media.rtcp_socket for party in parties for media in party.medias)
        reports = (self._reports.get(local) for local in dict.fromkeys(ports) if local is not None)
        return tuple(self._hearing(hearing) for report in reports if report is not None for hearing in report.hearings)

    def _hearing(self, hearing: Hearing) -> view.HearingView:
        return view.HearingView(
            ssrc=hearing.ssrc,
            lost=hearing.lost,
            samples=hearing.score.count,
            average=view.Impression(
                score=hearing.score.average,
                round_trip=hearing.round_trip.average,
                leg=hearing.leg.average,
                jitter=hearing.jitter.average,
                loss=hearing.loss.average,
            ),
            lowest=self._impression(hearing.lowest),
            highest=self._impression(hearing.highest),
        )

    def _impression(self, heard: Heard) -> view.Impression:
        return view.Impression(
            score=heard.score,
            round_trip=heard.round_trip,
            leg=heard.leg,
            jitter=heard.jitter,
            loss=heard.loss,
            reported_at=int(self._wall(heard.at)),
        )

    def _others(self, party: Party, *, sources: bool) -> tuple[view.Subscription, ...]:
        found: dict[tuple[int, SubscriptionKind], None] = {}
        for s in self._call.subscriptions:
            mine, other = (s.sink.party, s.source.party) if sources else (s.source.party, s.sink.party)
            if mine == party.number:
                found[other, s.kind] = None
        return tuple(view.Subscription(self._call.parties[other].tag, kind.value) for other, kind in found)

    def _media(self, party: Party, media: Media) -> view.MediaView:
        ingress = self._ingress(media)
        return view.MediaView(
            index=media.index + 1,
            type=media.kind,
            protocol=media.protocol,
            codec=media.codecs[0].rtpmap if media.codecs else "",
            label=media.label or "",
            streams=tuple(self._streams(media, ingress)),
            flags=tuple(_media_flags(media, self._agreed(party, media))),
            ingress=ingress,
            egress=tuple(self._egress(MediaKey(party.number, media.index))),
        )

    def _agreed(self, party: Party, media: Media) -> Direction:
        """The party's direction, as far as the other side has accepted it (RFC 3264 section 6.1)."""
        partner = self._call.partner(party)
        if partner is None or media.index >= len(partner.medias):
            return media.direction
        other = partner.medias[media.index].direction
        return Direction.of(
            sends=media.direction.sends and other.receives, receives=media.direction.receives and other.sends
        )

    def _ingress(self, media: Media | None) -> tuple[view.SsrcView, ...]:
        report = self._reports.get(media.local) if media is not None and media.local is not None else None
        return tuple(map(_ssrc, report.ssrcs)) if report is not None and report.ssrcs else ()

    def _egress(self, sink: MediaKey) -> Iterable[view.SsrcView]:
        for s in self._call.subscriptions if self._heard else ():
            if s.sink == sink:
                for ssrc in self._ingress(self._call.media(s.source)):
                    yield ssrc if s.ssrc is None else msgspec.structs.replace(ssrc, ssrc=s.ssrc)

    def _streams(self, media: Media, ingress: tuple[view.SsrcView, ...]) -> Iterable[view.StreamView]:
        rtp = self._reports.get(media.local) if media.local is not None else None
        suite = media.crypto_receive.suite.name if media.crypto_receive is not None else ""
        by_ice = media.ice is not None
        yield self._stream(
            "RTP", media.local, media.destination, media.remote, media.source, rtp, ingress, suite, by_ice=by_ice
        )
        if not media.rtp:
            return
        rtcp = self._reports.get(media.local_rtcp) if media.local_rtcp is not None else None
        yield self._stream(
            "RTCP",
            media.rtcp_socket,
            media.destination_rtcp,
            media.remote if media.rtcp_mux else media.remote_rtcp,
            media.source if media.rtcp_mux else media.source_rtcp,
            rtp if media.rtcp_mux else rtcp,
            ingress,
            suite,
            by_ice=by_ice,
        )

    def _stream(
        self,
        kind: str,
        local: Endpoint | None,
        endpoint: Endpoint | None,
        advertised: Endpoint | None,
        learned: Endpoint | None,
        report: FlowReport | None,
        ingress: tuple[view.SsrcView, ...],
        suite: str,
        *,
        by_ice: bool,
    ) -> view.StreamView:
        flags = [kind]
        if endpoint is not None or advertised is not None:
            flags.append("filled")
        # With ICE only a pair confirms an address, and it does so for as long as its peer consents (RFC 7675).
        confirmed = learned is not None or (report is not None and report.spoken and not by_ice)
        if confirmed:
            flags.append("confirmed")
        if report is not None and report.in_kernel:
            flags.append("kernelized")
        elif confirmed:
            flags.append("no kernel support")
        received, last, by_kernel, by_user = _NOTHING, 0, False, False
        if report is not None:
            received = _received(kind, report)
            last = int(self._wall(report.last_packet)) if report.last_packet else 0
            by_kernel, by_user = report.kernel_packets > 0, report.packets > report.kernel_packets
        return view.StreamView(
            local=local,
            endpoint=endpoint or advertised,
            advertised=advertised,
            crypto_suite=suite,
            last_packet=last,
            last_kernel_packet=last if by_kernel else 0,
            last_user_packet=last if by_user else 0,
            ssrc=ingress[-1].ssrc if ingress else None,
            flags=tuple(flags),
            received=received,
            sent=self._sent.get(local, _NOTHING) if local is not None and kind == "RTP" else _NOTHING,
        )


def _received(kind: str, report: FlowReport) -> view.Counts:
    """RTP and RTCP may share a port."""
    if kind == "RTCP":
        return view.Counts(
            report.rtcp_packets, report.rtcp_bytes, report.dropped if report.packets == report.rtcp_packets else 0
        )
    return view.Counts(report.packets - report.rtcp_packets, report.bytes - report.rtcp_bytes, report.dropped)


def _media_flags(media: Media, direction: Direction) -> Iterable[str]:
    """What the party sends is what the relay receives."""
    if media.remote is not None or media.held:
        yield "initialized"
    if media.rtcp_mux:
        yield "rtcp-mux"
    if media.dtls is not None and media.dtls.fingerprints:
        yield "DTLS-SRTP"
        yield f"DTLS role {media.dtls.setup}"
    elif media.crypto_receive is not None:
        yield "SDES"
    if media.asymmetric:
        yield "asymmetric"
    if media.passthrough:
        yield "passthrough"
    if media.ice is not None and media.ice.remote is not None:
        yield "ICE"
    if direction.receives and not media.held:
        yield "send"
    if direction.sends:
        yield "recv"


def _ssrc(report: SsrcReport) -> view.SsrcView:
    return view.SsrcView(
        ssrc=report.ssrc,
        packets=report.packets,
        bytes=report.bytes,
        last_timestamp=report.last_timestamp,
        last_sequence=report.highest_sequence & 0xFFFF,
    )
