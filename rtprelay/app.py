"""The composition root: the only place that knows every part, and the order they start and stop in.

Start: limits, journal, data plane, the core over what both still hold, media ports; the control ports last, so that
whoever gets an answer talks to a relay that knows its calls. Stop: control ports first, then sockets; kernel and
journal stay as they are, and the next start is a take-over whether the last end was orderly or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

from structlog.typing import FilteringBoundLogger

from rtprelay import __version__
from rtprelay.clock import wall_offset
from rtprelay.config.load import load
from rtprelay.config.schema import Config, ConfigError
from rtprelay.control import ControlPorts
from rtprelay.core.relay import Relay
from rtprelay.core.settings import Settings
from rtprelay.errors import RelayError
from rtprelay.kernel.backend import Steering
from rtprelay.kernel.select import DataPlane, flush_data_plane, start_data_plane, start_steering
from rtprelay.lifetime import Lifetime, Signals
from rtprelay.observe.log import Verbosity, configure
from rtprelay.runtime.certificates import CertificateKeeper
from rtprelay.runtime.host_load import HostLoad
from rtprelay.runtime.loop import RelayLoop
from rtprelay.runtime.notify import notify, watchdog_interval
from rtprelay.runtime.process import daemonize, pid_file, raise_descriptor_limit
from rtprelay.runtime.route import local_address_towards, unusable
from rtprelay.runtime.sockets import STEERED_SOCKETS
from rtprelay.store.journal import Journal
from rtprelay.store.srtp_indices import SrtpIndices

INDICES_KEPT_EVERY = 1.0
"""Seconds."""
SPARE_DESCRIPTORS = 1000
"""Beside the sockets of media ports: control ports, maps, journal."""
WATCH_INTERFACES = 5.0
"""Seconds between two looks at how each network interface is served."""
SAMPLE_LOAD = 1.0
"""Seconds between two looks at how busy the host is."""

COLLECTIONS = (5_000, 0, 100)
"""When the cycle collector looks at the young, the older and all objects (`gc.set_threshold`): seldom, for calls are
trees, which go without it. With the defaults it went through all of them all the time, 0.4 s for 4,500 calls and a
sixth of all CPU. What a steady load makes and drops does not count; garbage does. A look at the young takes 2 ms.
"""

Report = Callable[[str], None]
"""Called once: with "" when the relay answers, with the reason when it will not."""


def main(arguments: Sequence[str]) -> int:
    """The program. Returns its exit status: 0 stopped in order, 1 could not start, 2 the configuration is wrong."""
    try:
        config = load(arguments)
    except ConfigError as error:
        print(f"rtprelay: {error.reason}", file=sys.stderr)
        return 2
    report: Report = _nobody if config.foreground or config.flush else daemonize()
    verbosity = Verbosity(config.log_level)
    log = configure(verbosity, config.log_format.value, config.log_stderr or config.flush, config.log_facility)
    try:
        if config.flush:
            _flush(config, log)
        else:
            with pid_file(config.pidfile):
                _run(_serve(arguments, config, verbosity, log, report))
    except RelayError as error:
        log.critical("cannot start", reason=error.reason)
        report(error.reason)
        return 1
    return 0


def _nobody(failure: str) -> None:
    """In the foreground the log says it."""


def _run(work: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed: userspace forwarding does several times as many packets there."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


def _flush(config: Config, log: FilteringBoundLogger) -> None:
    """Leave nothing behind: no link, no map, no call."""
    with contextlib.closing(Journal(config.state_dir)) as journal:
        flush_data_plane(config.backend.value, config.bpf_path)
        journal.erase()
    log.info("flushed", bpf_path=config.bpf_path, state_dir=config.state_dir)


async def _serve(
    arguments: Sequence[str], config: Config, verbosity: Verbosity, log: FilteringBoundLogger, report: Report
) -> None:
    signals = Signals(verbosity)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: _log_stray(context, log))
    log.info("starting", version=__version__, configuration=config.source)
    for notice in config.notices:
        log.warning(notice)
    # What calls are taken over stays: looking through it again and again for garbage is a third of a start's time.
    gc.disable()
    async with contextlib.AsyncExitStack() as stack:
        journal = stack.enter_context(contextlib.closing(Journal(config.state_dir)))
        if journal.recovery.damage is not None:
            log.error("journal damaged", what=journal.recovery.damage, set_aside=journal.recovery.set_aside)
        data_plane = await stack.enter_async_context(_data_plane(config, log))
        data_plane.forwarder.listening_quality = config.listening_quality
        relay = Relay(
            config.settings,
            data_plane.capabilities,
            random.SystemRandom(),
            wall_offset(time.time(), time.monotonic()),
            time.monotonic(),
            local_address_towards,
        )
        identity = relay.registry.transports.identity
        keeper = CertificateKeeper(config.state_dir, config.dtls_key_type, config.dtls_rsa_bits, log)
        identity.add(await keeper.start())
        indices = SrtpIndices(config.state_dir)
        data_plane.forwarder.srtp.remember(*indices.load())
        # From now on what has been kept is not the last word any more.
        _save_indices(indices, data_plane, log)
        stack.callback(_save_indices, indices, data_plane, log, settled=True)
        steering = stack.enter_context(_steering(config.settings, data_plane, log))
        _raise_limits(config.settings, steering is not None, log)
        loop = RelayLoop(relay, data_plane, journal, log, steering, verbosity.hears)
        stack.callback(loop.stop)
        loop.start(data_plane.adopt())
        _tell_media(config.settings, data_plane, log)
        control = ControlPorts(config, relay, loop, verbosity, log)
        stack.push_async_callback(control.close)
        control.open()
        # What lives now lives long: calls taken over, code, settings. The collector need not look at them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTIONS)
        gc.enable()
        for task in (
            _watch_interfaces(data_plane, log),
            _watch_load(relay),
            _feed_watchdog(),
            _keep_indices(indices, data_plane, log),
            keeper.keep(identity.add),
        ):
            stack.callback(asyncio.create_task(task).cancel)
        notify(f"READY=1\nSTATUS=relaying, backend {data_plane.capabilities.name}")
        report("")
        await Lifetime(arguments, config, relay, control, verbosity, log).run(signals)


@contextlib.asynccontextmanager
async def _data_plane(config: Config, log: FilteringBoundLogger) -> AsyncIterator[DataPlane]:
    data_plane, reason = await start_data_plane(
        config.backend.value, config.bpf_path, config.settings.interfaces, config.no_fallback
    )
    log.info("data plane", backend=data_plane.capabilities.name, reason=reason)
    try:
        yield data_plane
    finally:
        await data_plane.stop()


async def _keep_indices(indices: SrtpIndices, data_plane: DataPlane, log: FilteringBoundLogger) -> None:
    while True:
        await asyncio.sleep(INDICES_KEPT_EVERY)
        _save_indices(indices, data_plane, log)


def _save_indices(
    indices: SrtpIndices, data_plane: DataPlane, log: FilteringBoundLogger, settled: bool = False
) -> None:
    try:
        indices.save(data_plane.forwarder.srtp.export(), settled)
    except OSError as error:
        log.error("SRTP indices not kept", error=str(error))


@contextlib.contextmanager
def _steering(settings: Settings, data_plane: DataPlane, log: FilteringBoundLogger) -> Iterator[Steering | None]:
    steering, reason = start_steering(data_plane, settings.interfaces)
    log.info("media ports", sockets="one for each port" if steering is None else "shared", reason=reason)
    try:
        yield steering
    finally:
        if steering is not None:
            steering.close()


def _raise_limits(settings: Settings, steered: bool, log: FilteringBoundLogger) -> None:
    ports = {item.address: (item.port_min, item.port_max) for item in settings.interfaces}
    wanted = SPARE_DESCRIPTORS + (STEERED_SOCKETS if steered else sum(high - low + 1 for low, high in ports.values()))
    allowed = raise_descriptor_limit(wanted)
    if allowed < wanted:
        log.warning("not every media port can be open at once", open_files=allowed, wanted=wanted)


def _tell_media(settings: Settings, data_plane: DataPlane, log: FilteringBoundLogger) -> None:
    for item in settings.interfaces:
        log.info(
            "media address",
            interface=item.name,
            address=item.address,
            advertised=item.advertised or item.address,
            ports=f"{item.port_min}-{item.port_max}",
        )
        # It may come later: a virtual address that moves between hosts.
        if (error := unusable(item.address)) is not None:
            log.warning("media address cannot be used", interface=item.name, address=item.address, error=error)
    for mode in data_plane.interfaces():
        log.info("interface served", device=mode.interface, mode=mode.mode, reason=mode.reason)


async def _watch_interfaces(data_plane: DataPlane, log: FilteringBoundLogger) -> None:
    """Tell when a network interface begins to be served in another way: it came, went, or its driver changed."""
    known = {mode.interface: mode for mode in data_plane.interfaces()}
    while True:
        await asyncio.sleep(WATCH_INTERFACES)
        now = {mode.interface: mode for mode in data_plane.interfaces()}
        for mode in now.values():
            if known.get(mode.interface) != mode:
                log.info("interface served", device=mode.interface, mode=mode.mode, reason=mode.reason)
        for name in known.keys() - now.keys():
            log.info("interface gone", device=name)
        known = now


async def _watch_load(relay: Relay) -> None:
    """What the limits on load, CPU and bandwidth are held against."""
    host = HostLoad()
    while True:
        await asyncio.sleep(SAMPLE_LOAD)
        relay.handle_load(*host.sample(), time.monotonic())


async def _feed_watchdog() -> None:
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)


def _log_stray(context: dict[str, Any], log: FilteringBoundLogger) -> None:
    """An exception nobody caught: one callback's end, not the relay's."""
    log.error("failed", what=context.get("message"), exc_info=context.get("exception"))
