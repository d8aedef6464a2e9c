"""The relay as `statistics` and `list totals` show it."""

from __future__ import annotations

from rtprelay.call.interface import MediaInterface
from rtprelay.core.registry import Registry
from rtprelay.core.totals import EndReason, Traffic
from rtprelay.signalling import statistics as view
from rtprelay.signalling.command import Body
from rtprelay.values import Counts


def statistics(registry: Registry, now: float) -> Body:
    """The ng reply."""
    return view.statistics(overview(registry, now))


def overview(registry: Registry, now: float) -> view.Statistics:
    """All numbers of the relay at this moment."""
    proxies = (
        view.ProxyView(proxy=proxy, requests=counts.requests, seconds=counts.seconds, errors=counts.errors)
        for proxy, counts in registry.requests.proxies.items()
    )
    return view.Statistics(
        current=_current(registry, now),
        totals=_totals(registry, now),
        quality=sum(registry.totals.quality.values(), view.Quality()),
        proxies=tuple(proxies),
        interfaces=tuple(_interface(registry, interface) for interface in registry.settings.interfaces),
    )


def _current(registry: Registry, now: float) -> view.Current:
    totals = registry.totals
    totals.look(now)
    user = tuple(map(round, totals.user_rates.per_second))
    kernel = tuple(map(round, totals.kernel_rates.per_second))
    owned = ((registry.owned(local), in_kernel) for local, in_kernel in totals.in_kernel.items())
    paths = [in_kernel and its[2].rtp for its, in_kernel in owned if its is not None and not its[0].rtcp]
    return view.Current(
        sessionsown=len(registry.calls),
        sessionstotal=len(registry.calls),
        packetrate_user=user[0],
        byterate_user=user[1],
        errorrate_user=user[2],
        packetrate_kernel=kernel[0],
        byterate_kernel=kernel[1],
        errorrate_kernel=kernel[2],
        packetrate=user[0] + kernel[0],
        byterate=user[1] + kernel[1],
        errorrate=user[2] + kernel[2],
        media_userspace=paths.count(False),
        media_kernel=paths.count(True),
    )


def _totals(registry: Registry, now: float) -> view.Totals:
    totals = registry.totals
    user, kernel, ended = totals.user, totals.kernel, totals.ended
    duration = view.Samples(totals.duration, totals.duration_squared, totals.managed)
    return view.Totals(
        uptime=int(now - totals.started),
        managedsessions=totals.managed,
        rejectedsessions=ended[EndReason.REJECTED],
        timeoutsessions=ended[EndReason.TIMEOUT],
        silenttimeoutsessions=ended[EndReason.SILENT_TIMEOUT],
        finaltimeoutsessions=ended[EndReason.FINAL_TIMEOUT],
        offertimeoutsessions=ended[EndReason.OFFER_TIMEOUT],
        regularterminatedsessions=ended[EndReason.REGULAR],
        forcedterminatedsessions=ended[EndReason.FORCED],
        relayedpackets_user=user.packets,
        relayedpacketerrors_user=user.errors,
        relayedbytes_user=user.bytes,
        relayedpackets_kernel=kernel.packets,
        relayedpacketerrors_kernel=kernel.errors,
        relayedbytes_kernel=kernel.bytes,
        relayedpackets=user.packets + kernel.packets,
        relayedpacketerrors=user.errors + kernel.errors,
        relayedbytes=user.bytes + kernel.bytes,
        zerowaystreams=totals.zero_way_streams,
        onewaystreams=totals.one_way_streams,
        avgcallduration=duration.average,
        totalcallsduration=duration.total,
        totalcallsduration2=duration.squares,
        totalcallsduration_stddev=duration.deviation,
    )


def _interface(registry: Registry, interface: MediaInterface) -> view.InterfaceView:
    return view.InterfaceView(
        name=interface.name,
        address=interface.address,
        port_min=interface.port_min,
        port_max=interface.port_max,
        ports_used=registry.ports.pools[interface.address].used,
        quality=registry.totals.quality.get(interface.address, view.Quality()),
        received=_counts(registry.totals.received.get(interface.address)),
        sent=_counts(registry.totals.sent.get(interface.address)),
    )


def _counts(traffic: Traffic | None) -> Counts:
    return Counts() if traffic is None else Counts(traffic.packets, traffic.bytes, traffic.errors)
