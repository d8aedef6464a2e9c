"""A browser and a phone, for the benchmarks of WebRTC: the browser speaks by this product's own ICE agent and OpenSSL.

browser in the senders' namespace == STUN, DTLS, SRTP ==> relay == RTP ==> phone in the receivers' namespace
"""

from __future__ import annotations

import random
import re
import select
import socket
import time

from OpenSSL.SSL import Context as DtlsContext

from bench.ng import NgClient, NgError, Reply, media_port, sdp
from bench.topology import RECEIVER, RELAY_B, SENDER, Topology
from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg, IceLeg
from rtprelay.core.transport import Broken, Datagram, Keyed, PathChanged, Transport
from rtprelay.ice.agent import Credentials
from rtprelay.ice.candidate import RTP, local_candidate, parse_candidate
from rtprelay.security.dtls import SrtpKeys
from rtprelay.security.indices import SrtpFault
from rtprelay.security.srtp import SrtpContext
from rtprelay.values import Endpoint
from tools.bencode import Value

_PATIENCE = 5.0
"""Seconds for one leg, after which it has failed."""
_MEDIA_EVERY = 0.002
"""Seconds between the phone's packets: what the first decrypted one may be late by."""


class Leg:
    """One call of one browser, from offer to first decrypted packet."""

    def __init__(self, browser: Browser, call_id: str) -> None:
        self.browser = browser
        self.call_id = call_id
        self.began = time.monotonic()
        self.ended: float | None = None
        self.failure: str | None = None
        self._random = random.Random(call_id)
        self._transport = Transport(lambda _: browser.context, self._random)
        self.keys: SrtpKeys | None = None
        self.relay: Endpoint | None = None
        """Where the browser's media goes."""
        self._media: SrtpContext | None = None
        self._next_media = 0.0
        self._sequence = 0
        self._begin()

    def _begin(self) -> None:
        browser = self.browser
        credentials = Credentials(f"{self._random.getrandbits(32):08x}", f"{self._random.getrandbits(128):032x}")
        candidate = local_candidate(RTP, browser.local, browser.local, 0)
        offered = browser.ng.request(_offer(self.call_id, browser, credentials, str(candidate)))
        self._phone_target = (RELAY_B, media_port(offered))
        answered = browser.ng.request(_answer(self.call_id, browser))
        self._transport.update(_media(browser.local, credentials, answered), (candidate,))
        self._transport.tick(time.monotonic())
        self._drain()

    @property
    def over(self) -> bool:
        return self.ended is not None or self.failure is not None

    def due(self, now: float) -> float:
        times = [self.began + _PATIENCE, self._transport.poll_timeout(now)]
        if self._media is not None:
            times.append(self._next_media)
        return min(each for each in times if each is not None)

    def work(self, now: float) -> None:
        """What has arrived, and what time asks for."""
        self.attend(now)
        if self.over:
            return
        if self._media is not None and now >= self._next_media:
            self._next_media = now + _MEDIA_EVERY
            self._sequence += 1
            header = b"\x80\x00" + self._sequence.to_bytes(2) + (self._sequence * 160).to_bytes(4)
            self.browser.phone.sendto(header + b"SSRC" + bytes(160), self._phone_target)
        if now >= self.began + _PATIENCE:
            self.failure = f"nothing decrypted within {_PATIENCE:.0f} s"

    def attend(self, now: float) -> None:
        """To ICE and DTLS, and to the first media."""
        for data, source in self.browser.arrived():
            endpoint = Endpoint(source[0], source[1])
            if data[0] < 4:
                self._transport.stun(self.browser.local, endpoint, data, now)
            elif 20 <= data[0] < 64:
                self._transport.dtls(self.browser.local, endpoint, data)
            elif not self.over and self._decrypted(data):
                self.ended = time.monotonic()
            self._drain()
        self._transport.tick(now)
        self._drain()

    def _decrypted(self, data: bytes) -> bool:
        if self._media is None or 192 <= data[1] <= 223:
            return False
        try:
            return bool(self._media.unprotect(data))
        except SrtpFault:
            return False

    def _drain(self) -> None:
        for outcome in self._transport.outcomes():
            match outcome:
                case Datagram(_, remote, data):
                    self.browser.socket.sendto(data, (remote.address, remote.port))
                case PathChanged(_, _, remote):
                    self.relay = remote
                case Keyed(keys):
                    self.keys = keys
                    self._media = SrtpContext(keys.receive)
                case Broken(reason):
                    self.failure = reason


class Browser:
    def __init__(self, topology: Topology, ng: NgClient, context: DtlsContext, fingerprint: str) -> None:
        self.ng = ng
        self.context = context
        self.fingerprint = fingerprint
        self.socket = topology.senders.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.phone = topology.receivers.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((SENDER, 0))
        self.phone.bind((RECEIVER, 0))
        self.socket.setblocking(False)
        self.local = Endpoint(SENDER, self.socket.getsockname()[1])

    def wait(self, seconds: float) -> None:
        """Until something has arrived, at most so long."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll(seconds * 1000)

    def arrived(self) -> list[tuple[bytes, tuple[str, int]]]:
        found = []
        while True:
            try:
                found.append(self.socket.recvfrom(65536))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.socket.close()
        self.phone.close()


def _offer(call_id: str, browser: Browser, credentials: Credentials, candidate: str) -> dict[str, Value]:
    lines = (
        "v=0",
        f"o=- 4711 1 IN IP4 {SENDER}",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        f"m=audio {browser.local.port} UDP/TLS/RTP/SAVPF 0",
        f"c=IN IP4 {SENDER}",
        "a=rtpmap:0 PCMU/8000",
        "a=mid:0",
        "a=rtcp-mux",
        "a=setup:actpass",
        f"a=fingerprint:sha-256 {browser.fingerprint}",
        f"a=ice-ufrag:{credentials.ufrag}",
        f"a=ice-pwd:{credentials.pwd}",
        f"a=candidate:{candidate}",
        "a=end-of-candidates",
    )
    return {
        "sdp": "".join(f"{line}\r\n" for line in lines),
        "ICE": "remove",
        "transport-protocol": "RTP/AVP",
        "rtcp-mux": ["demux"],
        "direction": ["a", "b"],
        "replace": ["origin"],
        "call-id": call_id,
        "from-tag": "from-" + call_id,
        "command": "offer",
    }


def _answer(call_id: str, browser: Browser) -> dict[str, Value]:
    return {
        "sdp": sdp(RECEIVER, int(browser.phone.getsockname()[1])),
        "ICE": "force",
        "replace": ["origin"],
        "call-id": call_id,
        "from-tag": "from-" + call_id,
        "to-tag": "to-" + call_id,
        "command": "answer",
    }


def _media(local: Endpoint, credentials: Credentials, answered: Reply) -> Media:
    """The browser's side of the leg, as the relay's answer makes it."""
    text = str(answered["sdp"])
    setup = "passive" if _attribute(text, "setup") == "active" else "active"
    found = (parse_candidate(value) for value in re.findall(r"^a=candidate:(.*?)\r?$", text, re.MULTILINE))
    ice = IceLeg(
        local=credentials,
        remote=Credentials(_attribute(text, "ice-ufrag"), _attribute(text, "ice-pwd")),
        candidates=tuple(candidate for candidate in found if candidate is not None and candidate.component == RTP),
        ended=True,
        controlling=True,
    )
    dtls = DtlsLeg(setup=setup, fingerprints=(_attribute(text, "fingerprint"),))
    return Media(index=0, kind="audio", protocol="UDP/TLS/RTP/SAVPF", local=local, rtcp_mux=True, ice=ice, dtls=dtls)


def _attribute(text: str, name: str) -> str:
    found = re.search(rf"^a={name}:(.*?)\r?$", text, re.MULTILINE)
    if found is None:
        raise NgError(f"no a={name} in the answer")
    return found[1]
