"""Who asked for what, how often and for how long: kept per proxy."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

MAX_PROXIES = 256
OTHERS = "others"
"""Whoever comes when MAX_PROXIES are known: made-up addresses must not cost memory."""


class ProxyCounts(msgspec.Struct):
    requests: Counter[str] = msgspec.field(default_factory=Counter)
    """By the command's name on the wire."""
    seconds: defaultdict[str, float] = msgspec.field(default_factory=lambda: defaultdict(float))
    errors: int = 0


class RequestCounts:
    def __init__(self) -> None:
        self.proxies: dict[str, ProxyCounts] = {}

    def asked(self, proxy: str, command: str) -> None:
        if proxy:  # the console is none
            self._of(proxy).requests[command] += 1

    def took(self, proxy: str, command: str, seconds: float) -> None:
        self._of(proxy).seconds[command] += seconds

    def failed(self, proxy: str) -> None:
        """The request was answered with an error, or was none that could be read."""
        if proxy:
            self._of(proxy).errors += 1

    def _of(self, proxy: str) -> ProxyCounts:
        counts = self.proxies.get(proxy)
        if counts is None:
            if len(self.proxies) >= MAX_PROXIES:
                proxy = OTHERS
            counts = self.proxies.setdefault(proxy, ProxyCounts())
        return counts
