"""What a session description means to a relay: typed values read off the lossless document.

Strict where a mistake would send media to the wrong place (`o=`, `c=`, `m=`, `a=rtcp`): MalformedSdp naming the line.
Lenient elsewhere: an attribute that cannot be read is as good as absent, and its line is passed on all the same.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from rtprelay.errors import MalformedSdp
from rtprelay.sdp.attributes import Attributes, Direction, number
from rtprelay.sdp.codecs import MAX_PAYLOAD_TYPE, Codec, read_codecs
from rtprelay.sdp.document import LONGEST, REMEMBERED, Block, Line, Section, SessionDescription
from rtprelay.values import Endpoint, canonical_address

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""RFC 9143 section 15."""
MAX_STREAMS = 16
MAX_FORMATS = 128
"""As many as there are RTP payload types."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The `o=` line (RFC 8866 section 5.2); the numbers stay the text they came as."""

    username: str
    session_id: str
    version: str
    network_type: str
    address_type: str
    address: str

    @property
    def version_number(self) -> int | None:
        """None where the version is no number of at most 64 bits."""
        return number(self.version, 2**64 - 1)


class Connection(msgspec.Struct, frozen=True, gc=False):
    """A `c=` line (RFC 8866 section 5.7): the host as written, and its canonical address unless it is a name."""

    host: str
    address: str | None


class Ice(msgspec.Struct, frozen=True, gc=False):
    """The ICE attributes of a section, session-level ones included (RFC 8839 section 5)."""

    ufrag: str
    pwd: str
    candidates: tuple[str, ...]
    lite: bool
    trickle: bool
    ended: bool
    """`a=end-of-candidates` (RFC 8840 section 8.2)."""


class MediaView(msgspec.Struct, frozen=True, gc=False):
    """One media description."""

    index: int
    kind: str
    port: int
    port_count: int
    protocol: str
    formats: tuple[str, ...]
    connection_host: str | None
    """The host of the `c=` line in force, as written; None only where the section is rejected."""
    endpoint: Endpoint | None
    """Where RTP goes. None for a rejected section, and for a host name, which is not resolved here."""
    rtcp: Endpoint | None
    """Where RTCP goes: with the RTP if multiplexed, else `rtcp_fallback`."""
    rtcp_fallback: Endpoint | None
    """Where RTCP goes without multiplexing: `a=rtcp` (RFC 3605), else the next port; None if there is no next port."""
    rtcp_mux: bool
    direction: Direction
    mid: str | None
    ptime: int | None
    maxptime: int | None
    label: str | None
    codecs: tuple[Codec, ...]
    ice: Ice | None
    crypto: tuple[str, ...]
    fingerprints: tuple[str, ...]
    setup: str | None
    tls_id: str | None
    lines: Attributes
    is_rtp: bool
    is_savp: bool
    """SRTP is spoken, whichever way keys are exchanged (RFC 3711, RFC 5764)."""
    is_channel: bool
    """Data channels (RFC 8864)."""
    is_feedback: bool
    """The feedback profile (RFC 4585, RFC 5124)."""
    ssrcs: tuple[int, ...]
    """The streams it names (RFC 5576), the first few."""
    mid_extension: int
    """The number of the header extension for the MID (RFC 8285 section 5); 0: there is none."""

    def attribute(self, name: str) -> str | None:
        """The section's first attribute of that name: "" for a flag, None when there is none."""
        return self.lines.first(name)

    def attributes(self, name: str) -> tuple[str, ...]:
        return self.lines.all(name)

    @property
    def rejected(self) -> bool:
        """Port zero (RFC 3264 section 6) — unless it only says that the bundle's port is used (RFC 9143 section 6)."""
        return self.port == 0 and "bundle-only" not in self.lines


class SessionView(msgspec.Struct, frozen=True, gc=False):
    origin: Origin
    name: str
    connection: Connection | None
    media: tuple[MediaView, ...]
    bundles: tuple[tuple[str, ...], ...]
    """The mids of each `a=group:BUNDLE` (RFC 9143)."""
    ice_lite: bool
    lines: Attributes

    def attribute(self, name: str) -> str | None:
        """The first session-level attribute of that name: "" for a flag, None when there is none."""
        return self.lines.first(name)

    def attributes(self, name: str) -> tuple[str, ...]:
        return self.lines.all(name)


@functools.lru_cache(64)
def is_rtp(protocol: str) -> bool:
    """RTP/AVP, RTP/SAVPF, UDP/TLS/RTP/SAVPF, TCP/RTP/AVP, ..."""
    return "RTP/" in protocol.upper()


@functools.lru_cache(64)
def is_savp(protocol: str) -> bool:
    """The secure profiles (RFC 3711, RFC 5124), whichever way keys are exchanged."""
    return protocol.upper().endswith(("RTP/SAVP", "RTP/SAVPF"))


@functools.lru_cache(64)
def is_feedback(protocol: str) -> bool:
    """The feedback profiles (RFC 4585, RFC 5124)."""
    return protocol.upper().endswith(("RTP/AVPF", "RTP/SAVPF"))


@functools.lru_cache(64)
def is_channel(protocol: str) -> bool:
    """SCTP within DTLS (RFC 8841 section 4)."""
    return protocol.upper() == "UDP/DTLS/SCTP"


def read(document: SessionDescription) -> SessionView:
    """The meaning of the document. Raises MalformedSdp."""
    session = document.session
    origin = None
    name = ""
    for line in (*session.own, *session.block.named):
        if line.type == "o":
            fields = _origin(session, line)
            origin = origin or fields
        elif line.type == "s":
            name = line.value
    if origin is None:
        raise MalformedSdp("Malformed SDP: no o= line")
    connection = _connection(session)
    attributes = session.block.attributes
    groups = (value.split() for value in attributes.all("group"))
    bundles = tuple([tuple(mids) for semantics, *mids in filter(None, groups) if semantics == "BUNDLE"])
    inherited = _inherited(attributes)
    known = session.block.remembered
    media = [_media(index, section, connection, inherited, known) for index, section in enumerate(document.media)]
    return SessionView(
        origin=origin,
        name=name,
        connection=connection,
        media=_as_bundled(media, bundles) if bundles else tuple(media),
        bundles=bundles,
        ice_lite="ice-lite" in attributes,
        lines=attributes,
    )


def _origin(session: Section, line: Line) -> Origin:
    fields = line.value.split()
    if len(fields) != 6:
        raise session.malformed(line, "not six fields")
    return Origin(*fields)


def _as_bundled(media: list[MediaView], bundles: tuple[tuple[str, ...], ...]) -> tuple[MediaView, ...]:
    """What belongs to the port may be said in the section that carries the bundle alone (RFC 9143 section 7.1.3)."""
    by_mid = {each.mid: each for each in media if not each.rejected}
    for bundle in bundles:
        members = [by_mid[mid] for mid in bundle if mid in by_mid]
        tagged = next((each for each in members if each.port), None)
        for each in members:
            if tagged is not None and each is not tagged:
                media[each.index] = msgspec.structs.replace(
                    each,
                    ice=each.ice or tagged.ice,
                    rtcp_mux=each.rtcp_mux or tagged.rtcp_mux,
                    **_keys(each if each.fingerprints or each.crypto else tagged),
                )
    return tuple(media)


def _keys(media: MediaView) -> dict[str, Any]:
    return {"fingerprints": media.fingerprints, "setup": media.setup, "tls_id": media.tls_id}


_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{1,63}\.?")
"""The last label has a letter: 192.0.2.300 is no host name but a mistake."""


def _connection(section: Section) -> Connection | None:
    """The section's own `c=` line."""
    line = section.connection
    if line is None:
        return None
    fields = line.value.split()
    if len(fields) != 3 or fields[0].upper() != "IN" or fields[1].upper() not in ("IP4", "IP6"):
        raise section.malformed(line, "not IN IP4 or IN IP6 with an address")
    return _host(fields[2].partition("/")[0], section, line)


def _host(text: str, section: Section, line: Line) -> Connection:
    if len(text) <= 253:
        try:
            return Connection(text, canonical_address(text))
        except ValueError:
            if _HOST_NAME.fullmatch(text):
                return Connection(text, None)
    raise section.malformed(line, f"{text[:40]!r} is no address")


class _Inherited(msgspec.Struct, frozen=True, gc=False):
    """What the session says for those of its media that do not say it themselves."""

    direction: Direction | None = None
    fingerprints: tuple[str, ...] = ()
    setup: str | None = None
    tls_id: str | None = None
    ufrag: str | None = None
    pwd: str | None = None
    options: str = ""
    lite: bool = False
    ended: bool = False


_NOTHING_INHERITED = _Inherited()


def _inherited(session: Attributes) -> _Inherited:
    if not session.values:
        return _NOTHING_INHERITED
    return _Inherited(
        direction=session.direction,
        fingerprints=session.all("fingerprint"),
        setup=session.first("setup"),
        tls_id=session.first("tls-id"),
        ufrag=session.first("ice-ufrag"),
        pwd=session.first("ice-pwd"),
        options=session.first("ice-options") or "",
        lite="ice-lite" in session,
        ended="end-of-candidates" in session,
    )


def _media(
    index: int, section: Section, session_connection: Connection | None, inherited: _Inherited, known: bool
) -> MediaView:
    """`known`: the session is a short one, that may come again."""
    first = section.own[0]
    fields = first.value.split(maxsplit=2)
    if len(fields) < 3:
        raise section.malformed(first, "not media, port, protocol and formats")
    kind, port_text, transport = fields
    port_text, _, count_text = port_text.partition("/")
    media_port = _port(port_text, section, first)
    port_count = number(count_text, 65535) if count_text else 1
    if not port_count:
        raise section.malformed(first, f"{count_text[:20]!r} is no number of ports")
    known = known and section.block.remembered and len(first.value) <= LONGEST
    try:
        meaning = (_known_meaning if known else _meaning)(kind, transport, section.block, inherited)
    except ValueError as error:
        raise section.malformed(first, str(error)) from None

    connection = _connection(section) or session_connection
    if connection is None and media_port:
        raise section.malformed(first, "no c= line")
    address = connection.address if connection else None
    endpoint = Endpoint(address, media_port) if address and media_port else None
    fallback = _rtcp(section, endpoint, meaning)
    return msgspec.structs.replace(
        meaning,
        index=index,
        port=media_port,
        port_count=port_count,
        connection_host=connection.host if connection else None,
        endpoint=endpoint,
        rtcp=endpoint if meaning.rtcp_mux else fallback,
        rtcp_fallback=fallback,
    )


def _meaning(kind: str, transport: str, block: Block, inherited: _Inherited) -> MediaView:
    """The media description but for its addresses and ports. Raises ValueError for what is wrong in the `m=` line."""
    protocol, *formats = transport.split(maxsplit=MAX_FORMATS + 1)
    if len(formats) > MAX_FORMATS:
        raise ValueError(f"more than {MAX_FORMATS} formats")
    attributes = block.attributes
    rtp = is_rtp(protocol)
    return MediaView(
        index=0,
        kind=kind,
        port=0,
        port_count=1,
        protocol=protocol,
        formats=tuple(formats),
        connection_host=None,
        endpoint=None,
        rtcp=None,
        rtcp_fallback=None,
        rtcp_mux="rtcp-mux" in attributes,
        direction=attributes.direction or inherited.direction or Direction.SENDRECV,
        mid=attributes.first("mid"),
        ptime=number(attributes.first("ptime") or "", 65535),
        maxptime=number(attributes.first("maxptime") or "", 65535),
        label=attributes.first("label"),
        codecs=read_codecs(_payload_types(formats), attributes) if rtp else (),
        ice=_ice(attributes, inherited),
        crypto=attributes.all("crypto"),
        fingerprints=attributes.all("fingerprint") or inherited.fingerprints,
        setup=attributes.first("setup") or inherited.setup,
        tls_id=attributes.first("tls-id") or inherited.tls_id,
        lines=attributes,
        is_rtp=rtp,
        is_savp=is_savp(protocol),
        is_channel=is_channel(protocol),
        is_feedback=is_feedback(protocol),
        ssrcs=_ssrcs(attributes),
        mid_extension=_mid_extension(attributes),
    )


_known_meaning = functools.lru_cache(REMEMBERED)(_meaning)


def _ssrcs(attributes: Attributes) -> tuple[int, ...]:
    values = (number(value.partition(" ")[0], 2**32 - 1) for value in attributes.all("ssrc"))
    return tuple(dict.fromkeys(value for value in values if value is not None))[:MAX_STREAMS]


def _mid_extension(attributes: Attributes) -> int:
    for value in attributes.all("extmap"):
        words = value.split()
        if len(words) > 1 and words[1] == MID_URI:
            return number(words[0].partition("/")[0], 255) or 0
    return 0


def _payload_types(formats: list[str]) -> list[int]:
    payload_types = []
    for text in formats:
        payload_type = number(text, MAX_PAYLOAD_TYPE)
        if payload_type is None:
            raise ValueError(f"{text[:20]!r} is no RTP payload type")
        payload_types.append(payload_type)
    return payload_types


def _port(text: str, section: Section, line: Line) -> int:
    value = number(text, 65535)
    if value is None:
        raise section.malformed(line, f"{text[:20]!r} is no port")
    return value


def _rtcp(section: Section, endpoint: Endpoint | None, media: MediaView) -> Endpoint | None:
    """RFC 3605 section 2.1. Port 9 of address 0.0.0.0 is what browsers write where ICE will tell."""
    said = section.block.lines if "rtcp" in media.lines else ()
    line = next((line for line in said if line.type == "a" and line.value.startswith("rtcp:")), None)
    if line is not None:
        fields = line.argument.split()
        if len(fields) not in (1, 4):
            raise section.malformed(line, "not a port, or a port and an address")
        rtcp_port = _port(fields[0], section, line)
        address = endpoint.address if endpoint else None
        if len(fields) == 4:
            address = _host(fields[3], section, line).address or address
        return Endpoint(address, rtcp_port) if endpoint and address and rtcp_port else None
    return None if endpoint is None else rtcp_beside(endpoint)


def rtcp_beside(rtp: Endpoint) -> Endpoint | None:
    """Where RTCP goes of which nothing is said: the next port (RFC 3550 section 11), if there is one."""
    return rtp.with_port(rtp.port + 1) if rtp.port < 65535 else None


def _ice(media: Attributes, session: _Inherited) -> Ice | None:
    ufrag = media.first("ice-ufrag") or session.ufrag
    pwd = media.first("ice-pwd") or session.pwd
    candidates = media.all("candidate")
    if not (ufrag and pwd) and not candidates:
        return None
    options = f"{media.first('ice-options') or ''} {session.options}".split()
    return Ice(
        ufrag=ufrag or "",
        pwd=pwd or "",
        candidates=candidates,
        lite=session.lite,
        trickle="trickle" in options,
        ended="end-of-candidates" in media or session.ended,
    )
