"""plan: Call x Capabilities -> FlowTable. Pure, total, deterministic."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

import msgspec

from rtprelay.call.call import Call, Echo, MediaKey, Party, SubscriptionKind
from rtprelay.call.media import Media
from rtprelay.plan.flow import Capabilities, Flow, LaneSource, Mismatch, Output, PayloadRule
from rtprelay.sdp.codecs import Codec
from rtprelay.security.sdes import CryptoLine
from rtprelay.security.srtp import SrtpParameters
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint


class Sink(msgspec.Struct, frozen=True, gc=False):
    """A receiving media, and the copies of RTP and RTCP that it gets; None: it gets none."""

    media: Media
    rtp: Output | None
    rtcp: Output | None
    blocked: bool = False
    """It gets no media; RTCP goes on, and DTMF where the source's other receivers are blocked as well."""


class Lane(NamedTuple):
    """Sections of a bundle that go the same ways; the number is None where all of it does."""

    number: int | None
    sections: list[Section]
    outputs: tuple[Output, ...]


Section = tuple[Media, list[Sink]]
"""A section of a party, and where it goes."""


def plan(call: Call, capabilities: Capabilities) -> dict[Endpoint, Flow]:
    """One flow for each open local port of the call. What is agreed on goes on beside what is only offered (RFC 3261
    section 14.1).
    """
    agreed = call.agreed()
    table = _plan(call, capabilities)
    return table if agreed is None else table | _plan(agreed, capabilities)


def _plan(call: Call, capabilities: Capabilities) -> dict[Endpoint, Flow]:
    feedback: defaultdict[Endpoint, list[Output]] = defaultdict(list)
    sinks = _sinks(call, feedback)
    table: dict[Endpoint, Flow] = {}
    for party in call.parties.values():
        for carrier, sections in _ports(party, sinks):
            _put_flows(table, party, carrier, sections, capabilities)
            for other in carrier.others:
                # For ICE alone, until it chooses this one.
                table[other] = Flow(local=other, expected=None, on_mismatch=Mismatch.PUNT, lock=False)
    for local, requests in feedback.items():
        if requests and local in table:
            ordered = _ordered(requests, capabilities.max_outputs)
            table[local] = msgspec.structs.replace(table[local], feedback=ordered)
    return table


def _sinks(call: Call, feedback: defaultdict[Endpoint, list[Output]]) -> dict[MediaKey, list[Sink]]:
    """Where each media of the call goes; what goes back to it is added to `feedback`."""
    sinks: defaultdict[MediaKey, list[Sink]] = defaultdict(list)
    if call.dropped:
        return sinks
    for subscription in call.subscriptions:
        sink = call.media(subscription.sink)
        source = call.parties[subscription.source.party]
        echoed = source.echo is not None and subscription.kind is SubscriptionKind.OFFER_ANSWER
        if sink is None or sink.rejected or echoed or (not sink.rtp and sink.channel):
            continue
        carrier = call.parties[subscription.sink.party].carrier(sink)
        if carrier.local is not None:
            if carrier.keyed:
                blocked = subscription.blocked or source.blocked
                sinks[subscription.source].append(_sink(sink, carrier, subscription.ssrc, blocked))
            if subscription.kind is SubscriptionKind.PUB_SUB:
                request = _feedback(call, subscription.source)
                feedback[carrier.rtcp_socket or carrier.local] += request
    for party in call.parties.values():
        if party.echo is Echo.BACK and not party.blocked:
            for media in party.medias:
                carrier = party.carrier(media)
                if not media.rejected and media.rtp and carrier.local is not None and carrier.keyed:
                    ssrc = (party.echo_ssrc + media.index) % 2**32
                    sinks[MediaKey(party.number, media.index)].append(_sink(media, carrier, ssrc))
    return sinks


def _ports(party: Party, sinks: dict[MediaKey, list[Sink]]) -> Iterator[tuple[Media, list[Section]]]:
    """The party's media that have ports, each with the sections that come there: itself, or its bundle (RFC 9143)."""
    carried: dict[int, list[Section]] = {}
    for media in party.medias:
        section = (media, sinks.get(MediaKey(party.number, media.index), []))
        carried.setdefault(media.index if media.transport is None else media.transport, []).append(section)
    for index, sections in carried.items():
        if party.medias[index].local is not None:
            yield party.medias[index], sections


def _feedback(call: Call, source: MediaKey) -> list[Output]:
    """The way back to a source, for what only it can do: send a key frame."""
    media = call.media(source)
    if media is None or media.kind != "video":
        return []
    carrier = call.parties[source.party].carrier(media)
    output = _output(carrier, carrier.rtcp_socket, carrier.destination_rtcp, None, carrier.rtcp_send)
    return [output] if output is not None and carrier.keyed and carrier.rtcp_keyed else []


def _put_flows(
    table: dict[Endpoint, Flow], party: Party, carrier: Media, sections: list[Section], capabilities: Capabilities
) -> None:
    """The flows of one port pair."""
    local = carrier.local
    assert local is not None
    # Without keys nobody is expected: what comes behind the end of a handshake is handed up, and finds the keys there.
    keyed, expected = carrier.keyed, carrier.expected
    if not keyed:
        expected = None
        sections = [(media, []) for media, _ in sections]
    at_most = capabilities.max_outputs
    lane_sources: tuple[LaneSource, ...] = ()
    if len(sections) == 1:
        outputs, payloads = _alone(party, *sections[0], at_most)
    else:
        outputs, payloads, lane_sources = _bundled(party, sections, at_most)
    rtcp_outputs = _ordered([sink.rtcp for _, sinks in sections for sink in sinks if sink.rtcp is not None], at_most)
    srtp = None if carrier.crypto_receive is None else carrier.crypto_receive.parameters
    without_ice, on_mismatch = not carrier.by_ice, _on_mismatch(carrier)
    lock = without_ice and not carrier.media_handover
    userspace = not _kernel_can(capabilities, srtp, outputs)
    table[local] = Flow(
        local=local,
        # The packet it is waited for is to be known at once.
        expected=None if carrier.waiting else expected,
        # What the SDP named, where another one has been learned: should it speak, it wins.
        signalled=carrier.remote if without_ice and carrier.source not in (None, carrier.remote) else None,
        rtcp_expected=expected,
        on_mismatch=on_mismatch,
        lock=lock,
        payloads=payloads,
        lane_sources=lane_sources,
        outputs=outputs,
        # Opaque datagrams may look like RTCP by chance.
        rtcp_outputs=outputs if carrier.opaque else rtcp_outputs if carrier.rtcp_mux else (),
        srtp=srtp,
        userspace=userspace,
    )
    if carrier.local_rtcp is None or carrier.rtcp_mux or not carrier.rtp:
        return
    rtcp_key, rtcp_named = carrier.rtcp_receive, carrier.remote_rtcp
    rtcp_keyed = carrier.rtcp_keyed
    table[carrier.local_rtcp] = Flow(
        local=carrier.local_rtcp,
        expected=None,
        signalled=rtcp_named if without_ice and carrier.source_rtcp not in (None, rtcp_named) else None,
        rtcp_expected=carrier.expected_rtcp if rtcp_keyed else None,
        on_mismatch=on_mismatch,
        lock=lock,
        rtcp_outputs=rtcp_outputs if rtcp_keyed else (),
        srtp=None if rtcp_key is None else rtcp_key.parameters,
        userspace=userspace,
    )


def _alone(
    party: Party, media: Media, sinks: list[Sink], at_most: int
) -> tuple[tuple[Output, ...], tuple[PayloadRule, ...]]:
    """Outputs and rules of a port that is of one section."""
    outputs = _copies(sinks, at_most)
    payloads = _rules(party, media, sinks, None)
    if party.silenced or (sinks and sinks[0].blocked):
        return _muted(party, media, sinks, outputs, payloads, at_most)
    return outputs, payloads


def _bundled(
    party: Party, sections: list[Section], at_most: int
) -> tuple[tuple[Output, ...], tuple[PayloadRule, ...], tuple[LaneSource, ...]]:
    """Those of a bundle's port, and the sources that tell its lanes apart. Rules are always in the same order, like
    outputs."""
    lanes = _lanes(sections, at_most)
    rules: dict[tuple[int, int], PayloadRule] = {}
    for lane in lanes:
        for media, sinks in lane.sections:
            for rule in _rules(party, media, sinks, lane.number):
                rules.setdefault((rule.payload_type, rule.lane or 0), rule)
    payloads = tuple(rules[key] for key in sorted(rules))
    outputs = tuple(output for lane in lanes for output in lane.outputs)
    return outputs, payloads, _lane_sources(lanes, payloads)


def _lanes(sections: list[Section], at_most: int) -> list[Lane]:
    """Sections of a bundle that go the same ways share a lane; where all do, lanes mean nothing."""
    ways: defaultdict[tuple[Output, ...], list[Section]] = defaultdict(list)
    for media, sinks in sections:
        ways[_copies(sinks, at_most)].append((media, sinks))
    if len(ways) <= 1:
        return [Lane(None, alike, outputs) for outputs, alike in ways.items()]
    return [
        Lane(number, alike, tuple(msgspec.structs.replace(output, lane=number) for output in outputs))
        for number, (outputs, alike) in enumerate(ways.items())
    ]


def _kernel_can(capabilities: Capabilities, srtp: SrtpParameters | None, outputs: tuple[Output, ...]) -> bool:
    """Whether the kernel path has every suite that is needed; what it lacks is left to userspace, visibly."""
    for output in outputs:
        if output.srtp is not None and output.srtp.suite.name not in capabilities.srtp_suites:
            return False
    return srtp is None or srtp.suite.name in capabilities.srtp_suites


def _sink(media: Media, carrier: Media, ssrc: int | None, blocked: bool = False) -> Sink:
    """Of a carrier that is keyed. A party gets media unless its own SDP says that it does not receive; what the
    sender's says binds only the sender. RTCP goes on during hold (RFC 3264 section 8.4).
    """
    rtp = rtcp = None
    if not carrier.closed:
        if media.direction.receives and not media.held:
            rtp = _output(carrier, carrier.local, carrier.destination, ssrc, carrier.crypto_send)
        if not carrier.opaque and carrier.rtcp_keyed:
            rtcp = _output(carrier, carrier.rtcp_socket, carrier.destination_rtcp, ssrc, carrier.rtcp_send)
    return Sink(media, rtp, rtcp, blocked)


def _output(
    sink: Media, local: Endpoint | None, destination: Endpoint | None, ssrc: int | None, key: CryptoLine | None
) -> Output | None:
    """None where there is nowhere to send to, or no way from our address family to that of the destination."""
    if local is None or destination is None or not local.reaches(destination):
        return None
    return Output(local, destination, ssrc, 0, 0, sink.tos, None, None if key is None else key.parameters)


def _copies(sinks: list[Sink], at_most: int) -> tuple[Output, ...]:
    return _ordered([sink.rtp for sink in sinks if sink.rtp is not None and not sink.blocked], at_most)


def _ordered(outputs: list[Output], at_most: int) -> tuple[Output, ...]:
    """Always in the same order: tables can be compared whoever came first."""
    if len(outputs) < 2:
        return tuple(outputs)
    return tuple(sorted(dict.fromkeys(outputs), key=attrgetter("source"))[:at_most])


def _on_mismatch(media: Media) -> Mismatch:
    """With ICE another valid pair may be used at any time, so that the agent has to be asked."""
    never = media.learning is EndpointLearning.OFF and media.ice is None
    return Mismatch.DROP if never else Mismatch.PUNT


def _rules(party: Party, media: Media, sinks: list[Sink], lane: int | None) -> tuple[PayloadRule, ...]:
    """What is known of all payload types either side named: senders use the receiver's (RFC 3264 section 5.1)."""
    others = (sinks[0].media.codecs,) if len(sinks) == 1 else tuple(dict.fromkeys([s.media.codecs for s in sinks]))
    return _section(media.codecs, others, party.silenced, party.dtmf_blocked, lane)


@functools.lru_cache(maxsize=1024)
def _section(
    own: tuple[Codec, ...], others: tuple[tuple[Codec, ...], ...], silenced: bool, dtmf_blocked: bool, lane: int | None
) -> tuple[PayloadRule, ...]:
    """Of a section whose sender named `own` codecs. Nearly all calls have the rules of many others."""
    codecs = {codec.payload_type: codec for codecs in others for codec in codecs}
    codecs.update((codec.payload_type, codec) for codec in own)
    return tuple(_rule(codecs[payload_type], silenced, dtmf_blocked, lane) for payload_type in sorted(codecs))


def _muted(
    party: Party,
    media: Media,
    sinks: list[Sink],
    outputs: tuple[Output, ...],
    payloads: tuple[PayloadRule, ...],
    at_most: int,
) -> tuple[tuple[Output, ...], tuple[PayloadRule, ...]]:
    """Outputs and rules of a port whose sender is blocked, but for its DTMF, or silenced, with codecs that have no
    silence.

    What does not go on is of a lane without outputs: unlike what a rule drops it is heard, so that the call lives.
    """
    if all(sink.blocked for sink in sinks):
        named = itertools.chain(media.codecs, *(sink.media.codecs for sink in sinks))
        going = {codec.payload_type for codec in named if codec.name.lower() == _EVENT}
        outputs = _ordered([sink.rtp for sink in sinks if sink.rtp is not None], at_most) if going else ()
    elif party.silenced:
        going = {rule.payload_type for rule in payloads if not rule.drop}
    else:
        return outputs, payloads
    if not outputs or len(going) == len(payloads):
        return outputs, payloads
    return (
        tuple(msgspec.structs.replace(output, lane=_GOING) for output in outputs),
        tuple(
            msgspec.structs.replace(rule, lane=_GOING)
            if rule.payload_type in going
            else PayloadRule(rule.payload_type, rule.clock_rate, lane=_STAYING)
            for rule in payloads
        ),
    )


_EVENT = "telephone-event"
_GOING, _STAYING = 0, 1


def _lane_sources(lanes: list[Lane], payloads: tuple[PayloadRule, ...]) -> tuple[LaneSource, ...]:
    """Needed only where payload types are not enough to tell lanes apart."""
    if len(lanes) == 1 or len({rule.payload_type for rule in payloads}) == len(payloads):
        return ()
    found: dict[int, int] = {}
    for number, lane in enumerate(lanes):
        for media, _ in lane.sections:
            for ssrc in media.ssrcs:
                found.setdefault(ssrc, number)
    return tuple(LaneSource(ssrc, number) for ssrc, number in sorted(found.items()))


_SILENCE = {"pcmu": 0xFF, "pcma": 0xD5, "l16": 0}
"""Bytes that play as silence (G.711, RFC 3551); other codecs' payloads cannot be overwritten, and are dropped."""


def _rule(codec: Codec, silenced: bool, dtmf_blocked: bool, lane: int | None) -> PayloadRule:
    name = codec.name.lower()
    silence = _SILENCE.get(name) if silenced else None
    drop = dtmf_blocked if name == _EVENT else silenced and silence is None
    return PayloadRule(codec.payload_type, codec.clock_rate, drop, silence, lane)
