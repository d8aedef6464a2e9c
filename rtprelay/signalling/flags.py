"""Every key and flag of the ng language, once: how it is spelled, what it may hold, where it goes, what it is for.

Theory of operation. A row is found by its name, whatever the case and whether words are joined by spaces, hyphens or
underscores. It may come as a key of the request (`"ICE": "remove"`), as an item of `flags`, or as a word of the one
string `rtpp-flags`, there as `name`, `name=value`, `name=[a b]` or `name-value` (`ICE-remove`, `codec-strip-PCMU`).
`options.py` carries this out; `docs/flags.md` and the tests are generated from the table.

A row with a `target` fills that field of MediaFlags or Command. A row without one is known and accepted, and noted in
MediaFlags.extra as `name` or `name=value`; it has no effect, and unless it is `needless` the log says why.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from rtprelay.signalling.command import EndpointLearning, IceOption, SdpReplace
from rtprelay.values import Family


class Kind(enum.Enum):
    """What a row holds."""

    SWITCH = "on by being named; as a key `yes` or `no`"
    TEXT = "text"
    NUMBER = "number"
    ADDRESS = "IP address, or `[IP4 address]`"
    WORD = "word"
    WORDS = "list of words"
    TABLE = "dictionary"
    DICTIONARY = "dictionary, taken as it is"
    ANY = "anything"
    FLAGS = "list of flags, or one string of them"


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    kind: Kind
    commands: str
    help: str
    group: str = ""
    target: str = ""
    """The field of MediaFlags or Command; empty: noted in MediaFlags.extra."""
    value: Any = True
    """SWITCH: what the field becomes."""
    choices: Mapping[str, Any] = {}
    """WORD and WORDS: the normalised words allowed and what they mean; empty: any word."""
    aliases: tuple[str, ...] = ()
    low: int = 0
    """NUMBER: anything less says nothing (`TOS=-1`)."""
    high: int = 1024
    """NUMBER: the greatest; TEXT and WORDS: the longest."""
    bare: str | None = None
    """The value meant when a flag names the row without any; None: that is not understood, empty: it says nothing."""
    key_only: bool = False
    """As a flag it is meant for the SIP proxy's module, and ignored."""
    also: tuple[str, ...] = ()
    """Flags it stands for."""
    needless: bool = False
    """Without a target: what it asks for is so anyway, or has no meaning here."""
    lacking: str = ""
    """Why it has no effect, where it is missed: the log and docs/flags.md say so."""
    default: str = ""


IDENTIFICATION = "Identification"
ADDRESSING = "NAT and addressing"
ICE = "ICE"
TRANSPORT = "Transport and SRTP"
RTCP = "RTCP"
CODECS = "Codecs"
SDP = "SDP"
DTMF = "DTMF"
FAX = "T.38"
RECORDING = "Recording"
MEDIA = "Media"
MISC = "Other"

_MEDIA = "media processing is not part of this relay yet"

_ANY = "every"
_OFFER = "offer"
_OA = "offer, answer"
_SDP = "those with SDP"
_PUBSUB = "publish, subscribe request, subscribe answer"
_BLOCK = "block and unblock commands"
_PLAY = "play media"
_RECORD = "recording commands"

PROTOCOLS = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")


def normalise(name: str) -> str:
    """The spelling by which names and words are compared; as long as `name` wherever it can match (they are ASCII)."""
    return name.lower().replace(" ", "-").replace("_", "-")


def _words(*words: str) -> dict[str, Any]:
    return {normalise(word): word for word in words}


def _enum(kind: type[enum.Enum]) -> dict[str, Any]:
    return {normalise(str(member.value)): member for member in kind}


def _row(kind: Kind, commands: str, name: str, help_: str, target: str = "", **more: Any) -> Flag:
    return Flag(kind=kind, commands=commands, name=name, help=help_, target=target, **more)


_PARTS = (Kind.FLAGS, Kind.TABLE)


def _group(name: str, *rows: Flag, lacking: str = "") -> tuple[Flag, ...]:
    """`lacking`: of all rows without an effect that do not say it themselves."""

    def complete(row: Flag) -> Flag:
        effect = row.target or row.also or row.needless or row.kind in _PARTS
        return msgspec.structs.replace(row, group=name, lacking="" if effect else row.lacking or lacking)

    return tuple(map(complete, rows))


_switch = functools.partial(_row, Kind.SWITCH)
_text = functools.partial(_row, Kind.TEXT)
_number = functools.partial(_row, Kind.NUMBER)
_address = functools.partial(_row, Kind.ADDRESS)
_word = functools.partial(_row, Kind.WORD)
_list = functools.partial(_row, Kind.WORDS)
_table = functools.partial(_row, Kind.TABLE)
_any = functools.partial(_row, Kind.ANY)
_dictionary = functools.partial(_row, Kind.DICTIONARY)
_flags = functools.partial(_row, Kind.FLAGS)

_OFF = ("off", "no", "disable")
_DTMF_SECURITY = _words("drop", "silence", "tone", "random", "zero", "DTMF", "off")

TABLE: tuple[Flag, ...] = (
    *_group(
        IDENTIFICATION,
        _text(_ANY, "call-id", "SIP Call-ID", "call_id"),
        _text(_ANY, "from-tag", "SIP From tag", "from_tag", high=512),
        _text(_ANY, "to-tag", "SIP To tag", "to_tag", high=512, bare=""),
        _list("subscribe request, connect", "from-tags", "several participants", "from_tags", high=512),
        _text(_ANY, "via-branch", "branch of the SIP Via, told apart per fork", "via_branch", key_only=True),
        _text(_SDP, "sdp", "the SDP body", "sdp", high=65_535),
        _flags(_ANY, "flags", "flags of this table"),
        _flags(_ANY, "rtpp-flags", "what Kamailio >= 5.8 passes unparsed: `ICE=remove codec=[strip=[G722]]`"),
        _text(_SDP, "label", "name of the participant, shown in replies and logs", "label", aliases=("from-label",)),
        _text(
            _SDP,
            "set-label",
            "name of a new participant; `block media`: who hears the flow",
            "set_label",
            aliases=("to-label",),
        ),
        _text(_SDP, "metadata", "kept with the call, shown by `query`", "metadata", high=4096),
        _list(
            _SDP,
            "supports",
            "`load limit`: overload is answered with `result: load limit`",
            "supports",
            choices={"load-limit": "load limit"},
        ),
        _word(
            _ANY,
            "all",
            "all participants; `block media`: all flows of one, or those of a kind",
            "all",
            choices={"none": "", **_words("offer-answer", "except-offer-answer", "flows", "all")},
            bare="all",
        ),
        _text("connect", "to-call-id", "call of the other participant", "to_call_id"),
        _text(_ANY, "alias-key", "another name of the call", lacking="what it does is documented nowhere"),
        _text(_SDP, "template", "named set of flags", needless=True),
        _text("transform", "instance", "identity of the relay that asks", needless=True),
        _address(_BLOCK, "address", "selects a participant by media address", "address"),
        _text("inject start", "source-tag", "participant whose media is injected", lacking=_MEDIA),
        _text("inject start", "source-call-id", "call of that participant", lacking=_MEDIA),
        _number(_OA, "sip-code", "SIP status this message came with", needless=True),
        _text(_OA, "sip-message-type", "`SIP request` or `SIP response`", needless=True),
        _text(_OA, "xmlrpc-callback", "address told when the call times out", lacking="no XMLRPC is spoken here"),
        _switch("answer", "provisional", "the To tag may still change", needless=True),
        _switch("answer", "new-branch", "an unknown To tag is a branch of its own, no alias", needless=True),
        _switch(f"{_BLOCK}, connect", "directional", "only what the selected participant sends", "directional"),
        _number("delete", "delete-delay", "seconds until the call is forgotten", "delete_delay", high=86_400),
        _switch("delete", "fatal", "an unknown call is an error, not a warning", "fatal"),
        _switch("delete", "fast", "no statistics in the reply", "fast"),
        _text("cli", "body", "a line of the console", "body", high=4096),
        _number("list", "limit", "at most so many calls", "limit", low=-(1 << 31), high=1_000_000, default="32"),
    ),
    *_group(
        ADDRESSING,
        _address(_SDP, "received-from", "where the SIP message came from", "received_from", aliases=("receive-from",)),
        _switch(_SDP, "trust-address", "media goes where the SDP says", "trust_address", default="on"),
        _switch(_SDP, "SIP-source-address", "media goes to `received-from`", "trust_address", value=False),
        _address(_SDP, "media-address", "put into the SDP passed on, instead of the relay's own", "media_address"),
        _word(
            _SDP,
            "address-family",
            "family of the addresses in the SDP passed on",
            "address_family",
            choices=_enum(Family),
            default="as the receiver spoke before, else as offered",
        ),
        _list(
            _OFFER,
            "direction",
            "interfaces of sender and receiver; `round-robin-calls`: all take turns; `internal`, `external`: IPv4, "
            "IPv6 where no interface is called so",
            "direction",
        ),
        _switch(_OFFER, "internal", "`direction=internal`", "direction", value="internal"),
        _switch(_OFFER, "external", "`direction=external`", "direction", value="external"),
        _text(_PUBSUB, "interface", "the interface to use", "interface"),
        _text(_SDP, "from-interface", "interface towards the sender", "from_interface"),
        _text(_SDP, "to-interface", "interface towards the receiver", "to_interface"),
        _switch(_OFFER, "round-robin-calls", "`direction=round-robin-calls`", "direction", value="round-robin-calls"),
        _switch(_SDP, "asymmetric", "the sender sends from elsewhere: nothing is learned", "asymmetric"),
        _switch(_SDP, "symmetric", "the sender sends from where it receives", "symmetric", default="on"),
        _switch(_SDP, "unidirectional", "media flows one way only", "unidirectional"),
        _switch(_SDP, "strict-source", "other sources are dropped for good", "strict_source"),
        _switch(_SDP, "media-handover", "any source takes over (lets strangers hijack media)", "media_handover"),
        _switch(_SDP, "port-latching", "the relay's ports stay when the remote port changes", "port_latching"),
        _switch(_SDP, "no-port-latching", "new ports when the remote port changes, with ICE too", "no_port_latching"),
        _word(
            _SDP,
            "endpoint-learning",
            "when an unexpected source is believed",
            "endpoint_learning",
            choices=_enum(EndpointLearning),
            default="as configured",
        ),
        _number(
            _SDP,
            "TOS",
            "IP TOS of the call's media, until the next offer; negative: as it is",
            "tos",
            low=-(1 << 31),
            high=255,
            default="as configured",
        ),
        _switch(_SDP, "pierce-NAT", "an empty packet opens the way to a party that has sent nothing yet", "pierce_nat"),
        _switch(_SDP, "NAT-wait", "nothing is sent to the sender before media has come from it", "nat_wait"),
        _address(
            _SDP,
            "inbound-peer",
            "the interface towards the sender is the one this address is reached by",
            "inbound_peer",
        ),
        _address(_SDP, "outbound-peer", "the same, towards the receiver", "outbound_peer", aliases=("peer",)),
        _word(
            _OA,
            "drop-traffic",
            "all media of the call is dropped, from `start` to `stop`",
            "drop_traffic",
            choices={"start": True, "stop": False},
        ),
    ),
    *_group(
        ICE,
        _word(
            _SDP, "ICE", "what becomes of ICE in the SDP passed on", "ice", choices=_enum(IceOption), default="default"
        ),
        _word(
            _OFFER,
            "ICE-lite",
            "who is spoken to as ICE lite",
            "ice_lite",
            choices=_words("forward", "backward", "both", "off"),
        ),
        _switch(_OFFER, "ice2", "ICE as in RFC 8445", needless=True),
        _switch(_OFFER, "trickle-ICE", "candidates may follow", "trickle_ice"),
        _switch(_OFFER, "reject-ICE", "the sender's ICE is refused", "reject_ice"),
        _switch(_OFFER, "reset", "what was learned of the receiver is forgotten", "reset"),
        _switch(_OFFER, "fragment", "the body is a trickle ICE fragment (RFC 8840)", "fragment"),
    ),
    *_group(
        TRANSPORT,
        _word(
            _SDP,
            "transport-protocol",
            "profile of the SDP passed on",
            "transport_protocol",
            choices=_words(*PROTOCOLS, "accept"),
            default="as offered",
        ),
        *(
            _switch(_SDP, protocol, f"`transport-protocol={protocol}`", "transport_protocol", value=protocol)
            for protocol in PROTOCOLS
        ),
        _list(_SDP, "SDES", "SDES (RFC 4568): off, pad, nonew, static, no-SUITE, only-SUITE, order:SUITE;...", "sdes"),
        _switch(_SDP, "pad-crypto", "`SDES=pad`", also=("SDES-pad",)),
        _word(
            _SDP,
            "DTLS",
            "DTLS-SRTP role, or off",
            "dtls",
            choices={**dict.fromkeys(_OFF, "off"), **_words("passive", "active")},
        ),
        _word(
            _SDP, "DTLS-reverse", "DTLS role towards the sender", "dtls_reverse", choices=_words("passive", "active")
        ),
        _word(
            _SDP,
            "DTLS-fingerprint",
            "hash of the fingerprint",
            "dtls_fingerprint",
            choices=_words("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512"),
        ),
        _list(
            _SDP,
            "OSRTP",
            "opportunistic SRTP (RFC 8643)",
            "osrtp",
            choices=_words("offer", "offer-RFC", "offer-legacy", "accept", "accept-RFC", "accept-legacy"),
        ),
        _switch(_SDP, "no-tls-id", "no `a=tls-id`", "no_tls_id"),
        _switch(_SDP, "recrypt", "SRTP is always decrypted and encrypted again", "passthrough", value=False),
        _switch(_SDP, "passthrough", "SRTP passes as it is", "passthrough"),
        _switch(_SDP, "no-passthrough", "the opposite of `passthrough`", "passthrough", value=False),
    ),
    *_group(
        RTCP,
        _list(
            _SDP,
            "rtcp-mux",
            "RTP and RTCP on one port (RFC 5761)",
            "rtcp_mux",
            choices=_words("offer", "require", "demux", "accept", "reject"),
            default="as offered",
        ),
        _switch(_SDP, "no-rtcp-attribute", "no `a=rtcp` line", "no_rtcp_attribute"),
        _switch(_SDP, "full-rtcp-attribute", "`a=rtcp` with the address (RFC 3605)", "full_rtcp_attribute"),
        _switch(
            _SDP,
            "generate-RTCP",
            "RTCP is made by the relay, not passed on",
            lacking="what the parties send is passed on: to make it takes media processing",
        ),
        _switch(
            "subscribe request",
            "RTCP-mirror",
            "the subscriber's RTCP reaches the publisher",
            aliases=("mirror-RTCP",),
            needless=True,
        ),
    ),
    *_group(
        CODECS,
        _table(_SDP, "codec", "dictionary of the `codec-` rows: `{strip: [...], offer: [...]}`"),
        _list(_SDP, "codec-accept", "accepted from the sender; `any`, `all`", "codec_accept"),
        _list(_SDP, "codec-strip", "taken off the list; `all`, `full`", "codec_strip"),
        _list(_SDP, "codec-offer", "spared by `strip` and `mask`; after `all` in this order", "codec_offer"),
        _list(_SDP, "codec-mask", "hidden from the receiver", "codec_mask"),
        _list(_SDP, "codec-except", "spared by `all` and `full`", "codec_except"),
        _list(_SDP, "codec-transcode", "offered in addition, transcoded", aliases=("transcode",)),
        _list(_SDP, "codec-consume", "hidden from the receiver; transcoded one day", "codec_mask"),
        _list(_SDP, "codec-ignore", "left alone", needless=True),
        _list(_SDP, "codec-set", "options of a transcoded codec: `opus/48000/2/32000`"),
        _list("create", "codecs-offer", "codecs of a made-up offer: `PCMA`, `opus/48000/2`", "codecs_offer"),
        _switch(_SDP, "always-transcode", "`codec-accept=all`", also=("codec-accept=all",)),
        _switch(_SDP, "single-codec", "only the first codec is answered", "single_codec"),
        _switch("subscribe answer", "allow-transcoding", "refused codecs are transcoded", needless=True),
        _switch(_SDP, "force-transcoding", "transcoded in any case"),
        _switch(
            _SDP,
            "allow-asymmetric-codecs",
            "payload types may differ per direction",
            aliases=("asymmetric-codecs",),
            needless=True,
        ),
        _switch(_SDP, "symmetric-codecs", "both directions use the same codec", needless=True),
        _switch(_SDP, "reorder-codecs", "supported codecs come first", needless=True),
        _switch(_OFFER, "static-codecs", "the receiver is offered no codecs but those of before", "static_codecs"),
        _switch(
            _SDP, "reuse-codecs", "preferences of before are kept", "reuse_codecs", aliases=("no-codec-renegotiation",)
        ),
        _switch(
            _SDP,
            "allow-no-codec-media",
            "a media section without codecs is rejected, not restored",
            "allow_no_codec_media",
        ),
        _number(_OFFER, "ptime", "milliseconds per packet towards the receiver", "ptime", low=1),
        _number(_OFFER, "ptime-reverse", "milliseconds per packet towards the sender", "ptime_reverse", low=1),
        _number(_OFFER, "repacketize", "rtpproxy's spelling of `ptime`", "ptime", low=1),
        lacking=_MEDIA,
    ),
    *_group(
        SDP,
        _list(
            _SDP,
            "replace",
            "parts of the SDP rewritten; `session-connection` always is",
            "replace",
            choices={
                "origin": SdpReplace.ORIGIN,
                "origin-full": SdpReplace.ORIGIN_FULL,
                "session-connection": SdpReplace.NONE,
                "session-name": SdpReplace.SESSION_NAME,
                "sdp-version": SdpReplace.SDP_VERSION,
                "username": SdpReplace.USERNAME,
                "force-increment-sdp-ver": SdpReplace.FORCE_INCREMENT_SDP_VERSION,
                "zero-address": SdpReplace.ZERO_ADDRESS,
            },
        ),
        _switch(_SDP, "generate-mid", "`a=mid` is added (RFC 5888)", "generate_mid"),
        _switch(_SDP, "original-sendrecv", "direction attributes stay as they are", "original_sendrecv"),
        _switch(_SDP, "loop-protect", "the SDP is marked, and left alone when it comes again", "loop_protect"),
        _switch(f"{_PUBSUB}, connect", "bidirectional", "media flows both ways", "bidirectional"),
        _switch("subscribe request", "inactive", "the offer is inactive instead of sendonly", "inactive"),
        _table(_SDP, "extmap", "dictionary of the `extmap-` rows"),
        _list(_SDP, "extmap-strip", "header extensions taken off: URIs, or `all`", "extmap_strip"),
        _list(_SDP, "extmap-mask", "the same, but the offerer is answered that they are known", "extmap_mask"),
        _switch(_SDP, "strip-extmap", "`extmap-strip=all`", also=("extmap-strip=all",)),
        _list(
            _SDP,
            "bundle",
            "BUNDLE (RFC 9143)",
            "bundle",
            choices=_words("accept", "offer", "require", "strict", "reject"),
        ),
        _dictionary(
            _SDP, "sdp-attr", "attribute lines: `{audio: {add: [...], remove: [...], substitute: [...]}}`", "sdp_attr"
        ),
        _list(
            _SDP,
            "sdp-media-remove",
            "kinds of media sections the receiver is not shown: audio, video, ...; `other`: kinds nobody knows",
            "sdp_media_remove",
        ),
    ),
    *_group(
        DTMF,
        _switch(_OA, "inject-DTMF", "`play DTMF` will be used"),
        _switch(_OA, "block-DTMF", "DTMF of the sender is blocked, as by `block DTMF`", "block_dtmf"),
        _switch(_OA, "detect-DTMF", "in-band DTMF is listened for"),
        _word(_BLOCK, "DTMF-security", "what DTMF is replaced by", choices=_DTMF_SECURITY),
        _word(_BLOCK, "DTMF-security-trigger", "the same, from the trigger on", choices=_DTMF_SECURITY),
        _word(_BLOCK, "DTMF-security-trigger-end", "the same, after the end trigger", choices=_DTMF_SECURITY),
        _text(_BLOCK, "trigger", "digits that switch blocking on"),
        _text(_BLOCK, "trigger-end", "digits that switch it off", aliases=("end-trigger",)),
        _number(_BLOCK, "trigger-end-time", "milliseconds until then", high=86_400_000),
        _number(_BLOCK, "trigger-end-digits", "digits until then"),
        _number(_BLOCK, "DTMF-delay", "milliseconds DTMF is held back", high=60_000),
        _text(_OA, "DTMF-log-dest", "where DTMF events are reported"),
        _number(_BLOCK, "delay-buffer", "milliseconds media is held back", high=60_000),
        _any(_BLOCK, "frequency", "tones in Hz", aliases=("frequencies",)),
        _any(_BLOCK, "volume", "negative dB"),
        _any("play DTMF", "code", "the event", aliases=("digit",)),
        _number("play DTMF", "duration", "milliseconds", high=5000, default="250"),
        lacking=_MEDIA,
    ),
    *_group(
        FAX,
        _list(
            _OFFER,
            "T.38",
            "T.38 gateway",
            aliases=("T38",),
            choices=_words(
                *("decode", "force", "stop", "FEC"),
                *("no-ECM", "no-V.17", "no-V.27ter", "no-V.29", "no-V.34", "no-IAF"),
            ),
        ),
        _number(_OFFER, "T.38-version", "T38FaxVersion", aliases=("T38-version",)),
        lacking=_MEDIA,
    ),
    *_group(
        RECORDING,
        _switch(_OA, "record-call", "the call is recorded"),
        _switch(_OA, "exclude-recording", "this participant is not recorded"),
        _switch(_RECORD, "discard-recording", "the recording is deleted"),
        _switch(_OA, "recording-announcement", "an announcement is played when recording starts"),
        _switch(_RECORD, "skip-recording-db", "no database entry"),
        _switch(_RECORD, "pause", "the recording goes on later"),
        _text(_RECORD, "recording-file", "file to write", aliases=("output-destination",)),
        _text(_RECORD, "recording-dir", "directory to write to"),
        _text(_RECORD, "recording-pattern", "pattern of the file names"),
        *(
            _text(_OA, name, "star code of the participants")
            for name in (
                *("vsc-start-rec", "vsc-stop-rec", "vsc-pause-rec", "vsc-start-stop-rec"),
                *("vsc-pause-resume-rec", "vsc-start-pause-resume-rec"),
            )
        ),
        _switch("subscribe request", "SIPREC", "media labels for SIPREC (RFC 7866)"),
        lacking=_MEDIA,
    ),
    *_group(
        MEDIA,
        _word(
            _OA,
            "media-echo",
            "media goes nowhere, or back to whom it comes from: the receiver, the sender, both",
            "media_echo",
            choices=_words("blackhole", "sinkhole", "forward", "backwards", "both"),
        ),
        _word(_OA, "audio-player", "continuous audio", choices=_words("default", "transcoding", "off", "always")),
        _switch(_OA, "early-media", "the audio player starts with the offer"),
        _switch(_OA, "block-egress", "nothing else is sent while media is played"),
        _switch(_OA, "block-short", "short packets are dropped", aliases=("block-short-packets",)),
        _switch("subscribe request", "mix", "the sources are mixed"),
        _any(_OA, "moh", "music on hold: `{file, mode, connection}`"),
        _text(_PLAY, "file", "media file"),
        _text(_PLAY, "blob", "media in the request", high=65_535),
        _text(_PLAY, "blob64", "the same in base64", high=65_535),
        _any(_PLAY, "db-id", "media in the database"),
        _number(_PLAY, "repeat-times", "how often", high=1_000_000, default="1"),
        _number(_PLAY, "repeat-duration", "milliseconds in all", high=86_400_000),
        _number(_PLAY, "start-pos", "frame to begin with", high=(1 << 31) - 1),
        lacking=_MEDIA,
    ),
    *_group(
        MISC,
        _switch(
            _SDP,
            "WebRTC",
            "what a browser wants",
            also=(
                *("UDP/TLS/RTP/SAVPF", "ICE=force", "trickle-ICE", "rtcp-mux-offer", "rtcp-mux-require"),
                *("no-rtcp-attribute", "SDES-off", "generate-mid", "bundle-offer"),
            ),
        ),
        _switch(_ANY, "debug", "everything about this call is logged", aliases=("debugging",), needless=True),
        _switch(_ANY, "no-redis-update", "the call is not written to the store", needless=True),
        _switch(_ANY, "no-jitter-buffer", "no jitter buffer for this call", needless=True),
        _switch(_OA, "force", "of rtpproxy, ignored", needless=True),
    ),
)

BY_NAME = {normalise(name): row for row in TABLE for name in (row.name, *row.aliases)}
LONGEST_NAME = max(map(len, BY_NAME))


@functools.lru_cache(maxsize=4096)
def find(name: str) -> Flag | None:
    """The row of this name, however it is spelled."""
    return BY_NAME.get(normalise(name))
