"""Which codecs of a description are passed on, without transcoding.

What is kept from the answerer can be in no answer: an answer names codecs of the offer it was given, whatever the
answerer says. Nothing left of an offer is taken for a mistake and the codecs stay, unless `allow-no-codec-media`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtprelay.call.call import Call, MediaKey, SubscriptionKind
from rtprelay.call.media import Media
from rtprelay.sdp.codecs import Codec, choose, select
from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import MediaFlags

Formats = tuple[str, ...] | None
"""Payload types of an m-line to be; None: as it came."""


def offered(ours: Media, view: MediaView, flags: MediaFlags) -> None:
    """Note what of the offerer's list the answerer gets to see."""
    ours.passed_on = _selected(view.codecs, flags)


def none_left(view: MediaView, flags: MediaFlags) -> bool:
    """Whether the options leave no codec, and this is meant."""
    return flags.allow_no_codec_media and view.is_rtp and bool(view.codecs) and not _selected(view.codecs, flags)


def offer_formats(receiver: Media, view: MediaView, flags: MediaFlags) -> Formats:
    """For an offer to the receiver."""
    codecs = _selected(view.codecs, flags) or view.codecs
    if flags.static_codecs:
        known = [codec for old in receiver.codecs for codec in codecs if codec.same(old)]
        codecs = tuple({codec.payload_type: codec for codec in known or codecs}.values())
    return _formats(_reused(codecs, receiver.codecs, flags), view)


def answer_formats(receiver: Media, view: MediaView, flags: MediaFlags) -> Formats:
    """For an answer to the receiver: with `single-codec` the first one, and what is no codec but goes with it."""
    codecs = view.codecs
    if codecs != receiver.passed_on:
        codecs = tuple(codec for codec in codecs if any(codec.same(other) for other in receiver.passed_on))
    codecs = _selected(codecs, flags) or codecs or view.codecs
    codecs = _reused(codecs, receiver.codecs, flags)
    if flags.single_codec:
        first = choose(codecs)
        codecs = tuple(codec for codec in codecs if codec is first or codec.auxiliary)
    return _formats(codecs, view)


def sent(call: Call, key: MediaKey, source: Media) -> tuple[Codec, ...]:
    """What a subscriber may get to hear of the source: the codecs its partner in the dialogue has answered."""
    for subscription in call.subscriptions:
        if subscription.source == key and subscription.kind is SubscriptionKind.OFFER_ANSWER:
            partner = call.media(subscription.sink)
            heard = partner.codecs if partner is not None else ()
            return tuple(codec for codec in source.codecs if any(codec.same(other) for other in heard)) or source.codecs
    return source.codecs


def subscribed(codecs: Sequence[Codec], flags: MediaFlags) -> tuple[Codec, ...]:
    """What of them a subscriber is offered."""
    return _selected(codecs, flags) or tuple(codecs)


def _selected(codecs: Sequence[Codec], flags: MediaFlags) -> tuple[Codec, ...]:
    if not (flags.codec_strip or flags.codec_mask):
        return tuple(codecs)
    return select(
        codecs,
        strip=flags.codec_strip,
        mask=flags.codec_mask,
        offer=flags.codec_offer,
        except_=flags.codec_except,
    )


def _reused(codecs: Sequence[Codec], preferred: Sequence[Codec], flags: MediaFlags) -> tuple[Codec, ...]:
    """In the order the receiver itself has named them, new ones last."""
    if not flags.reuse_codecs:
        return tuple(codecs)
    known = [codec for old in preferred for codec in codecs if codec.same(old)]
    return tuple({codec.payload_type: codec for codec in (*known, *codecs)}.values())


def _formats(codecs: Sequence[Codec], view: MediaView) -> Formats:
    if not view.is_rtp or tuple(codecs) == view.codecs:
        return None
    return tuple(str(codec.payload_type) for codec in codecs)
