"""Taking over what a party's SDP and flags say of its side of a media."""

from __future__ import annotations

from rtprelay.call.media import Media
from rtprelay.negotiate.context import Context
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import Command, MediaFlags
from rtprelay.values import Endpoint


def new_media(index: int, view: MediaView, context: Context) -> Media:
    media = Media(index=index, kind=view.kind, protocol=view.protocol, learning=context.learning)
    describe(media, view)
    return media


def describe(media: Media, view: MediaView) -> None:
    """Kind and nature of the m-line; a re-INVITE may change them (audio becomes a T.38 image)."""
    protocol = view.protocol.upper()
    media.kind = view.kind
    media.rtp = view.is_rtp
    media.relayed = protocol == "UDPTL" or protocol.startswith(("UDP/", "RTP/"))
    media.mid = view.mid


def apply_options(media: Media, flags: MediaFlags) -> None:
    """Source and destination policy. What is not said stays as it was said before."""
    if flags.endpoint_learning is not None:
        media.learning = flags.endpoint_learning
    media.asymmetric = (media.asymmetric or flags.asymmetric) and not flags.symmetric
    media.media_handover = (media.media_handover or flags.media_handover) and not flags.strict_source


def learn_remote(media: Media, view: MediaView, command: Command, context: Context) -> bool:
    """Where the party receives, in which direction, with which payload types. True: its address has changed.

    An unchanged address keeps what was learned of the party's real source. Raises RefusedAddress.
    """
    media.direction, media.offered = view.direction, None
    media.codecs = view.codecs
    # Those learned from packets are good for as long as the SDP says nothing.
    media.ssrcs = view.ssrcs or media.ssrcs
    media.mid_extension = view.mid_extension
    media.hint = command.received_from or media.hint
    endpoint, rtcp = view.endpoint, view.rtcp_fallback
    if endpoint is None:
        if view.connection_host is not None and view.port:
            context.warn(f"media address {view.connection_host!r} is a host name: waiting for packets instead")
        return False
    # With ICE the address says nothing: browsers write 0.0.0.0 and port 9 (RFC 8840 section 4.3.1).
    media.held = endpoint.unspecified and view.ice is None
    if endpoint.unspecified:
        return False
    if rtcp is not None and rtcp.unspecified:
        rtcp = None
    if command.flags.trust_address is False and command.received_from is not None:
        endpoint = Endpoint(command.received_from, endpoint.port)
        rtcp = Endpoint(command.received_from, rtcp.port) if rtcp else None
    if view.ice is not None and not context.policy.permits(endpoint):
        return False  # a browser's default address; its candidates are what counts
    context.policy.check(endpoint)
    if rtcp is not None:
        context.policy.check(rtcp)
    changed = endpoint != media.remote
    if media.by_ice:
        pass  # the selected pair stands until ICE selects another
    elif changed and (media.remote is not None or not _same_host(media.source, endpoint)):
        media.known_host = _known_host(media, endpoint)
        media.forget_sources()
    elif rtcp != media.remote_rtcp:
        media.source_rtcp = None
    if changed and view.ice is None:
        media.waiting = command.flags.nat_wait
    moved = changed and media.remote is not None
    media.remote, media.remote_rtcp = endpoint, rtcp
    if media.source == endpoint and not media.by_ice:
        media.source = None
    return moved


def _known_host(media: Media, endpoint: Endpoint) -> str | None:
    """Where the party is behind its NAT, as far as its packets have told: there it still is with another port."""
    if media.remote is None or media.remote.address != endpoint.address:
        return None
    return media.source.address if media.source is not None else media.known_host


def _same_host(source: Endpoint | None, endpoint: Endpoint) -> bool:
    return source is not None and source.address == endpoint.address
