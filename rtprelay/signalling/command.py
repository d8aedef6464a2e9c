"""The ng language as values: what a request asks for, whatever its encoding and whichever spelling its flags had."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from rtprelay.values import CallId, Endpoint, Family, Tag


class CommandName(enum.Enum):
    """The commands known by name; the value is the ng spelling."""

    # Enum's own is Python, and each command is looked up nine times.
    __hash__ = object.__hash__

    PING = "ping"
    OFFER = "offer"
    ANSWER = "answer"
    DELETE = "delete"
    QUERY = "query"
    LIST = "list"
    STATISTICS = "statistics"
    PUBLISH = "publish"
    SUBSCRIBE_REQUEST = "subscribe request"
    SUBSCRIBE_ANSWER = "subscribe answer"
    UNSUBSCRIBE = "unsubscribe"
    BLOCK_MEDIA = "block media"
    UNBLOCK_MEDIA = "unblock media"
    SILENCE_MEDIA = "silence media"
    UNSILENCE_MEDIA = "unsilence media"
    BLOCK_DTMF = "block DTMF"
    UNBLOCK_DTMF = "unblock DTMF"
    START_FORWARDING = "start forwarding"
    STOP_FORWARDING = "stop forwarding"
    START_RECORDING = "start recording"
    STOP_RECORDING = "stop recording"
    PAUSE_RECORDING = "pause recording"
    PLAY_MEDIA = "play media"
    STOP_MEDIA = "stop media"
    PLAY_DTMF = "play DTMF"
    INJECT_START = "inject start"
    INJECT_STOP = "inject stop"
    CONNECT = "connect"
    CREATE = "create"
    CREATE_ANSWER = "create answer"
    MESH = "mesh"
    TRANSFORM = "transform"
    CLI = "cli"


class EndpointLearning(enum.Enum):
    HEURISTIC = "heuristic"
    DELAYED = "delayed"
    IMMEDIATE = "immediate"
    OFF = "off"


class IceOption(enum.Enum):
    """`ICE=`: what becomes of ICE in the SDP passed on."""

    DEFAULT = "default"
    REMOVE = "remove"
    FORCE = "force"
    OPTIONAL = "optional"
    FORCE_RELAY = "force-relay"


class SdpReplace(enum.Flag):
    """`replace=`: parts of the SDP rewritten beyond the media addresses."""

    NONE = 0
    ORIGIN = enum.auto()
    SESSION_NAME = enum.auto()
    SDP_VERSION = enum.auto()
    USERNAME = enum.auto()
    ORIGIN_FULL = enum.auto()
    FORCE_INCREMENT_SDP_VERSION = enum.auto()
    ZERO_ADDRESS = enum.auto()


class MediaFlags(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """Options of offer, answer, publish, subscribe request and subscribe answer. Defaults: nothing was said."""

    trust_address: bool | None = None
    """True `trust-address`, False `SIP-source-address`, None: the transport's default (trust)."""
    media_address: str | None = None
    """Overrides the address put into the SDP passed on."""
    address_family: Family | None = None
    direction: tuple[str, ...] = ()
    """Interface names: (from, to)."""
    interface: str | None = None
    from_interface: str | None = None
    to_interface: str | None = None
    inbound_peer: str | None = None
    """An address: the interface facing the sender is the one from which it is reached."""
    outbound_peer: str | None = None
    """The same for the receiver."""
    transport_protocol: str | None = None
    ice: IceOption = IceOption.DEFAULT
    replace: SdpReplace = SdpReplace.NONE
    rtcp_mux: frozenset[str] = frozenset()
    """Of offer, require, demux, accept, reject."""
    bundle: frozenset[str] = frozenset()
    """Of accept, offer, require, strict, reject."""
    asymmetric: bool = False
    symmetric: bool = False
    unidirectional: bool = False
    strict_source: bool = False
    media_handover: bool = False
    port_latching: bool = False
    no_port_latching: bool = False
    endpoint_learning: EndpointLearning | None = None
    tos: int | None = None
    """Negative: what was said before holds."""
    block_dtmf: bool = False
    """Of the sender, as the command `block DTMF` does."""
    drop_traffic: bool | None = None
    label: str | None = None
    set_label: str | None = None
    metadata: str | None = None
    no_rtcp_attribute: bool = False
    full_rtcp_attribute: bool = False
    sdes: tuple[str, ...] = ()
    """Words of `SDES=`, read by negotiate.sdes."""
    osrtp: frozenset[str] = frozenset()
    """Of offer, offer-RFC, offer-legacy, accept, accept-RFC, accept-legacy."""
    passthrough: bool | None = None
    """SRTP between two SRTP legs passes unchecked; None and False: it is always decrypted and encrypted again."""
    dtls: str | None = None
    """off, passive or active: our role towards the receiver."""
    dtls_reverse: str | None = None
    """passive or active: our role towards the sender."""
    dtls_fingerprint: str = "SHA-256"
    no_tls_id: bool = False
    ice_lite: str | None = None
    """forward, backward, both or off: on which side we are ICE lite."""
    trickle_ice: bool = False
    reject_ice: bool = False
    reset: bool = False
    fragment: bool = False
    codec_accept: tuple[str, ...] = ()
    codec_strip: tuple[str, ...] = ()
    codec_offer: tuple[str, ...] = ()
    codec_mask: tuple[str, ...] = ()
    codec_except: tuple[str, ...] = ()
    codecs_offer: tuple[str, ...] = ()
    """Names of what a made-up offer has (`create`)."""
    single_codec: bool = False
    reuse_codecs: bool = False
    """Preferences of before hold in a renewed offer."""
    allow_no_codec_media: bool = False
    """A section that the codec options leave nothing of is rejected."""
    ptime: int | None = None
    """Milliseconds per packet, asked of the receiver of the SDP."""
    ptime_reverse: int | None = None
    """The same, asked of its sender (in what it is answered)."""
    sdp_attr: Mapping[str, Any] = {}
    """As it came: read by sdp.alter."""
    sdp_media_remove: tuple[str, ...] = ()
    """Kinds of media sections."""
    bidirectional: bool = False
    extmap_strip: tuple[str, ...] = ()
    extmap_mask: tuple[str, ...] = ()
    """URIs of header extensions, or `all`."""
    inactive: bool = False
    original_sendrecv: bool = False
    generate_mid: bool = False
    loop_protect: bool = False
    media_echo: str | None = None
    """blackhole, sinkhole, forward, backwards or both."""
    static_codecs: bool = False
    """A renewed offer shows its receiver no codec that it has not been shown before."""
    pierce_nat: bool = False
    nat_wait: bool = False
    """Nothing goes to the sender of the SDP before media has come from it."""
    extra: frozenset[str] = frozenset()
    """Normalised names of flags that are known to the table but have no meaning yet."""


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request. Keys that the command requires are present: parsing has refused the others."""

    name: CommandName
    call_id: CallId = CallId("")
    from_tag: Tag = Tag("")
    from_tags: tuple[Tag, ...] = ()
    to_tag: Tag = Tag("")
    via_branch: str = ""
    received_from: str | None = None
    """Canonical address the signalling came from (`received-from` [family, address])."""
    sdp: str = ""
    flags: MediaFlags = MediaFlags()
    delete_delay: int | None = None
    """Seconds; None: the configured one."""
    fast: bool = False
    """delete: without statistics in the reply."""
    fatal: bool = False
    """delete: an unknown call is an error instead of a warning."""
    forced: bool = False
    """delete: the operator's say, not a proxy's."""
    to_call_id: CallId = CallId("")
    """connect: the call of the to-tag's party, if it is another one."""
    all: str = ""
    """`all`: every participant. For `block media` kinds of flows, too: offer-answer, except-offer-answer, flows."""
    directional: bool = False
    """Block commands: only what the party of the from-tag sends, not the whole call."""
    address: str | None = None
    """Block commands: the party by its media address."""
    body: str = ""
    """cli: the line to execute."""
    limit: int = 32
    """list: at most so many calls."""
    supports: frozenset[str] = frozenset()
    received_on: Endpoint | None = None
    unknown_flags: tuple[str, ...] = ()
    """Flags nobody knows: to be logged, otherwise ignored."""
    missed_flags: frozenset[str] = frozenset()
    """Names of flags that are known and have no effect, though they should."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A command with the id its Reply carries."""

    request_id: int
    command: Command
    proxy: str = ""
    """Address of whoever asks; statistics are kept per proxy."""


Body = dict[str, Any]
"""A reply's dictionary, before encoding: str keys; str, int, list, dict and `bencode.Written` values."""
