"""The order of lines that deployments have come to rely on, shared by rewriting and building.

    m=  c=  b=  a=rtpmap, a=fmtp, a=rtcp-fb per codec  other a=  a=sendrecv  a=rtcp  a=rtcp-mux
    a=crypto, a=setup, a=fingerprint, a=tls-id ...  a=ptime  a=ice-ufrag, a=ice-pwd, a=candidate ...

Proxies match on it with regular expressions, and old telephones read no further than what they know.
"""

from __future__ import annotations

from collections.abc import Iterable

from rtprelay.sdp.attributes import ICE_ATTRIBUTES

CLOSING_ATTRIBUTES = ICE_ATTRIBUTES | {"crypto", "setup", "fingerprint", "tls-id"}
"""Keys and ICE, which come after `a=rtcp-mux` whoever wrote them."""


def network(address: str) -> str:
    """`IN IP4 192.0.2.1`, the form shared by `o=`, `c=` and `a=rtcp`."""
    return f"IN IP6 {address}" if ":" in address else f"IN IP4 {address}"


def rtcp(port: int, address: str | None) -> str:
    """The attribute of RFC 3605; `address` where it is said in full."""
    return f"rtcp:{port} {network(address)}" if address else f"rtcp:{port}"


def closing(
    direction: str | None, rtcp: str | None, rtcp_mux: bool, further: Iterable[str], ptime: Iterable[str]
) -> list[str]:
    """The attributes (without `a=`) that end a media description; all but `rtcp_mux` are such attributes."""
    lines = [direction] if direction is not None else []
    if rtcp is not None:
        lines.append(rtcp)
    if rtcp_mux:
        lines.append("rtcp-mux")
    ice: list[str] = []
    for attribute in further:
        (ice if attribute.partition(":")[0] in ICE_ATTRIBUTES else lines).append(attribute)
    lines += ptime
    lines += ice
    return lines


def check_single_line(*texts: str | None) -> None:
    """Refuse text that would end its line early and so forge lines of its own. Raises ValueError."""
    for text in texts:
        if text is not None and ("\n" in text or "\r" in text or "\0" in text):
            raise ValueError(f"{text[:40]!r} does not fit on one SDP line")
