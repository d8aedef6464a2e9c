"""A call as `query` and `delete` show it, read off the call and the counters that ReadFlows has just brought in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rtprelay.call.call import Call, MediaKey, Party, SubscriptionKind
from rtprelay.call.media import Media
from rtprelay.core.registry import Registry
from rtprelay.plan.flow import FlowReport, SsrcReport
from rtprelay.plan.quality import Heard, Hearing
from rtprelay.signalling import query as view
from rtprelay.signalling.command import Body
from rtprelay.values import Counts, Endpoint

_NOTHING = Counts()


def query(registry: Registry, call: Call, parties: Collection[Party]) -> Body:
    """The reply about these parties of the call."""
    reader = _Reader(registry, call)
    tags = [(party.tag, reader.tag(party)) for party in parties]
    return view.call(
        created_us=round(call.created * 1_000_000),
        last_signal=int(call.last_signal),
        tags=tags,
        sources=reader.sources(parties) if reader.heard_of else {},
        rtp=reader.rtp,
        rtcp=reader.rtcp,
        metadata=next((party.metadata for party in call.parties.values() if party.metadata), ""),
    )


class _Reader:
    def __init__(self, registry: Registry, call: Call) -> None:
        self._call = call
        self._wall = registry.wall
        fresh, table = registry.fresh, registry.tables.get(call.call_id, {})
        self._reports = {local: fresh[local] for local in table if local in fresh}
        self._sent: dict[Endpoint, Counts] = {}
        self._ssrcs: dict[Endpoint, list[view.Source]] = {}
        """What has come to each port."""
        self.rtp, self.rtcp = call.retired_rtp, call.retired_rtcp
        """What the streams read so far have received, and those of the call that are no more."""
        self.heard_of = False
        """There are SSRCs to be told of."""
        for local, report in self._reports.items():
            for output in report.outputs:
                counts = Counts(output.packets, output.bytes, output.errors)
                others = self._sent.get(output.source)
                self._sent[output.source] = counts if others is None else others + counts
            if report.ssrcs:
                self._ssrcs[local] = [_source(ssrc) for ssrc in report.ssrcs]
            if report.ssrcs or report.hearings:
                self.heard_of = True
        self._partners: dict[int, int] = {}
        """By a party's number that of the one it is in an offer/answer dialogue with."""
        self._sources: dict[int, list[view.Other]] = {number: [] for number in call.parties}
        self._sinks: dict[int, list[view.Other]] = {number: [] for number in call.parties}
        """Whom each party hears, and who hears it, each once."""
        self._look_at_subscriptions()

    def _look_at_subscriptions(self) -> None:
        parties, known = self._call.parties, set()
        for subscription in self._call.subscriptions:
            source, sink = subscription.source.party, subscription.sink.party
            in_dialogue = subscription.kind is SubscriptionKind.OFFER_ANSWER
            if in_dialogue:
                self._partners.setdefault(sink, source)
            way = (source, sink, in_dialogue)
            if way not in known:
                known.add(way)
                kind = "offer/answer" if in_dialogue else "pub/sub"
                self._sources[sink].append((parties[source].tag, kind))
                self._sinks[source].append((parties[sink].tag, kind))

    def tag(self, party: Party) -> str:
        number = party.number
        partner = self._call.parties[self._partners[number]] if number in self._partners else None
        return view.tag(
            tag=party.tag,
            created=int(party.created),
            subscriptions=self._sources[number],
            subscribers=self._sinks[number],
            medias=[self._media(party, media, partner) for media in party.medias],
            via_branch=party.via_branch,
            label=party.label or "",
            metadata=party.metadata or "",
        )

    def sources(self, parties: Iterable[Party]) -> dict[str, Body]:
        """By SSRC what these parties have sent, and what they say of what they hear; some listen only."""
        medias = [media for party in parties for media in party.medias]
        found = {str(ssrc): dict(source) for media in medias for ssrc, source in self._heard(media)}
        ports = dict.fromkeys(media.rtcp_socket for media in medias)
        reports = (self._reports.get(local) for local in ports if local is not None)
        for hearing in (hearing for report in reports if report is not None for hearing in report.hearings):
            found.setdefault(str(hearing.ssrc), {}).update(self._hearing(hearing))
        return found

    def _hearing(self, hearing: Hearing) -> Body:
        average = view.impression(
            score=hearing.score.average,
            round_trip=hearing.round_trip.average,
            leg=hearing.leg.average,
            jitter=hearing.jitter.average,
            loss=hearing.loss.average,
        )
        lowest, highest = self._impression(hearing.lowest), self._impression(hearing.highest)
        interval, reports = hearing.progression()
        progression = [self._impression(report) for report in reports]
        average["samples"] = hearing.score.count
        return view.hearing(hearing.lost, average, lowest, highest, interval, progression)

    def _impression(self, heard: Heard) -> Body:
        shown = view.impression(
            score=heard.score, round_trip=heard.round_trip, leg=heard.leg, jitter=heard.jitter, loss=heard.loss
        )
        return {**shown, "reported at": int(self._wall(heard.at))}

    def _media(self, party: Party, media: Media, partner: Party | None) -> str:
        heard = self._heard(media)
        return view.media(
            index=media.index + 1,
            kind=media.kind,
            protocol=media.protocol,
            codec=media.codecs[0].rtpmap if media.codecs else "",
            label=media.label or "",
            streams=self._streams(media, heard[-1][0] if heard else None),
            flags=_media_flags(media, partner),
            ingress=heard,
            egress=self._told(MediaKey(party.number, media.index)) if self._ssrcs else (),
        )

    def _heard(self, media: Media | None) -> Sequence[view.Source]:
        return self._ssrcs.get(media.local, ()) if media is not None and media.local is not None else ()

    def _told(self, sink: MediaKey) -> list[view.Source]:
        return [
            (ssrc if s.ssrc is None else s.ssrc, source)
            for s in self._call.subscriptions
            if s.sink == sink
            for ssrc, source in self._heard(self._call.media(s.source))
        ]

    def _streams(self, media: Media, ssrc: int | None) -> list[str]:
        suite = media.crypto_receive.suite.name if media.crypto_receive is not None else ""
        by_ice, sent = media.by_ice, _NOTHING
        local, advertised, learned = media.local, media.remote, media.source
        if self._sent and local is not None:
            sent = self._sent.get(local, _NOTHING)
        to = media.destination
        if not media.rtp:
            # Nothing but RTP is forwarded by the kernel, whatever it has of the flow.
            return [self._stream("RTP", local, to, advertised, learned, ssrc, suite, sent, by_ice=by_ice, by_hand=True)]
        rtp = self._stream("RTP", local, to, advertised, learned, ssrc, suite, sent, by_ice=by_ice)
        if not media.rtcp_mux:
            local, advertised, learned = media.local_rtcp, media.remote_rtcp, media.source_rtcp
        to = media.destination_rtcp
        return [rtp, self._stream("RTCP", local, to, advertised, learned, ssrc, suite, _NOTHING, by_ice=by_ice)]

    def _stream(
        self,
        kind: str,
        local: Endpoint | None,
        endpoint: Endpoint | None,
        advertised: Endpoint | None,
        learned: Endpoint | None,
        ssrc: int | None,
        suite: str,
        sent: Counts,
        *,
        by_ice: bool,
        by_hand: bool = False,
    ) -> str:
        report = self._reports.get(local) if local is not None else None
        flags = [kind]
        if endpoint is not None or advertised is not None:
            flags.append("filled")
        # With ICE only a pair confirms an address, and it does so for as long as its peer consents (RFC 7675).
        confirmed = learned is not None or (report is not None and report.spoken and not by_ice)
        if confirmed:
            flags.append("confirmed")
        if report is not None and report.in_kernel and not by_hand:
            flags.append("kernelized")
        elif confirmed:
            flags.append("no kernel support")
        received, last, by_kernel, by_user = _NOTHING, 0, False, False
        if report is not None:
            if report.packets or report.dropped:
                received = self._received(kind, report)
            last = int(self._wall(report.last_packet)) if report.last_packet else 0
            by_kernel, by_user = report.kernel_packets > 0, report.packets > report.kernel_packets
        return view.stream(
            local=local,
            endpoint=endpoint or advertised,
            advertised=advertised,
            crypto_suite=suite,
            last_packet=last,
            last_kernel_packet=last if by_kernel else 0,
            last_user_packet=last if by_user else 0,
            ssrc=ssrc,
            flags=tuple(flags),
            received=received,
            sent=sent,
        )

    def _received(self, kind: str, report: FlowReport) -> Counts:
        """RTP and RTCP may share a port."""
        if kind == "RTCP":
            dropped = report.dropped if report.packets == report.rtcp_packets else 0
            counts = Counts(report.rtcp_packets, report.rtcp_bytes, dropped)
            self.rtcp += counts
        else:
            packets, octets = report.packets - report.rtcp_packets, report.bytes - report.rtcp_bytes
            counts = Counts(packets, octets, report.dropped)
            self.rtp += counts
        return counts


def _media_flags(media: Media, partner: Party | None) -> tuple[str, ...]:
    """What the party sends is what the relay receives. Directions are the party's, as far as the other side has
    accepted them (RFC 3264 section 6.1).
    """
    sends, receives, flags = media.direction.sends, media.direction.receives, []
    if partner is not None and media.index < len(partner.medias):
        other = partner.medias[media.index].direction
        sends, receives = sends and other.receives, receives and other.sends
    if media.described:
        flags.append("initialized")
    if media.rtcp_mux:
        flags.append("rtcp-mux")
    if media.dtls is not None and media.dtls.fingerprints:
        flags += ("DTLS-SRTP", f"DTLS role {media.dtls.setup}")
    elif media.crypto_receive is not None:
        flags.append("SDES")
    if media.asymmetric:
        flags.append("asymmetric")
    if media.passthrough:
        flags.append("passthrough")
    if media.ice is not None and media.ice.remote is not None:
        flags.append("ICE")
    if receives and not media.held:
        flags.append("send")
    if sends:
        flags.append("recv")
    return tuple(flags)


def _source(report: SsrcReport) -> view.Source:
    return report.ssrc, view.source(
        octets=report.bytes,
        packets=report.packets,
        last_timestamp=report.last_timestamp,
        last_sequence=report.highest_sequence & 0xFFFF,
    )
