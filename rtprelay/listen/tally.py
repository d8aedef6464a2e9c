"""Who has asked for what, how often, and how long it took: the source of `requests_total` and its siblings."""

from __future__ import annotations

from collections import Counter, defaultdict

from rtprelay.signalling.statistics import ProxyView

MAX_PROXIES = 256
OTHERS = "others"
"""Counts for all beyond: addresses are for anybody to make up."""


class _Row:
    __slots__ = ("errors", "requests", "seconds")

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.errors = 0


class Tally:
    """By the proxy's address."""

    def __init__(self, max_proxies: int = MAX_PROXIES) -> None:
        self._max_proxies = max_proxies
        self._rows: dict[str, _Row] = {}

    def answered(self, host: str, command: str, seconds: float, failed: bool) -> None:
        row = self._row(host)
        row.requests[command] += 1
        row.seconds[command] += seconds
        row.errors += failed

    def refused(self, host: str) -> None:
        """It made no request."""
        self._row(host).errors += 1

    def views(self) -> tuple[ProxyView, ...]:
        return tuple(
            ProxyView(proxy=host, requests=dict(row.requests), seconds=dict(row.seconds), errors=row.errors)
            for host, row in self._rows.items()
        )

    def _row(self, host: str) -> _Row:
        row = self._rows.get(host)
        if row is None:
            if len(self._rows) >= self._max_proxies:
                host = OTHERS
            row = self._rows.setdefault(host, _Row())
        return row
