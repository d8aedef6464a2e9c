"""plan: Call x Capabilities -> FlowTable. Pure, total, deterministic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from rtprelay.call.call import Call, MediaKey
from rtprelay.call.media import Media
from rtprelay.plan.flow import Capabilities, Flow, Mismatch, Output, PayloadRule
from rtprelay.security.srtp import SrtpParameters
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint

Sink = tuple[Media, int | None]
"""A receiving media and the SSRC it gets (None: the sender's)."""


def plan(call: Call, capabilities: Capabilities) -> dict[Endpoint, Flow]:
    """One flow for each open local port of the call."""
    sinks: defaultdict[MediaKey, list[Sink]] = defaultdict(list)
    for subscription in call.subscriptions:
        sink = call.media(subscription.sink)
        if sink is not None and sink.local is not None:
            sinks[subscription.source].append((sink, subscription.ssrc))
    table: dict[Endpoint, Flow] = {}
    for party in call.parties.values():
        for media in party.medias:
            if media.local is None:
                continue
            receivers = sinks.get(MediaKey(party.number, media.index), [])
            for flow in _flows(media, receivers, capabilities):
                table[flow.local] = flow
    return table


def _flows(media: Media, sinks: list[Sink], capabilities: Capabilities) -> tuple[Flow, ...]:
    local = media.local
    assert local is not None
    sinks = [sink for sink in sinks if _keyed(sink[0])] if _keyed(media) else []
    outputs = _ordered((_rtp_output(*sink) for sink in sinks), capabilities.max_outputs)
    rtcp_outputs = _ordered((_rtcp_output(*sink) for sink in sinks), capabilities.max_outputs)
    srtp = media.crypto_receive.parameters if media.crypto_receive is not None else None
    userspace = not _kernel_can(capabilities, srtp, outputs)
    expected = media.expected
    rtp = Flow(
        local=local,
        expected=expected,
        signalled=_beaten(media.source, media.remote) if media.ice is None else None,
        rtcp_expected=expected,
        on_mismatch=_on_mismatch(media),
        lock=not media.media_handover and media.ice is None,
        payloads=_payloads(media, sinks),
        outputs=outputs,
        # Opaque datagrams may look like RTCP by chance.
        rtcp_outputs=rtcp_outputs if media.rtcp_mux else () if media.rtp else outputs,
        srtp=srtp,
        userspace=userspace,
    )
    if media.local_rtcp is None or media.rtcp_mux or not media.rtp:
        return (rtp,)
    rtcp = Flow(
        local=media.local_rtcp,
        expected=None,
        signalled=_beaten(media.source_rtcp, media.remote_rtcp) if media.ice is None else None,
        rtcp_expected=media.expected_rtcp,
        on_mismatch=_on_mismatch(media),
        lock=not media.media_handover and media.ice is None,
        rtcp_outputs=rtcp_outputs,
        srtp=srtp,
        userspace=userspace,
    )
    return (rtp, rtcp)


def _keyed(media: Media) -> bool:
    """No key, no packet (security: never fall back to plain RTP)."""
    return not media.secure or media.crypto_receive is not None


def _kernel_can(capabilities: Capabilities, srtp: SrtpParameters | None, outputs: tuple[Output, ...]) -> bool:
    """Whether the kernel path has every suite that is needed; what it lacks is left to userspace, visibly."""
    used = {parameters.suite.name for parameters in (srtp, *(o.srtp for o in outputs)) if parameters is not None}
    return used <= capabilities.srtp_suites


def _rtp_output(sink: Media, ssrc: int | None) -> Output | None:
    """A party gets media unless its own SDP says that it does not receive; what the sender's says binds only the
    sender.
    """
    return _output(sink, sink.local, sink.destination, ssrc) if sink.direction.receives else None


def _rtcp_output(sink: Media, ssrc: int | None) -> Output | None:
    """RTCP goes on during hold (RFC 3264 section 8.4)."""
    return _output(sink, sink.rtcp_socket, sink.destination_rtcp, ssrc) if sink.rtp else None


def _output(sink: Media, local: Endpoint | None, destination: Endpoint | None, ssrc: int | None) -> Output | None:
    """None where there is nowhere to send to, or no way from our address family to that of the destination."""
    if local is None or destination is None or local.family is not destination.family:
        return None
    srtp = sink.crypto_send.parameters if sink.crypto_send is not None else None
    return Output(source=local, destination=destination, ssrc=ssrc, tos=sink.tos, srtp=srtp)


def _ordered(outputs: Iterable[Output | None], at_most: int) -> tuple[Output, ...]:
    """Those there are, always in the same order: tables can be compared whoever came first."""
    return tuple(sorted(filter(None, outputs), key=attrgetter("source"))[:at_most])


def _beaten(source: Endpoint | None, remote: Endpoint | None) -> Endpoint | None:
    """The address the SDP named, where another one has been learned: should it speak, it wins."""
    return remote if source is not None and source != remote else None


def _on_mismatch(media: Media) -> Mismatch:
    """With ICE another valid pair may be used at any time, so that the agent has to be asked."""
    never = media.learning is EndpointLearning.OFF and media.ice is None
    return Mismatch.DROP if never else Mismatch.PUNT


def _payloads(media: Media, sinks: list[Sink]) -> tuple[PayloadRule, ...]:
    """Clock rates of all payload types either side named: senders use the receiver's numbers (RFC 3264 section 5.1)."""
    rates = {codec.payload_type: codec.clock_rate for sink, _ in sinks for codec in sink.codecs}
    rates.update((codec.payload_type, codec.clock_rate) for codec in media.codecs)
    return tuple(PayloadRule(payload_type, rates[payload_type]) for payload_type in sorted(rates))
