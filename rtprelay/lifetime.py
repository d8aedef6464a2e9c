"""The relay from the moment it answers until its end: what signals ask of it.

- SIGHUP reads the configuration again: what can change does, the rest is named in the log, an error changes nothing.
- SIGTERM or SIGINT stops it. With `drain-on-stop` it first takes no new calls, and waits for the last one to end, but
  no longer than that; a second signal cuts the waiting short.
- SIGUSR1 has less in the log, SIGUSR2 more, by one level, as in rtpengine.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence

import msgspec
from structlog.typing import FilteringBoundLogger

from rtprelay.config.load import load
from rtprelay.config.reload import reload
from rtprelay.config.schema import Config
from rtprelay.control import ControlPorts
from rtprelay.core.relay import Relay
from rtprelay.errors import RelayError
from rtprelay.observe.log import Verbosity
from rtprelay.runtime.notify import notify

LOOK_EVERY = 0.2
"""Seconds between two looks for calls while draining."""


class Signals:
    """Caught from the very start: one that comes while the relay is still starting is kept until it can be obeyed."""

    def __init__(self, verbosity: Verbosity) -> None:
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number, event in (
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._stop),
            (signal.SIGHUP, self._reload),
        ):
            loop.add_signal_handler(number, event.set)
        for number, more in ((signal.SIGUSR1, -1), (signal.SIGUSR2, 1)):
            loop.add_signal_handler(number, verbosity.shift, more)

    async def stop(self) -> None:
        """The next SIGTERM or SIGINT."""
        await self._stop.wait()
        self._stop.clear()

    async def reload(self) -> None:
        """The next SIGHUP."""
        await self._reload.wait()
        self._reload.clear()


class Lifetime:
    """`arguments` are what the program was called with."""

    def __init__(
        self,
        arguments: Sequence[str],
        config: Config,
        relay: Relay,
        control: ControlPorts,
        verbosity: Verbosity,
        log: FilteringBoundLogger,
    ) -> None:
        self._arguments = arguments
        self._config = config
        self._relay = relay
        self._control = control
        self._verbosity = verbosity
        self._log = log

    async def run(self, signals: Signals) -> None:
        """Returns when it is time to stop."""
        reloading = asyncio.create_task(self._keep_reloading(signals))
        try:
            await signals.stop()
            if self._config.drain_on_stop > 0 and self._relay.registry.calls:
                await self._drain(signals)
        finally:
            reloading.cancel()
        notify("STOPPING=1")
        self._log.info("stopping", calls=len(self._relay.registry.calls))

    async def _drain(self, signals: Signals) -> None:
        calls, longest = self._relay.registry.calls, self._config.drain_on_stop
        self._relay.drain()
        notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((longest + 5) * 1e6)}\nSTATUS=draining, {len(calls)} calls")
        self._log.info("draining", calls=len(calls), at_most=longest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                while calls:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_EVERY):
                            await signals.stop()
                        # A second one.
                        return

    async def _keep_reloading(self, signals: Signals) -> None:
        while True:
            await signals.reload()
            self._reload()

    def _reload(self) -> None:
        running = msgspec.structs.replace(
            self._config, settings=self._relay.registry.settings, log_level=self._verbosity.level
        )
        notify("RELOADING=1")
        try:
            outcome = reload(running, load(self._arguments))
            self._control.reload(outcome.config.control)
        except RelayError as error:
            self._log.error("configuration not reloaded", reason=error.reason)
        except OSError as error:
            self._log.error("configuration not reloaded", reason=str(error))
        else:
            self._config = outcome.config
            self._verbosity.level = outcome.config.log_level
            self._control.change(outcome.config.settings)
            self._log.info("configuration reloaded", changed=" ".join(outcome.changed) or "nothing")
            for name in outcome.waiting:
                self._log.warning("option changes with the next start", option=name)
        notify("READY=1")
