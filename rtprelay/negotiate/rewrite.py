"""The SDP passed on: the sender's document with our addresses and keys in it, as the receiving party is to see it."""

from __future__ import annotations

import functools
import zlib

import msgspec

from rtprelay.call.call import Party, SentSdp
from rtprelay.call.media import Media
from rtprelay.errors import PeerFault
from rtprelay.negotiate import bundle, codecs, extmap, ice, keys, outline
from rtprelay.negotiate.context import Context
from rtprelay.sdp.alter import alter, read_changes
from rtprelay.sdp.attributes import Direction, number
from rtprelay.sdp.description import Description
from rtprelay.sdp.document import SessionDescription
from rtprelay.sdp.edit import Bundle, MediaEdit, SessionEdit, rewrite
from rtprelay.sdp.shape import network
from rtprelay.sdp.view import MediaView, SessionView, is_feedback
from rtprelay.signalling.command import MediaFlags, SdpReplace
from rtprelay.values import Family

_SDES = frozenset({"crypto"})
_DTLS = frozenset({"fingerprint", "setup", "tls-id"})
_FEEDBACK = frozenset(
    {
        "rtcp-fb",
        "rtcp-rsize",
        "extmap",
        "extmap-allow-mixed",
        "msid-semantic",
        "msid",
        "ssrc",
        "ssrc-group",
        "rid",
        "simulcast",
        "bundle-only",
        "mid",
    }
)
"""What only browsers and their like understand, all of it on top of RTP/AVPF."""
_DTLS_AND_FEEDBACK = _DTLS | _FEEDBACK
LOOP_ATTRIBUTE = "rtprelay"
"""Names the relay that has rewritten the SDP (`loop-protect`)."""
KEEP = MediaEdit(keep=True)
OMIT = MediaEdit(omit=True)
REJECT = MediaEdit(port=0)
# As numbers: enumerations are slow to combine.
_ORIGIN: int = (SdpReplace.ORIGIN | SdpReplace.ORIGIN_FULL).value
_USERNAME = SdpReplace.USERNAME | SdpReplace.ORIGIN_FULL
_VERSION = SdpReplace.SDP_VERSION | SdpReplace.FORCE_INCREMENT_SDP_VERSION
MAX_VERSION = 2**32 - 1
"""Of the sender's o= line; from a greater one we start at 1."""
_REMEMBERED: int = (_USERNAME | _VERSION | SdpReplace.SESSION_NAME).value


def rewrite_for(described: Description, receiver: Party, flags: MediaFlags, context: Context, *, offering: bool) -> str:
    """The description with the ports, addresses and keys that face `receiver`. `offering`: it is an offer."""
    view = described.view
    place = outline.place(described, receiver, flags, offering=offering)
    if place is not None and place.outline:
        return place.outline % _own(described, receiver, flags, context, offering=offering)
    document = described.document
    edits = [
        _media_edit(receiver, receiver.medias[section.index], section, flags, context, offering=offering)
        if section.index < len(receiver.medias)
        else REJECT  # an answer to more than was offered
        for section in view.media
    ]
    replace = flags.replace.value
    edit = SessionEdit(
        media=tuple(edits),
        origin_address=_first_address(edits) if replace & _ORIGIN else None,
        remove_attributes=_DTLS if _feedback(receiver) else _DTLS_AND_FEEDBACK,
        bundle=Bundle.REMOVE,
        append=_session_attributes(receiver, flags, context.instance, offering=offering),
    )
    if replace & _REMEMBERED:
        text = _as_remembered(document, view, edit, receiver, flags.replace)
    else:
        text = rewrite(document, edit)
        if place is not None and not (flags.loop_protect or flags.sdp_attr) and place.due():
            own = _own(described, receiver, flags, context, offering=offering)
            outline.learn(place, document, edit, own, text)
    return alter(text, read_changes(flags.sdp_attr)) if flags.sdp_attr else text


def _own(
    described: Description, receiver: Party, flags: MediaFlags, context: Context, *, offering: bool
) -> tuple[object, ...]:
    """What in an ordinary text is the call's own: `o=`, and of each section the port, the address, the port of RTCP."""
    own: list[object] = [""]
    where = ""
    for media in receiver.medias:
        if media.local is None:
            continue
        address = network(flags.media_address or context.interfaces.advertised(media.local))
        where = where or address
        own += (media.local.port, address)
        rtcp = _rtcp(media, media, flags, offering=offering)
        if rtcp is not None:
            own.append(rtcp)
    origin = described.view.origin
    if not flags.replace.value & _ORIGIN:
        where = f"IN {origin.address_type} {origin.address}"
    name = f"{origin.username} {origin.session_id} {origin.version} {origin.network_type}"
    own[0] = f"o={name} {where.removeprefix('IN ')}"
    return tuple(own)


def _feedback(receiver: Party) -> bool:
    return any(is_feedback(media.protocol) for media in receiver.medias)


def _session_attributes(receiver: Party, flags: MediaFlags, instance: str, *, offering: bool) -> tuple[str, ...]:
    """What is ours to say about all sections together."""
    groups = bundle.proposed_groups(receiver) if offering else bundle.agreed_groups(receiver)
    protection = (f"{LOOP_ATTRIBUTE}:{instance}",) if flags.loop_protect else ()
    return (*ice.session_attributes(receiver), *(f"group:{group}" for group in groups), *protection)


def _first_address(edits: list[MediaEdit]) -> str | None:
    return next((e.address for e in edits if e.address is not None), None)


def _as_remembered(
    document: SessionDescription, view: SessionView, edit: SessionEdit, receiver: Party, replace: SdpReplace
) -> str:
    """What `replace` takes control of stays as the receiver saw it first; the version grows with every change."""
    origin, sent = view.origin, receiver.sent
    if sent is None:
        version = number(origin.version, MAX_VERSION) or 1
        receiver.sent = sent = SentSdp(origin.username, origin.session_id, view.name, version)
    if replace & _USERNAME:
        edit = msgspec.structs.replace(edit, origin_username=sent.username)
    if SdpReplace.ORIGIN_FULL in replace:
        edit = msgspec.structs.replace(edit, origin_session_id=sent.session_id)
    if SdpReplace.SESSION_NAME in replace:
        edit = msgspec.structs.replace(edit, session_name=sent.session_name)
    if not replace & _VERSION:
        return rewrite(document, edit)
    edit = msgspec.structs.replace(edit, origin_version=str(sent.version))
    text = rewrite(document, edit)
    changed = _digest(text) != sent.digest or SdpReplace.FORCE_INCREMENT_SDP_VERSION in replace
    if changed and sent.digest:
        sent.version += 1
        text = rewrite(document, msgspec.structs.replace(edit, origin_version=str(sent.version)))
    sent.digest = _digest(text)
    return text


def _digest(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogateescape"))


def _media_edit(
    receiver: Party, media: Media, view: MediaView, flags: MediaFlags, context: Context, *, offering: bool
) -> MediaEdit:
    if media.hidden:
        return OMIT
    if not media.relayed:
        return KEEP
    carrier = receiver.carrier(media)
    if carrier.local is None or media.rejected:
        return MediaEdit(port=0, protocol=media.protocol)
    bundled = offering and bundle.proposes(receiver, media)
    bundle_only = bundled and carrier is not media and "strict" in flags.bundle
    address = flags.media_address or context.interfaces.advertised(carrier.local)
    direction = None
    if view.endpoint is not None and view.endpoint.unspecified and view.ice is None:
        if not flags.original_sendrecv:
            direction = Direction.of(sends=view.direction.sends, receives=False)
        if SdpReplace.ZERO_ADDRESS not in flags.replace:
            address = "0.0.0.0" if carrier.local.family is Family.IP4 else "::"
    ptime = flags.ptime if offering else media.ptime_reply
    formats = codecs.offer_formats if offering else codecs.answer_formats
    try:
        return MediaEdit(
            port=carrier.local.port,
            bundle_only=bundle_only,
            address=address,
            rtcp_port=None if bundle_only else _rtcp(media, carrier, flags, offering=offering),
            rtcp_full=flags.full_rtcp_attribute,
            rtcp_mux=_muxed(carrier, offering=offering) and media.rtp,
            direction=direction,
            default_direction=not flags.original_sendrecv,
            protocol=media.protocol,
            formats=formats(media, view, flags),
            mid=_mid(media, view, offering=offering, wanted=bundled or flags.generate_mid),
            remove_ice=True,
            remove_attributes=_removed(media, view, offering=offering, bundled=bundled, ptime=ptime is not None),
            remove_lines=extmap.removed(view, flags),
            append=(
                *(() if offering else media.extmap_masked),
                *(() if offering or view.mid_extension else bundle.mid_extension(receiver, media)),
                *(() if ptime is None else (f"ptime:{ptime}",)),
                *keys.attributes(carrier, flags, context, offering=offering),
                *ice.attributes(carrier, flags, context, with_candidates=carrier is media),
            ),
        )
    except ValueError as error:
        raise PeerFault(f"Cannot write SDP: {error}") from error


def _muxed(carrier: Media, *, offering: bool) -> bool:
    return carrier.mux_proposed if offering else carrier.rtcp_mux


def _rtcp(media: Media, carrier: Media, flags: MediaFlags, *, offering: bool) -> int | None:
    """The port for `a=rtcp`, where that is written."""
    if not media.rtp or flags.no_rtcp_attribute:
        return None
    alone = carrier.rtcp_mux or (offering and "require" in flags.rtcp_mux)
    rtcp = carrier.local if alone and _muxed(carrier, offering=offering) else carrier.local_rtcp
    return None if rtcp is None else rtcp.port


def _removed(media: Media, view: MediaView, *, offering: bool, bundled: bool, ptime: bool) -> frozenset[str]:
    """What belongs to the other leg, and what the party's profile does not know: a plain phone sees a plain SDP."""
    feedback = view.is_feedback and not is_feedback(media.protocol)
    mid = not bundled and (feedback if offering else media.mid is None)
    return _names(not media.passthrough, feedback, mid, ptime)


@functools.cache
def _names(keys: bool, feedback: bool, mid: bool, ptime: bool) -> frozenset[str]:
    """The very same set each time: it is part of what the layouts of sections are remembered by."""
    parts = ((True, _DTLS), (keys, _SDES), (feedback, _FEEDBACK - {"mid"}), (mid, {"mid"}), (ptime, {"ptime"}))
    return frozenset().union(*(names for goes, names in parts if goes))


def _mid(media: Media, view: MediaView, *, offering: bool, wanted: bool) -> str | None:
    """In an answer the offer's own (RFC 5888 section 9.1), in an offer one of ours if that is wished."""
    if not offering:
        return media.mid if media.mid != view.mid else None
    return bundle.mid(media) if wanted and view.mid is None else None
