"""A WebRTC peer with two sockets, which may leave the one for the other in the middle of a call; STUN is written by
hand, so that a test says what is nominated and when, and DTLS and SRTP are the product's.
"""

from __future__ import annotations

import os
import re
import socket
from types import TracebackType
from typing import Self

from rtprelay.security.certificate import generate
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, DtlsState, make_context
from rtprelay.security.srtp import SrtpContext
from rtprelay.values import Endpoint
from rtprelay.wire import stun
from rtprelay.wire.stun import Attribute, Class
from tests.e2e.harness.rtp import packet
from tools.netns import Namespace

_UFRAG, _PWD = "moving", "a-password-of-more-than-22-characters"


class MovingPeer:
    """It controls, and waits for the relay's ClientHello. `at` is the number of the socket it sends from."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self.address = address
        self.sockets = [namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in self.sockets:
            each.bind((address, 0))
            each.setblocking(False)
        self.ports = [int(each.getsockname()[1]) for each in self.sockets]
        certificate = generate(1_700_000_000.0)
        self._context = make_context(certificate)
        self._fingerprint = certificate.fingerprint("sha-256")
        self.at = 0
        self.answering = True
        """Its side of ICE: without it, it is gone."""
        self.answered = 0
        """Checks of the relay's, those of its consent included."""
        self.heard: list[tuple[int, bytes]] = []
        """Decrypted RTP, by socket."""
        self._sequence = self._said_before = 0

    def offer(self) -> str:
        candidates = [
            f"a=candidate:{number} 1 UDP {2_000_000_000 - number} {self.address} {port} typ host"
            for number, port in enumerate(self.ports)
        ]
        lines = (
            *("v=0", f"o=- 1 1 IN IP4 {self.address}", "s=-", "t=0 0", "a=group:BUNDLE 0"),
            *(f"m=audio {self.ports[0]} UDP/TLS/RTP/SAVPF 0", f"c=IN IP4 {self.address}", "a=rtcp-mux", "a=mid:0"),
            *("a=setup:passive", f"a=fingerprint:sha-256 {self._fingerprint}"),
            *(f"a=ice-ufrag:{_UFRAG}", f"a=ice-pwd:{_PWD}", *candidates, "a=end-of-candidates"),
        )
        return "".join(f"{line}\r\n" for line in lines)

    def accept(self, answer: str) -> None:
        def value(name: str) -> str:
            found = re.search(rf"^a={name}:(\S.*?)\r?$", answer, re.MULTILINE)
            assert found is not None, answer
            return found[1]

        self._theirs = value("ice-ufrag"), value("ice-pwd")
        port = re.search(r"^m=audio (\d+)", answer, re.MULTILINE)
        host = re.search(r"^c=IN IP4 (\S+)", answer, re.MULTILINE)
        assert port is not None
        assert host is not None
        self.relay = host[1], int(port[1])
        self._dtls = DtlsAssociation(self._context, DtlsRole.SERVER, [value("fingerprint")])
        self._sending: SrtpContext | None = None
        self._receiving: SrtpContext | None = None

    @property
    def connected(self) -> bool:
        return self._dtls.state is DtlsState.CONNECTED

    def nominate(self, number: int) -> None:
        """The pair of that socket is the one from now on."""
        attributes = [
            (Attribute.USERNAME, f"{self._theirs[0]}:{_UFRAG}".encode()),
            (Attribute.PRIORITY, (1000 - number).to_bytes(4)),
            (Attribute.ICE_CONTROLLING, b"\xff" * 8),
            (Attribute.USE_CANDIDATE, b""),
        ]
        request = stun.build(Class.REQUEST, os.urandom(12), attributes, self._theirs[1])
        self.sockets[number].sendto(request, self.relay)

    def say(self) -> None:
        """One packet of media, from where it is."""
        assert self._sending is not None
        self._sequence += 1
        plain = packet(self._sequence, self._sequence * 160, 4711, bytes(160))
        self.sockets[self.at].sendto(self._sending.protect(plain), self.relay)

    @property
    def said(self) -> int:
        return self._sequence - self._said_before

    def forget(self) -> None:
        """Start a new account of what is heard and said."""
        self.work()
        self.heard.clear()
        self._said_before = self._sequence

    def work(self) -> None:
        """Whatever has arrived, and whatever is to be repeated."""
        for number, each in enumerate(self.sockets):
            while (arrived := _receive(each)) is not None:
                self._take(number, *arrived)
        self._dtls.handle_timeout()
        self._send_dtls()

    def _take(self, number: int, data: bytes, source: tuple[str, int]) -> None:
        if data[0] < 4:
            self._answer(number, data, source)
        elif 20 <= data[0] < 64:
            self._dtls.receive(data)
            self._send_dtls()
            if self._dtls.keys is not None and self._sending is None:
                self._sending, self._receiving = SrtpContext(self._dtls.keys.send), SrtpContext(self._dtls.keys.receive)
        elif self._receiving is not None and not 192 <= data[1] <= 223:
            self.heard.append((number, self._receiving.unprotect(data)))

    def _answer(self, number: int, data: bytes, source: tuple[str, int]) -> None:
        message = stun.parse(data)
        if message.kind is Class.REQUEST and self.answering and message.verify(_PWD):
            mapped = stun.xor_address(Endpoint(*source), message.transaction)
            response = [(Attribute.XOR_MAPPED_ADDRESS, mapped)]
            self.sockets[number].sendto(stun.build(Class.SUCCESS, message.transaction, response, _PWD), source)
            self.answered += 1

    def _send_dtls(self) -> None:
        while (data := self._dtls.poll_transmit()) is not None:
            self.sockets[self.at].sendto(data, self.relay)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self.sockets:
            each.close()


def _receive(each: socket.socket) -> tuple[bytes, tuple[str, int]] | None:
    try:
        return each.recvfrom(65536)
    except BlockingIOError:
        return None
