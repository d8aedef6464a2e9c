"""What a packet costs that comes as SRTP keyed by DTLS, from a browser, and leaves as RTP, to a phone."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from pylibsrtp import Policy, Session

from bench.browser import Browser, Leg
from bench.ng import NgError
from bench.relay import at_rate, ratio
from bench.report import Section, Table
from bench.subjects import RTPENGINE, RTPRELAY, Daemon, Subject
from bench.topology import RELAY_A, Topology
from bench.traffic import MAX_RECORDED, MEDIA, PAYLOAD, Generator, Sink, Stream
from bench.window import Window, run_window
from rtprelay.security.certificate import generate
from rtprelay.security.dtls import make_context
from rtprelay.security.srtp import SrtpParameters

NAME, TITLE = "dtls-relay", "CPU per packet relayed from DTLS-SRTP"
_PROFILE, _SUITE = "SRTP_AES128_CM_SHA1_80", "AES_CM_128_HMAC_SHA1_80"
_EVERY = 1024
_HEADER = 12
_PER_CALL = 50
"""Packets per second: 20 ms of audio in each."""
_GOAL = 3.0
_HOW = f"""
As above, the other way: browsers with ICE and DTLS-SRTP ({_SUITE}) on the callers' side,
phones with plain RTP on the callees'. Each leg is set up as in the section on WebRTC legs below, and stays. What the
browsers send was encrypted by libsrtp under their legs' keys before the window, so that the generator has as little to
do as with plain RTP. Every call has the {_PER_CALL} packets a second of a real one: ICE's consent checks (RFC 7675)
are in the price, as in life; they are answered between the windows. One of {_EVERY} packets that arrive is looked at,
and must say what the browser said.
"""


def run(subjects: Sequence[Subject], quick: bool) -> Section:
    calls, seconds, rounds = (20, 1.0, 1) if quick else (400, 5.0, 3)
    rate = calls * _PER_CALL
    with ExitStack() as stack:
        benches = [stack.enter_context(DtlsBench(subject, calls)) for subject in subjects]
        costs, rows, failures = at_rate(benches, rate, seconds, rounds)
        checked = [(*row, f"{bench.right} of {bench.seen}") for row, bench in zip(rows, benches, strict=True)]
        failures += [f"{bench.subject.name}: {bench.fault}" for bench in benches if bench.fault]
    table = Table(
        f"{calls} calls, {rate:,} packets/s, {rounds} rounds of {seconds:.0f} s",
        ("", "delivered", "through userspace", "ns/packet, machine", "ns/packet, charged", "decrypted"),
        tuple(checked),
    )
    goals = []
    if RTPRELAY in subjects and RTPENGINE in subjects and not failures:
        goals.append(ratio(costs[RTPRELAY.name], costs[RTPENGINE.name], f"at {rate:,} packets/s", _GOAL))
    return Section(TITLE, _HOW, (table,), tuple(goals), tuple(failures))


class DtlsBench:
    """A relay with browsers calling phones through it. Use as a context manager."""

    def __init__(self, subject: Subject, calls: int) -> None:
        self.subject = subject
        self.seen = self.right = 0
        certificate = generate(time.time())
        context, fingerprint = make_context(certificate, (_PROFILE,)), certificate.fingerprint("sha-256")
        with ExitStack() as stack:
            self.topology = topology = stack.enter_context(Topology())
            self.daemon = stack.enter_context(Daemon(subject, topology))
            self._legs = []
            for number in range(calls):
                browser = Browser(topology, self.daemon.client, context, fingerprint)
                stack.callback(browser.close)
                self._legs.append(_set_up(browser, number))
            phones = [leg.browser.phone.getsockname()[1] for leg in self._legs]
            streams = [_stream(leg) for leg in self._legs]
            self._sources = [_Source(leg, 0x10000 + i) for i, leg in enumerate(self._legs)]
            self._sink = stack.enter_context(Sink(topology, phones, frames=subject.frames, every=_EVERY))
            self._generator = stack.enter_context(Generator(topology, streams, core=0, recorded=True))
            self._alone = stack.enter_context(Generator(topology, streams, core=0, alone=True, recorded=True))
            self._stack = stack.pop_all()
        self.window(calls * _PER_CALL, 1.0)
        self.seen = self.right = 0

    def window(self, rate: float, seconds: float) -> Window:
        self._generator.record(self._packets(rate, seconds))
        for leg in self._legs:
            leg.attend(time.monotonic())
        window = run_window(self.topology, self._generator, self._sink, self.daemon.pid, rate, seconds)
        for sample in self._sink.samples():
            self.seen += 1
            self.right += sample.data[_HEADER:] == MEDIA
        return window

    def window_alone(self, rate: float, seconds: float) -> Window:
        """The generator by itself, for as long and as fast."""
        self._alone.record(self._packets(rate, seconds))
        return run_window(self.topology, self._alone, self._sink, None, rate, seconds)

    def _packets(self, rate: float, seconds: float) -> Iterator[bytes]:
        count = int(rate * seconds)
        assert count <= MAX_RECORDED
        return (self._sources[i % len(self._sources)].next() for i in range(count))

    @property
    def fault(self) -> str | None:
        if not self.seen:
            return "no packet was kept to be looked at"
        if self.right < self.seen:
            return f"{self.seen - self.right} of {self.seen} packets looked at did not say what the browser said"
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _set_up(browser: Browser, number: int) -> Leg:
    leg = Leg(browser, f"dtls-{number}@example")
    while not leg.over:
        browser.wait(max(0.0, leg.due(now := time.monotonic()) - now))
        leg.work(time.monotonic())
    if leg.failure is not None:
        raise NgError(f"leg {number} was not set up: {leg.failure}")
    return leg


def _stream(leg: Leg) -> Stream:
    assert leg.relay is not None
    return Stream(leg.browser.local.port, RELAY_A, leg.relay.port)


class _Source:
    """A browser's media, encrypted."""

    def __init__(self, leg: Leg, ssrc: int) -> None:
        assert leg.keys is not None
        self._session = Session(_policy(leg.keys.send))
        self._ssrc = ssrc
        self._sequence = ssrc & 0xFF

    def next(self) -> bytes:
        self._sequence += 1
        timestamp = self._sequence * PAYLOAD & 0xFFFFFFFF
        header = struct.pack("!BBHII", 0x80, 0, self._sequence & 0xFFFF, timestamp, self._ssrc)
        return self._session.protect(header + MEDIA)


def _policy(parameters: SrtpParameters) -> Policy:
    assert parameters.suite.name == _SUITE
    return Policy(
        key=parameters.master.key + parameters.master.salt,
        ssrc_type=Policy.SSRC_ANY_OUTBOUND,
        srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
