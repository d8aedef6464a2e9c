"""One m-line of one party, as the relay sees it: where we listen for the party, where it listens, what it sends."""

from __future__ import annotations

import functools

import msgspec

from rtprelay.call.secure import DtlsLeg, IceLeg
from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.codecs import Codec
from rtprelay.sdp.view import is_channel, is_savp
from rtprelay.security.sdes import CryptoLine
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint


@functools.lru_cache(maxsize=64)
def _keys_needed(protocol: str) -> bool:
    return is_savp(protocol) or is_channel(protocol)


class Media(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A media stream between one party and us.

    Two addresses of the party are kept apart: the one its SDP named (`remote`) and the one its packets were seen to
    come from (`source`, learned, None until then). Symmetric RTP (RFC 4961) sends to the latter; an `asymmetric` party
    is sent to where its SDP says.
    """

    index: int
    """Position of the m-line in the SDP, from 0."""
    kind: str
    protocol: str
    interface: str = ""
    local: Endpoint | None = None
    local_rtcp: Endpoint | None = None
    others: tuple[Endpoint, ...] = ()
    """RTP ports on the interface's further addresses, for ICE to choose from; the one chosen changes places with
    `local`. Each has the port after it for RTCP, like any; it stays unused, RTCP that is not multiplexed has one way.
    """
    former: Media | None = None
    """What is agreed on, at another pair of ports, while the offer that has left it is not answered."""
    remote: Endpoint | None = None
    remote_rtcp: Endpoint | None = None
    """Where the party wants RTCP as long as it is not multiplexed."""
    source: Endpoint | None = None
    source_rtcp: Endpoint | None = None
    heard: Endpoint | None = None
    """The address the SDP named, once it has spoken; one that was learned is known to have."""
    heard_rtcp: Endpoint | None = None
    held: bool = False
    """The SDP named 0.0.0.0 or :: (RFC 3264 section 8.4); `remote` stays what it was before."""
    direction: Direction = Direction.SENDRECV
    offered: tuple[Direction, bool] | None = None
    """What the party's pending offer makes of `direction` and `held`; None: nothing else."""
    rtcp_mux: bool = False
    """Agreed with the party: RTP and RTCP share one port (RFC 5761)."""
    mux_proposed: bool = False
    """Our pending offer to the party has a=rtcp-mux."""
    mux_reply: bool | None = False
    """Whether the party's pending offer gets a=rtcp-mux in its answer; None: as the other side answers."""
    codecs: tuple[Codec, ...] = ()
    passed_on: tuple[Codec, ...] = ()
    """What of the party's offer the other side was shown."""
    mid: str | None = None
    label: str | None = None
    rejected: bool = False
    hidden: bool = False
    """The party does not know of the section, which is rejected then (`sdp-media-remove`)."""
    relayed: bool = True
    """False where the m-line's transport is none that we forward (TCP ...): its SDP passes through untouched."""
    rtp: bool = True
    """False for UDP media that is no RTP: data channels, and opaque datagrams (udptl)."""
    learning: EndpointLearning = EndpointLearning.HEURISTIC
    asymmetric: bool = False
    media_handover: bool = False
    hint: str | None = None
    """Address the party's signalling came from: a likely media source behind NAT."""
    known_host: str | None = None
    """Address its media came from before it moved to another port."""
    tos: int = 0
    ptime_reply: int | None = None
    """Milliseconds per packet to ask of the party in the answer to its offer."""
    crypto_received: tuple[CryptoLine, ...] = ()
    """The keys of the party's pending offer (SDES)."""
    crypto_optional: bool = False
    """They are an offer to a phone that may know SRTP: taken only if the other side takes ours (RFC 8643)."""
    crypto_proposed: tuple[CryptoLine, ...] = ()
    """The keys we offered to the party last."""
    crypto_receive: CryptoLine | None = None
    """Agreed: what the party protects its packets with."""
    crypto_send: CryptoLine | None = None
    """Agreed: what packets to the party are protected with."""
    crypto_rtcp_receive: CryptoLine | None = None
    crypto_rtcp_send: CryptoLine | None = None
    """The same for RTCP on a port of its own, where DTLS gives it keys of its own (RFC 5764 section 3)."""
    shielded: bool = False
    """Without having been heard the party was to get more than such a one gets; nothing goes there until it is."""
    waiting: bool = False
    """Nothing is sent to the party before it has sent media: a firewall in front of it may take that for an attack."""
    passthrough: bool = False
    """SRTP goes from leg to leg as it is, unchecked: the operator's explicit choice."""

    ssrcs: tuple[int, ...] = ()
    """The party's streams of this section, by its a=ssrc lines (RFC 5576) or by the MID in their packets."""
    mid_extension: int = 0
    """The number of the header extension that carries the MID (RFC 9143 section 15); 0: none does."""
    extmap_masked: tuple[str, ...] = ()
    """Header extensions the party offered and the other side does not see, as attributes."""

    transport: int | None = None
    """Index of the media whose port, ICE and DTLS this one shares (BUNDLE, RFC 9143); None: it has its own."""
    ice: IceLeg | None = None
    dtls: DtlsLeg | None = None

    @property
    def channel(self) -> bool:
        """Data channels: messages within DTLS, which ends here as it does for media."""
        return is_channel(self.protocol)

    @property
    def opaque(self) -> bool:
        """Datagrams of which we know nothing."""
        return not self.rtp and not self.channel

    @property
    def secure(self) -> bool:
        """Packets of the party are SRTP, by its transport or by agreement (OSRTP, RFC 8643)."""
        return self.crypto_receive is not None or not self.keyed

    @property
    def keyed(self) -> bool:
        """The key is there, or none is needed. No key, no packet (security: never fall back to plain RTP)."""
        return self.crypto_receive is not None or self.passthrough or not _keys_needed(self.protocol)

    @property
    def rtcp_keyed(self) -> bool:
        """Likewise for RTCP."""
        return (self.crypto_receive is None and self.keyed) or self.rtcp_receive is not None

    @property
    def rtcp_receive(self) -> CryptoLine | None:
        """What the party protects RTCP with; on a port of its own DTLS gives it keys of its own."""
        return self.crypto_receive if self.dtls is None or self.rtcp_mux else self.crypto_rtcp_receive

    @property
    def rtcp_send(self) -> CryptoLine | None:
        return self.crypto_send if self.dtls is None or self.rtcp_mux else self.crypto_rtcp_send

    @property
    def by_ice(self) -> bool:
        """ICE says where the party is; one that has only been offered says nothing yet."""
        return self.ice is not None and not self.ice.untried

    @property
    def expected(self) -> Endpoint | None:
        """The source RTP is accepted from; with ICE only the selected pair's."""
        return self.source if self.by_ice else self.source or self.remote

    @property
    def expected_rtcp(self) -> Endpoint | None:
        return self.expected if self.rtcp_mux else self.source_rtcp or self.remote_rtcp

    @property
    def spoken(self) -> bool:
        """The source RTP is expected from has been heard there: nobody else is believed any more."""
        return self.source is not None or (self.heard is not None and self.heard == self.remote)

    @property
    def spoken_rtcp(self) -> bool:
        return self.source_rtcp is not None or (self.heard_rtcp is not None and self.heard_rtcp == self.remote_rtcp)

    @property
    def destination(self) -> Endpoint | None:
        """Where RTP to the party goes; None while that is unknown or the party is on hold."""
        if self.held or self.rejected:
            return None
        return self._sent_to

    @property
    def destination_rtcp(self) -> Endpoint | None:
        if self.rejected:
            return None
        if self.rtcp_mux:
            return self._sent_to
        return self.remote_rtcp if self.asymmetric else self.source_rtcp or self.remote_rtcp

    @property
    def _sent_to(self) -> Endpoint | None:
        if self.by_ice:
            return self.source
        return self.remote if self.asymmetric else self.source or self.remote

    @property
    def rtcp_socket(self) -> Endpoint | None:
        """The local endpoint that RTCP to and from the party uses."""
        return self.local if self.rtcp_mux else self.local_rtcp

    @property
    def rtp_ports(self) -> tuple[Endpoint, ...]:
        """All that are open; the one after each is open too."""
        return () if self.local is None else (self.local, *self.others)

    @property
    def pairs(self) -> tuple[Endpoint, ...]:
        """All that are open, those of before an unanswered offer included."""
        return self.rtp_ports if self.former is None else (*self.rtp_ports, *self.former.rtp_ports)

    def at(self, local: Endpoint) -> Media:
        """The media as it is at one of its ports."""
        former = self.former
        return former if former is not None and local in (former.local, former.local_rtcp) else self

    def use(self, local: Endpoint, source: Endpoint) -> None:
        """The party is spoken to on this path from now on."""
        if local in self.others and self.local is not None:
            self.others = tuple(self.local if other == local else other for other in self.others)
            self.local = local
        self.source = source

    @property
    def closed(self) -> bool:
        """Nothing is sent to the party for now."""
        return self.shielded or self.waiting

    @property
    def live(self) -> bool:
        """Neither rejected nor left without ports."""
        return (self.local is not None or self.transport is not None) and not self.rejected

    @property
    def described(self) -> bool:
        """The party has said where it listens."""
        return self.remote is not None or self.held

    @property
    def speaks(self) -> bool:
        """Packets of the party may be expected."""
        return self.live and not self.held and self.direction.sends

    def defer(self, direction: Direction, held: bool) -> None:
        """The party has offered what it is now; until the answer it stays as it was (RFC 3261 section 14.1)."""
        if (direction, held) != (self.direction, self.held):
            self.offered = (self.direction, self.held)
            self.direction, self.held = direction, held

    def settle(self) -> None:
        """The party's offer is answered."""
        if self.offered is not None:
            (self.direction, self.held), self.offered = self.offered, None

    def succeed(self, carrier: Media) -> None:
        """Carry the bundle on where it is, in the place of `carrier`, which is left with nothing."""
        bare = Media(index=carrier.index, kind=carrier.kind, protocol=carrier.protocol)
        for name in _OF_TRANSPORT:
            setattr(self, name, getattr(carrier, name))
            setattr(carrier, name, getattr(bare, name))
        self.transport = None

    def forget_sources(self) -> None:
        """The party moved: what was learned of its old address is void."""
        self.source = self.source_rtcp = None


_OF_TRANSPORT = (
    *("former", "interface", "local", "local_rtcp", "others", "remote", "remote_rtcp", "source", "source_rtcp"),
    *("heard", "heard_rtcp"),
    *("rtcp_mux", "mux_proposed", "mux_reply", "ice", "dtls"),
    *(
        "crypto_received",
        "crypto_proposed",
        "crypto_receive",
        "crypto_send",
        "passthrough",
        "crypto_rtcp_receive",
        "crypto_rtcp_send",
    ),
)
"""What belongs to the port and not to the m-line."""
