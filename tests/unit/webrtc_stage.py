"""The far end of WebRTC legs for the core's stage; every packet by hand.

Browser --- STUN, DTLS, SRTP ---> Relay --- RTP ---> phone at B
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg, IceLeg
from rtprelay.core.identity import DtlsIdentity
from rtprelay.core.transport import Broken, Datagram, Keyed, Message, PathChanged, Transport
from rtprelay.ice.agent import Credentials
from rtprelay.ice.candidate import RTP, Candidate, local_candidate, parse_candidate
from rtprelay.security.certificate import Certificate
from rtprelay.security.srtp import SrtpContext
from rtprelay.signalling.command import IceOption
from rtprelay.values import Endpoint
from tests.unit.core_stage import WALL, B, Section, Stage, at, sdp

BROWSER = at("198.51.100.9:50000")
STRANGER = at("198.51.100.66:666")
PHONE = at(f"{B}:4002")
IDENTITY = DtlsIdentity(WALL)
FINGERPRINT = IDENTITY.newest()


class Browser:
    """The far end of a WebRTC leg: the offers it makes and the packets it sends. `kinds` share one transport."""

    def __init__(self, kinds: Sequence[str] = ("audio",), endpoint: Endpoint = BROWSER, seed: int = 7) -> None:
        self.kinds = kinds
        self.endpoint = endpoint
        self.transport = Transport(IDENTITY.context, random.Random(seed))
        self.credentials = Credentials(f"user{seed}", "browser-password-of-22+")
        self.connected: Keyed | None = None
        self.remote: Endpoint | None = None
        self.failures: list[str] = []
        self.messages: list[bytes] = []

    def sdp(self, setup: str = "actpass") -> str:
        codecs = {"audio": ("111 0", "rtpmap:111 opus/48000/2"), "video": ("96", "rtpmap:96 VP8/90000")}
        media = [f"a=group:BUNDLE {' '.join(str(i) for i in range(len(self.kinds)))}"]
        for mid, kind in enumerate(self.kinds):
            if kind == "application":
                media += [f"m=application {self.endpoint.port} UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000"]
            else:
                formats, rtpmap = codecs[kind]
                media += [f"m={kind} {self.endpoint.port} UDP/TLS/RTP/SAVPF {formats}", f"a={rtpmap}", "a=rtcp-mux"]
                media += ["a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid"]
            media += [
                f"a=mid:{mid}",
                f"a=setup:{setup}",
                f"a=fingerprint:sha-256 {FINGERPRINT}",
                f"a=ice-ufrag:{self.credentials.ufrag}",
                f"a=ice-pwd:{self.credentials.pwd}",
                f"a=candidate:{self.candidate()}",
                "a=end-of-candidates",
            ]
        return sdp(self.endpoint.address, media=media)

    def candidate(self) -> Candidate:
        return local_candidate(RTP, self.endpoint, self.endpoint, 0)

    def learn(
        self,
        section: Section,
        *,
        setup: str,
        controlling: bool,
        fingerprint: str | None = None,
        remote_lite: bool = False,
    ) -> None:
        """The relay's answer (or offer) to us; `setup` is ours."""
        candidates = tuple(
            c
            for line in section.lines
            if line.startswith("a=candidate:") and (c := parse_candidate(line.removeprefix("a=candidate:")))
        )
        ufrag, pwd = section.attribute("ice-ufrag"), section.attribute("ice-pwd")
        theirs = fingerprint or section.attribute("fingerprint")
        assert ufrag is not None
        assert pwd is not None
        assert theirs is not None
        ice = IceLeg(
            local=self.credentials,
            remote=Credentials(ufrag, pwd),
            candidates=candidates,
            ended=True,
            controlling=controlling,
            remote_lite=remote_lite or section.attribute("ice-lite") is not None,
        )
        media = Media(
            index=0,
            kind="audio",
            protocol=section.protocol,
            local=self.endpoint,
            rtcp_mux=True,
            ice=ice,
            dtls=DtlsLeg(setup=setup, fingerprints=(theirs,), certificate=FINGERPRINT),
        )
        self.transport.update(media, (self.candidate(),))

    def protect(self, packet: bytes) -> bytes:
        assert self.connected is not None
        return self._sending.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        return self._sending.protect_rtcp(packet)

    def unprotect(self, packet: bytes) -> bytes:
        assert self.connected is not None
        return self._receiving.unprotect(packet)

    def outcomes(self) -> list[Datagram]:
        sent = []
        for outcome in self.transport.outcomes():
            match outcome:
                case Datagram():
                    sent.append(outcome)
                case Keyed(keys):
                    self.connected = outcome
                    self._sending, self._receiving = SrtpContext(keys.send), SrtpContext(keys.receive)
                case PathChanged(_, _, remote):
                    self.remote = remote
                case Message(data):
                    self.messages.append(data)
                case Broken(reason):
                    self.failures.append(reason)
        return sent


def run(stage: Stage, *browsers: Browser, seconds: float = 2.0) -> list[tuple[Endpoint, bytes, Endpoint]]:
    """Both sides talk for a while, 5 ms each way; returns what went to no browser."""
    strays = []
    end = stage.now + seconds
    stage.sent = []
    while stage.now < end:
        arrived, stage.sent = stage.sent, []
        collected = []
        for local, data, destination in arrived:
            for browser in browsers:
                if destination == browser.endpoint:
                    kind = browser.transport.stun if data[0] < 4 else None
                    if kind is not None:
                        kind(destination, local, data, stage.now)
                    elif 20 <= data[0] < 64:
                        browser.transport.dtls(destination, local, data)
                    break
            else:
                strays.append((local, data, destination))
        for browser in browsers:
            browser.transport.tick(stage.now)
            for datagram in browser.outcomes():
                if datagram.remote in stage.open:
                    collected += stage.receive(datagram.remote, datagram.local, datagram.data)
        stage.sent = []
        stage.wait(0.005)
        stage.sent = collected + stage.sent
    return strays


def browser_calls_phone(stage: Stage, browser: Browser, **answer: object) -> tuple[Endpoint, Endpoint]:
    """Returns the relay's ports facing the browser and the phone."""
    facing_phone, *_ = stage.offered(
        browser.sdp(), ice=IceOption.REMOVE, transport_protocol="RTP/AVP", rtcp_mux=frozenset({"demux"})
    )
    facing_browser, *_ = stage.answered(sdp(B, 4002), **answer)
    browser.learn(facing_browser, setup="passive", controlling=True)
    run(stage, browser)
    assert browser.connected is not None
    return facing_browser.local, facing_phone.local


def two_browsers(kinds: Sequence[str], certificate: Certificate | None = None) -> tuple[Stage, Browser, Browser]:
    """In a call with each other, everything up. `certificate` is the relay's."""
    stage, one = Stage(), Browser(kinds)
    if certificate is not None:
        stage.relay.registry.transports.identity.add([certificate])
    other = Browser(kinds, at("198.51.100.11:50011"), seed=9)
    facing_other, *_ = stage.offered(one.sdp())
    facing_one, *_ = stage.answered(other.sdp("active"))
    one.learn(facing_one, setup="passive", controlling=True)
    other.learn(facing_other, setup="active", controlling=False)
    run(stage, one, other)
    return stage, one, other
