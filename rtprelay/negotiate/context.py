"""What a negotiation may use besides the call and the command: ports, interfaces, the clock's reading, chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from rtprelay.call.interface import MediaInterface
from rtprelay.call.media import Media
from rtprelay.errors import PortsExhausted
from rtprelay.negotiate.address import AddressPolicy, Interfaces
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint, Family


class PortSource(Protocol):
    """Gives RTP/RTCP pairs and takes them back; everything is undone if the negotiation fails."""

    def take(self, interface: MediaInterface) -> tuple[Endpoint, Endpoint]:
        """Raises PortsExhausted."""

    def free(self, interface: MediaInterface) -> bool:
        """There is a pair left."""

    def give_back(self, rtp: Endpoint) -> None: ...


class Identity(Protocol):
    """Our DTLS certificates, each by its id."""

    def newest(self) -> str: ...

    def knows(self, certificate: str) -> bool: ...

    def fingerprint(self, certificate: str, name: str) -> str:
        """By the name of the hash."""


class Context(msgspec.Struct, frozen=True):
    ports: PortSource
    interfaces: Interfaces
    policy: AddressPolicy
    now: float
    """Seconds since the epoch."""
    random: random.Random
    learning: EndpointLearning
    tos: int
    instance: str
    """Names this relay among others, as long as it runs."""
    identity: Identity
    route: Callable[[str], str | None]
    """The local address from which this host reaches another one."""
    warn: Callable[[str], None]
    """Something the operator should see, said with the call-id; the same text once for a command."""


def choose_interface(
    named: str | None, peer: str | None, family: Family | None, present: str, context: Context
) -> MediaInterface:
    """The interface called so; without a name the one through which `peer` is reached, else the present one."""
    if not named and peer is not None:
        named = context.interfaces.towards(context.route(peer))
    chosen = context.interfaces.choose(named, family, present, context.ports.free)
    if named and not context.interfaces.knows(named):
        context.warn(f"Interface '{named}' not found, using default")
    if family is not None and (family is Family.IP6) != (":" in chosen.address):
        context.warn(f"Requested address family ({family.name}) not supported")
    return chosen


def open_ports(media: Media, interface: MediaInterface, context: Context, agreed: Media | None = None) -> None:
    """Give the media a port pair on `interface`, unless it has one there: the former pair goes, or stays as `agreed`
    until the answer.
    """
    if media.local is not None:
        if any(rtp.address == interface.address for rtp in media.rtp_ports):
            return
        former = media.former
        leave_ports(media, context, agreed)
        if former is not None and former.local is not None and former.local.address == interface.address:
            media.local, media.local_rtcp, media.interface = former.local, former.local_rtcp, former.interface
            if media.remote == former.remote:
                media.source, media.source_rtcp = former.source, former.source_rtcp
            media.former = None
            return
    media.local, media.local_rtcp = context.ports.take(interface)
    media.interface = interface.name


def open_others(media: Media, context: Context) -> None:
    """Ports on the further addresses of the media's interface, as far as there are any."""
    if media.local is None or media.others or context.interfaces.saving:
        return
    addresses = {rtp.address for rtp in media.rtp_ports}
    for interface in context.interfaces.named(media.interface):
        if interface.address not in addresses:
            try:
                rtp, _ = context.ports.take(interface)
            except PortsExhausted:
                continue  # one address is enough for a call
            media.others = (*media.others, rtp)


def close_others(media: Media, context: Context) -> None:
    for rtp in media.others:
        context.ports.give_back(rtp)
    media.others = ()


def leave_ports(media: Media, context: Context, agreed: Media | None) -> None:
    """The media's ports go; those of what is agreed on stay with it until the answer."""
    former, media.former = media.former, None
    if former is None and agreed is not None:
        media.local = media.local_rtcp = None
        former = agreed
    else:
        close_ports(media, context)
    media.former = former


def close_former(media: Media, context: Context) -> None:
    """The offer that has left these ports is answered."""
    if media.former is not None and media.former.local is not None:
        context.ports.give_back(media.former.local)
    media.former = None


def close_ports(media: Media, context: Context) -> None:
    """The media's ports go, and ICE over them: its paths began there (RFC 8445 section 9)."""
    close_former(media, context)
    if media.local is not None:
        close_others(media, context)
        context.ports.give_back(media.local)
        media.local = media.local_rtcp = None
        media.ice = None


def close_beyond(medias: Sequence[Media], count: int, context: Context) -> None:
    """A new offer has only `count` m-lines (against RFC 3264 section 8, but it happens): the others are over."""
    for media in medias[count:]:
        media.rejected = True
        close_ports(media, context)
