"""Browsers and phones for the WebRTC benchmark: each browser sets up one leg after the other, as many at once as there
are browsers.

browser in the senders' namespace == STUN, DTLS, SRTP ==> relay == RTP ==> phone in the receivers' namespace
"""

from __future__ import annotations

import itertools
import random
import re
import select
import socket
import time
from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from OpenSSL.SSL import Context as DtlsContext

from bench.ng import NgClient, NgError, Reply, delete, media_port, sdp
from bench.topology import RECEIVER, RELAY_B, SENDER, Topology
from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg, IceLeg
from rtprelay.core.transport import Broken, Datagram, Keyed, Transport
from rtprelay.ice.agent import Credentials
from rtprelay.ice.candidate import RTP, local_candidate, parse_candidate
from rtprelay.security.certificate import generate
from rtprelay.security.dtls import make_context
from rtprelay.security.indices import SrtpFault
from rtprelay.security.srtp import SrtpContext
from rtprelay.values import Endpoint
from tools.bencode import Value

_PATIENCE = 5.0
"""Seconds for one leg, after which it has failed."""
_MEDIA_EVERY = 0.002
"""Seconds between the phone's packets: what the first decrypted one may be late by."""


class _Leg:
    """One call of one browser, from offer to first decrypted packet."""

    def __init__(self, browser: _Browser, call_id: str) -> None:
        self.browser = browser
        self.call_id = call_id
        self.began = time.monotonic()
        self.ended: float | None = None
        self.failure: str | None = None
        self._random = random.Random(call_id)
        self._transport = Transport(lambda _: browser.context, self._random)
        self._keys: SrtpContext | None = None
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
        if self._keys is not None:
            times.append(self._next_media)
        return min(each for each in times if each is not None)

    def work(self, now: float) -> None:
        """What has arrived, and what time asks for."""
        for data, source in self.browser.arrived():
            endpoint = Endpoint(source[0], source[1])
            if data[0] < 4:
                self._transport.stun(self.browser.local, endpoint, data, now)
            elif 20 <= data[0] < 64:
                self._transport.dtls(self.browser.local, endpoint, data)
            elif self._keys is not None and self._decrypted(data):
                self.ended = time.monotonic()
                return
            self._drain()
        self._transport.tick(now)
        self._drain()
        if self._keys is not None and now >= self._next_media:
            self._next_media = now + _MEDIA_EVERY
            self._sequence += 1
            header = b"\x80\x00" + self._sequence.to_bytes(2) + (self._sequence * 160).to_bytes(4)
            self.browser.phone.sendto(header + b"SSRC" + bytes(160), self._phone_target)
        if now >= self.began + _PATIENCE:
            self.failure = self.failure or f"nothing decrypted within {_PATIENCE:.0f} s"

    def _decrypted(self, data: bytes) -> bool:
        assert self._keys is not None
        if 192 <= data[1] <= 223:
            return False
        try:
            return bool(self._keys.unprotect(data))
        except SrtpFault:
            return False

    def _drain(self) -> None:
        for outcome in self._transport.outcomes():
            match outcome:
                case Datagram(_, remote, data):
                    self.browser.socket.sendto(data, (remote.address, remote.port))
                case Keyed(keys):
                    self._keys = SrtpContext(keys.receive)
                case Broken(reason):
                    self.failure = reason


class _Browser:
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


class Browsers:
    """Use as a context manager."""

    def __init__(self, topology: Topology, ng: NgClient, count: int) -> None:
        certificate = generate(time.time())
        context, fingerprint = make_context(certificate), certificate.fingerprint("sha-256")
        self._ng = ng
        self._serial = itertools.count()
        with ExitStack() as stack:
            self._browsers = [_Browser(topology, ng, context, fingerprint) for _ in range(count)]
            for browser in self._browsers:
                stack.callback(browser.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, seconds: float) -> tuple[list[float], Counter[str]]:
        """Set up legs for so long; those begun are finished. Delays of the good ones, and why the others failed."""
        delays: list[float] = []
        failed: Counter[str] = Counter()
        end = time.monotonic() + seconds
        legs = {browser.socket.fileno(): self._next(browser, failed) for browser in self._browsers}
        poll = select.poll()
        for number in legs:
            poll.register(number, select.POLLIN)
        while legs:
            now = time.monotonic()
            wait = min((leg.due(now) for leg in legs.values() if leg is not None), default=now) - now
            ready = {number for number, _ in poll.poll(max(0.0, wait) * 1000)}
            now = time.monotonic()
            for number, leg in list(legs.items()):
                if leg is not None and (number in ready or leg.due(now) <= now):
                    leg.work(now)
                if leg is None or leg.over:
                    self._finish(leg, delays, failed)
                    browser = next(each for each in self._browsers if each.socket.fileno() == number)
                    if now < end and leg is not None:
                        legs[number] = self._next(browser, failed)
                    else:
                        del legs[number]
                        poll.unregister(number)
        return delays, failed

    def _next(self, browser: _Browser, failed: Counter[str]) -> _Leg | None:
        browser.arrived()
        try:
            return _Leg(browser, f"webrtc-{next(self._serial)}@example")
        except NgError as error:
            failed[str(error)[:200]] += 1
            return None

    def _finish(self, leg: _Leg | None, delays: list[float], failed: Counter[str]) -> None:
        if leg is None:
            return
        if leg.ended is not None:
            delays.append(leg.ended - leg.began)
        else:
            failed[leg.failure or "unknown"] += 1
        self._ng.request(delete(leg.call_id))


def _offer(call_id: str, browser: _Browser, credentials: Credentials, candidate: str) -> dict[str, Value]:
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


def _answer(call_id: str, browser: _Browser) -> dict[str, Value]:
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
