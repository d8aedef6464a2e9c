"""Browsers and phones for the WebRTC benchmark: each browser sets up one leg after the other, as many at once as there
are browsers."""

from __future__ import annotations

import itertools
import select
import time
from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bench.browser import Browser, Leg
from bench.ng import NgClient, NgError, delete
from bench.topology import Topology
from rtprelay.security.certificate import generate
from rtprelay.security.dtls import make_context


class Browsers:
    """Use as a context manager."""

    def __init__(self, topology: Topology, ng: NgClient, count: int) -> None:
        certificate = generate(time.time())
        context, fingerprint = make_context(certificate), certificate.fingerprint("sha-256")
        self._ng = ng
        self._serial = itertools.count()
        with ExitStack() as stack:
            self._browsers = [Browser(topology, ng, context, fingerprint) for _ in range(count)]
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

    def _next(self, browser: Browser, failed: Counter[str]) -> Leg | None:
        browser.arrived()
        try:
            return Leg(browser, f"webrtc-{next(self._serial)}@example")
        except NgError as error:
            failed[str(error)[:200]] += 1
            return None

    def _finish(self, leg: Leg | None, delays: list[float], failed: Counter[str]) -> None:
        if leg is None:
            return
        if leg.ended is not None:
            delays.append(leg.ended - leg.began)
        else:
            failed[leg.failure or "unknown"] += 1
        self._ng.request(delete(leg.call_id))
