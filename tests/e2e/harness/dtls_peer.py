"""A party with DTLS-SRTP and without ICE: RTP and RTCP each on a port of its own, with an association of its own
(RFC 5764 section 3). DTLS is the product's over OpenSSL, SRTP and SRTCP are libsrtp's.
"""

from __future__ import annotations

import itertools
import re
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from pylibsrtp import Error, Policy, Session

from rtprelay.security.certificate import generate
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, DtlsState, SrtpKeys, make_context
from rtprelay.security.srtp import SrtpParameters
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Address, packet
from tests.e2e.harness.sdp import describe, section
from tools.netns import Namespace

_PROFILE = "SRTP_AES128_CM_SHA1_80"
_SSRC = 4711


def report(number: int) -> bytes:
    """An empty receiver report (RFC 3550 section 6.4.2), told from others by its SSRC."""
    return struct.pack("!BBHI", 0x80, 201, 1, number)


class _End:
    """A socket, its present association, and the keys of the former ones as well: packets may be under way."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = namespace.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])
        self.sending: Session | None = None
        self.receiving: list[Session] = []

    def begin(self, dtls: DtlsAssociation, relay: Address) -> None:
        self._dtls, self._relay, self._keyed = dtls, relay, False

    @property
    def connected(self) -> bool:
        return self._dtls.state is DtlsState.CONNECTED

    @property
    def keys(self) -> SrtpKeys | None:
        return self._dtls.keys

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self._relay)

    def arrived(self) -> Iterator[bytes]:
        """What is no DTLS; that is dealt with."""
        self._dtls.handle_timeout()
        while True:
            while (flight := self._dtls.poll_transmit()) is not None:
                self.send(flight)
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            if 20 <= data[0] < 64:
                self._dtls.receive(data)
                if self._dtls.keys is not None and not self._keyed:
                    self._keyed = True
                    self.sending = Session(_policy(self._dtls.keys.send, Policy.SSRC_ANY_OUTBOUND))
                    self.receiving.insert(0, Session(_policy(self._dtls.keys.receive, Policy.SSRC_ANY_INBOUND)))
            else:
                yield data


class DtlsPeer:
    """`said` and `heard` are RTP, `reports` the RTCP heard, all in the clear. Use as a context manager."""

    def __init__(self, namespace: Namespace, address: str, role: DtlsRole) -> None:
        self.address = address
        self._ends = [_End(namespace, address) for _ in range(2)]
        self._rtp, self._rtcp = self._ends
        self._role = role
        certificate = generate(1_700_000_000.0)
        self._context = make_context(certificate, [_PROFILE])
        self._fingerprint = certificate.fingerprint("sha-256")
        self.said: list[bytes] = []
        self.heard: list[bytes] = []
        self.reports: list[bytes] = []
        self._sequence = itertools.count(1)

    def sdp(self, tls_id: str = "the-first-of-this-party") -> str:
        lines = (
            f"a=rtcp:{self._rtcp.port}",
            f"a=setup:{self._role.value}",
            f"a=fingerprint:sha-256 {self._fingerprint}",
            f"a=tls-id:{tls_id}",
        )
        return describe(self.address, [self._rtp.port], profile="UDP/TLS/RTP/SAVP", extra=lines)

    def accept(self, sdp: str) -> None:
        """Begin with what the relay says: an association of each port, a new one where there was one already."""
        found = re.search(r"^a=fingerprint:(\S.*?)\r?$", sdp, re.MULTILINE)
        assert found is not None, sdp
        facing = section(sdp)
        for end, target in ((self._rtp, facing.rtp), (self._rtcp, facing.rtcp)):
            end.begin(DtlsAssociation(self._context, self._role, [found[1]]), target)

    @property
    def connected(self) -> bool:
        self.work()
        return all(end.connected for end in self._ends)

    @property
    def keys(self) -> list[SrtpKeys | None]:
        """Of both associations."""
        return [end.keys for end in self._ends]

    def say(self) -> None:
        """Under the newest keys there are."""
        number = next(self._sequence)
        plain = packet(number, number * 160, _SSRC, number.to_bytes(4) + bytes(156))
        assert self._rtp.sending is not None
        self._rtp.send(self._rtp.sending.protect(plain))
        self.said.append(plain)

    def report(self, number: int) -> None:
        assert self._rtcp.sending is not None
        self._rtcp.send(self._rtcp.sending.protect_rtcp(report(number)))

    def work(self) -> None:
        """Whatever has arrived, and whatever is to be repeated."""
        for data in self._rtp.arrived():
            self.heard += _opened(data, self._rtp.receiving, rtcp=False)
        for data in self._rtcp.arrived():
            self.reports += _opened(data, self._rtcp.receiving, rtcp=True)

    def hears(self, packets: int, reports: int = 0) -> None:
        """Wait until so many of this account have arrived."""

        def arrived() -> bool:
            self.work()
            return len(self.heard) >= packets and len(self.reports) >= reports

        until(arrived, f"{packets} packets and {reports} reports at the peer")

    def forget(self) -> None:
        """Start a new account."""
        self.work()
        for account in (self.said, self.heard, self.reports):
            account.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            end.socket.close()


def _opened(data: bytes, sessions: list[Session], *, rtcp: bool) -> list[bytes]:
    """Under the newest keys that fit; nothing where none do: those of a party that was here before."""
    for session in sessions:
        try:
            return [session.unprotect_rtcp(data) if rtcp else session.unprotect(data)]
        except Error:
            continue
    return []


def _policy(keys: SrtpParameters, direction: int) -> Policy:
    return Policy(
        key=keys.master.key + keys.master.salt,
        ssrc_type=direction,
        srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
