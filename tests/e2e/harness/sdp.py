"""SDP as the tests write and read it (RFC 8866): templates out, a few facts back in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.e2e.harness.rtp import Address

PCMU = "0"


def family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def describe(
    address: str,
    ports: Sequence[int],
    *,
    payload: str = PCMU,
    direction: str = "sendrecv",
    kind: str = "audio",
    version: int = 1,
    extra: Sequence[str] = (),
    profile: str = "RTP/AVP",
) -> str:
    """A session of one m= section per port; port 0 rejects it (RFC 3264 section 6)."""
    lines = [
        "v=0",
        f"o=test 4711 {version} IN {family(address)} {address}",
        "s=-",
        f"c=IN {family(address)} {address}",
        "t=0 0",
    ]
    for port in ports:
        lines += [f"m={kind} {port} {profile} {payload}", *extra, f"a={direction}"]
    return "\r\n".join(lines) + "\r\n"


@dataclass(frozen=True)
class Section:
    """One m= section, its own c= or the session's."""

    kind: str
    address: str
    port: int
    rtcp_port: int
    payload_types: tuple[int, ...]
    attributes: tuple[str, ...]

    @property
    def rtp(self) -> Address:
        return self.address, self.port

    @property
    def rtcp(self) -> Address:
        return self.address, self.rtcp_port

    @property
    def direction(self) -> str:
        """RFC 8866 section 6.7: none written means sendrecv."""
        found = [name for name in self.attributes if name in ("sendrecv", "sendonly", "recvonly", "inactive")]
        assert len(found) <= 1, found
        return found[0] if found else "sendrecv"


def sections(sdp: str) -> list[Section]:
    assert sdp, "no SDP"
    session, *media = re.split(r"^m=", sdp.replace("\r\n", "\n"), flags=re.MULTILINE)
    found: list[Section] = []
    for text in media:
        head, *lines = text.rstrip("\n").split("\n")
        kind, port, _, *formats = head.split()
        connection = re.search(r"^c=IN IP[46] (\S+)", text, re.MULTILINE) or re.search(
            r"^c=IN IP[46] (\S+)", session, re.MULTILINE
        )
        assert connection, f"no c= line for m={head} in {sdp}"
        attributes = tuple(line[2:] for line in lines if line.startswith("a="))
        rtcp = [name.split(":", 1)[1].split()[0] for name in attributes if name.startswith("rtcp:")]
        found.append(
            Section(
                kind=kind,
                address=connection[1],
                port=int(port),
                rtcp_port=int(rtcp[0]) if rtcp else int(port) + 1,
                payload_types=tuple(int(item) for item in formats if item.isdigit()),
                attributes=attributes,
            )
        )
    return found


def section(sdp: str) -> Section:
    """The only m= section."""
    found = sections(sdp)
    assert len(found) == 1, sdp
    return found[0]
