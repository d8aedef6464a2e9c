"""What Prometheus scrapes. Nothing is counted here: at each scrape the families are filled from what the relay knows,
and what it does not know is not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rtprelay import __version__
from rtprelay.observe.families import (
    CONNECTIONS,
    DATA_PLANE,
    ERRORS,
    GLOBAL,
    INFO,
    INTERFACE,
    INTERNAL,
    REQUESTS,
    SECONDS,
    TURNED_AWAY,
    Family,
    Kind,
    Row,
)
from rtprelay.signalling.statistics import COMMANDS

PREFIX = "rtpengine_"
Counts = Callable[[], Mapping[str, int]]
Samples = Iterator[tuple[Family, Mapping[str, str], float]]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers come from, asked at each scrape."""

    statistics: Callable[[], Mapping[str, Any]]
    """As `statistics` in the reply to the ng command; numbers may be text."""
    data_plane: Counts
    internal: Counts
    turned_away: Counts
    connections: Callable[[], int]


class Metrics:
    """`render` gives a scrape: its bytes and their content type."""

    def __init__(self, sources: Sources, prefix: str = PREFIX) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Relay(sources, prefix))
        ProcessCollector(registry=self._registry)

    def render(self) -> tuple[bytes, str]:
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Relay(Collector):
    def __init__(self, sources: Sources, prefix: str) -> None:
        self._sources = sources
        self._prefix = prefix

    def collect(self) -> Iterator[Metric]:
        """A family's samples stand together, as the text format wants it: several rows may be of one family."""
        metrics: dict[Family, Metric] = {}
        for family, labels, value in self._samples():
            metric = metrics.get(family) or metrics.setdefault(family, self._metric(family))
            metric.add_sample(self._prefix + family.name, dict(labels), value)
        yield from metrics.values()

    def _samples(self) -> Samples:
        sources = self._sources
        statistics = sources.statistics()
        for row in GLOBAL:
            yield from _read(row, statistics, {})
        for interface in statistics.get("interfaces", ()):
            labels = {"name": str(interface.get("name", "")), "address": str(interface.get("address", ""))}
            for row in INTERFACE:
                yield from _read(row, interface, labels)
        for proxy in statistics.get("controlstatistics", {}).get("proxies", ()):
            yield from _requests(proxy)
        for family, counts in (
            (DATA_PLANE, sources.data_plane),
            (INTERNAL, sources.internal),
            (TURNED_AWAY, sources.turned_away),
        ):
            for name, count in counts().items():
                yield family, {family.labels[0]: name}, count
        yield CONNECTIONS, {}, sources.connections()
        yield INFO, {"version": __version__}, 1

    def _metric(self, family: Family) -> Metric:
        name = self._prefix + family.name
        if family.kind is Kind.COUNTER:
            # The client library puts the ending back.
            name = name.removesuffix("_total")
        return Metric(name, family.help, family.kind.value)


def _requests(proxy: Mapping[str, Any]) -> Samples:
    """Those it has made: a relay may have hundreds of proxies, and each could make any of 34 requests."""
    name = str(proxy.get("proxy", ""))
    for request, title in COMMANDS.items():
        count = proxy.get(f"{title.lower()}count")
        if count:
            labels = {"proxy": name, "request": request}
            yield REQUESTS, labels, float(count)
            yield SECONDS, labels, float(proxy.get(f"{title.lower()}duration", 0))
    yield ERRORS, {"proxy": name}, float(proxy.get("errorcount", 0))


def _read(row: Row, where: Mapping[str, Any], labels: Mapping[str, str]) -> Samples:
    for key in row.section:
        where = where.get(key, {})
    for key, own in row.keys.items():
        value = where.get(key)
        if value is not None:
            yield row.family, {**labels, **own}, float(value)
