"""An SDP from scratch, for the descriptions a relay makes itself: publish answers and subscribe offers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rtprelay.sdp.attributes import Direction
from rtprelay.sdp.codecs import Codec
from rtprelay.sdp.shape import check_single_line, closing, network, rtcp


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The session section. Raises ValueError."""

    address: str
    """Of the `o=` line."""
    session_id: str
    version: str
    name: str = "rtprelay"
    username: str = "-"
    attributes: tuple[str, ...] = ()
    """Session-level attributes without the `a=`, such as `group:BUNDLE 0 1`."""

    def __post_init__(self) -> None:
        check_single_line(self.address, self.session_id, self.version, self.name, self.username, *self.attributes)


class MediaSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One media section; with port 0 it is rejected and has no more than its `attributes`. Raises ValueError."""

    kind: str
    port: int
    bundle_only: bool = False
    """Shown as port 0 and `a=bundle-only` (RFC 9143 section 6)."""
    protocol: str
    address: str
    codecs: tuple[Codec, ...] = ()
    formats: tuple[str, ...] = ()
    """For what is not RTP; with RTP the payload types of `codecs`."""
    bandwidth: tuple[str, ...] = ()
    """`b=` values, such as `AS:512`."""
    attributes: tuple[str, ...] = ()
    """Attributes without the `a=` that follow the codecs, such as `mid:0`."""
    direction: Direction = Direction.SENDRECV
    rtcp_port: int | None = None
    rtcp_full: bool = False
    rtcp_mux: bool = False
    append: tuple[str, ...] = ()
    """Attributes that come after `a=rtcp-mux`: crypto, setup, fingerprint, ICE."""
    ptime: int | None = None

    def __post_init__(self) -> None:
        check_single_line(self.kind, self.protocol, self.address, *self.formats, *self.bandwidth)
        check_single_line(*self.attributes, *self.append, *(codec.fmtp for codec in self.codecs))


def build(session: SessionSpec, media: Sequence[MediaSpec]) -> str:
    """The text, with CRLF line endings."""
    origin = f"{session.username} {session.session_id} {session.version} {network(session.address)}"
    lines = ["v=0", f"o={origin}", f"s={session.name}", "t=0 0"]
    lines += [f"a={attribute}" for attribute in session.attributes]
    for spec in media:
        lines += _media(spec)
    return "".join(f"{line}\r\n" for line in lines)


def _media(spec: MediaSpec) -> list[str]:
    formats = [str(codec.payload_type) for codec in spec.codecs] or spec.formats
    port = 0 if spec.bundle_only else spec.port
    lines = [f"m={' '.join((spec.kind, str(port), spec.protocol, *formats))}", f"c={network(spec.address)}"]
    if not spec.port:
        return lines + [f"a={attribute}" for attribute in spec.attributes]
    lines += [f"b={bandwidth}" for bandwidth in spec.bandwidth]
    attributes = [attribute for codec in spec.codecs for attribute in codec.attributes()]
    attributes += spec.attributes
    ptime = () if spec.ptime is None else (f"ptime:{spec.ptime}",)
    own_rtcp = None if spec.rtcp_port is None else rtcp(spec.rtcp_port, spec.address if spec.rtcp_full else None)
    further = (*(("bundle-only",) if spec.bundle_only else ()), *spec.append)
    attributes += closing(spec.direction, own_rtcp, spec.rtcp_mux, further, ptime)
    return lines + [f"a={attribute}" for attribute in attributes]
