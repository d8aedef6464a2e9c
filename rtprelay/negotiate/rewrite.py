"""The SDP passed on: the sender's document with our addresses in it, as the receiving party is to see it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from rtprelay.call.call import Party, SdpVersion
from rtprelay.call.media import Media
from rtprelay.negotiate import keys
from rtprelay.negotiate.context import Context
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.edit import MediaEdit, SessionEdit, rewrite
from rtprelay.sdp.view import MediaView, SessionView
from rtprelay.signalling.command import MediaFlags, SdpReplace

_SDES = frozenset({"crypto"})
_DTLS = frozenset({"fingerprint", "setup", "tls-id"})
KEEP = MediaEdit(keep=True)
_ORIGIN = SdpReplace.ORIGIN | SdpReplace.ORIGIN_FULL
_VERSION = SdpReplace.SDP_VERSION | SdpReplace.FORCE_INCREMENT_SDP_VERSION


def rewrite_for(
    document: SessionDescription,
    view: SessionView,
    receiver: Party,
    medias: Sequence[Media],
    flags: MediaFlags,
    context: Context,
    *,
    offering: bool,
) -> str:
    """`document` with the ports, addresses and keys that face `receiver`, whose `medias` stand in m-line order."""
    edits = tuple(
        _media_edit(media, media_view, flags, context, offering=offering)
        for media_view, media in zip(view.media, medias, strict=False)
    )
    edit = SessionEdit(media=edits)
    replace = flags.replace
    if replace & _ORIGIN and (address := _first_address(edits)) is not None:
        edit = msgspec.structs.replace(edit, origin_address=address)
    if replace & (SdpReplace.USERNAME | SdpReplace.ORIGIN_FULL):
        edit = msgspec.structs.replace(edit, origin_username="-")
    if SdpReplace.SESSION_NAME in replace:
        edit = msgspec.structs.replace(edit, session_name="rtprelay")
    text = rewrite(document, edit)
    if replace & _VERSION:
        force = SdpReplace.FORCE_INCREMENT_SDP_VERSION in replace
        version = _next_version(receiver, text, view.origin.version, force)
        text = rewrite(document, msgspec.structs.replace(edit, origin_version=str(version)))
    return text


def _first_address(edits: tuple[MediaEdit, ...]) -> str | None:
    return next((e.address for e in edits if e.address is not None), None)


def _next_version(receiver: Party, text: str, theirs: str, force: bool) -> int:
    """An o= version of our own that grows whenever the SDP we send changes (RFC 3264 section 8)."""
    digest = zlib.crc32(text.encode("utf-8", "surrogateescape"))
    last = receiver.sdp_version
    if last is None:
        version = int(theirs) if theirs.isdigit() else 1
    else:
        version = last.version + (force or digest != last.digest)
    receiver.sdp_version = SdpVersion(version, digest)
    return version


def _media_edit(media: Media, view: MediaView, flags: MediaFlags, context: Context, *, offering: bool) -> MediaEdit:
    if not media.relayed:
        return KEEP
    if media.rejected or media.local is None:
        return MediaEdit(port=0, protocol=media.protocol)
    address = flags.media_address or context.interfaces.advertised(media.local)
    if view.endpoint is not None and view.endpoint.unspecified and SdpReplace.ZERO_ADDRESS not in flags.replace:
        address = "0.0.0.0" if media.local.family.value == "IP4" else "::"
    muxed = media.mux_proposed if offering else media.rtcp_mux
    rtcp = media.local if muxed else media.local_rtcp
    return MediaEdit(
        port=media.local.port,
        address=address,
        rtcp_port=rtcp.port if rtcp and media.rtp and not flags.no_rtcp_attribute else None,
        rtcp_full=flags.full_rtcp_attribute,
        rtcp_mux=muxed,
        protocol=media.protocol,
        remove_ice=True,
        remove_attributes=_DTLS if media.passthrough else _DTLS | _SDES,
        append=keys.attributes(media, offering=offering),
    )
