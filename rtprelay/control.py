"""The control ports: every listener the configuration names, over one relay.

aiohttp takes 95 ms and 10 MiB to import, prometheus-client 40 ms and 3 MiB: only who listens for HTTP pays.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import stat
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from structlog.typing import FilteringBoundLogger

from rtprelay.cli.commands import Console
from rtprelay.cli.parameters import Parameters
from rtprelay.config.schema import LISTENERS, Config, ControlConfig
from rtprelay.core.relay import Relay
from rtprelay.core.settings import Settings
from rtprelay.errors import OurFault, RelayError
from rtprelay.listen.acl import Acl
from rtprelay.listen.cli import CliServer, console_answer
from rtprelay.listen.door import Doorman
from rtprelay.listen.exchange import Respond, Service
from rtprelay.listen.limits import Limits, Rates, Rota
from rtprelay.listen.tcp import NgTcp
from rtprelay.listen.tls import server_context
from rtprelay.listen.tokens import Tokens
from rtprelay.listen.udp import NgUdp
from rtprelay.observe.log import Verbosity
from rtprelay.runtime.loop import RelayLoop
from rtprelay.signalling import reply
from rtprelay.signalling.command import Command, CommandName, Request
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.session import Peer
from rtprelay.signalling.templates import Templates
from rtprelay.values import Endpoint

if TYPE_CHECKING:
    from rtprelay.listen.http import NgHttp

_TLS = ("tls-ng", "https")
COMPLAINTS = 10
"""Refused requests told of in the log, per second: whoever reaches a port could fill the disk."""
_LAST = "ng"
"""Whoever gets an answer there finds all other ports open too."""


class Listener(Protocol):
    def open(self, local: Endpoint) -> Endpoint: ...


class ControlPorts:
    """Made from the configuration; `open` and `close` them. Raises OurFault where one cannot be had."""

    def __init__(
        self, config: Config, relay: Relay, loop: RelayLoop, verbosity: Verbosity, log: FilteringBoundLogger
    ) -> None:
        self._config = config.control
        self._loop = loop
        self._log = log
        parameters = Parameters(config, verbosity, lambda: relay.registry.settings, self.change)
        self._console = Console(relay, loop.execute, loop.data_plane, parameters)
        self._doorman = Doorman(
            Limits(connections=self._config.connections, rate=self._config.rate, timeout=self._config.timeout)
        )
        self._rota = Rota()
        self._complaints = Rates(COMPLAINTS)
        self._untold = 0
        self._requests = relay.registry.requests
        self._calls = relay.registry.calls
        self._verbosity = verbosity
        self._templates = Templates(self._config.templates)
        self._service = Service(
            handle=self._handle, complain=self._complain, took=self._took, idioms=Idioms(self._templates)
        )
        self._tokens = self._read_tokens(self._config.token_file)
        self._tls = self._make_tls()
        self._acls = {kind: Acl(networks) for kind, networks in self._config.acl.items()}
        self._udp = NgUdp(self._service, acl=self._acls["ng"], discover_mtu=self._config.discover_mtu)
        self._udp.mark(config.settings.control_tos)
        self._stack = contextlib.AsyncExitStack()

    def open(self) -> None:
        for kind in sorted(LISTENERS, key=_LAST.__eq__):
            endpoints = self._config.listen[kind]
            if not endpoints:
                continue
            listener = self._listener(kind)
            for endpoint in endpoints:
                try:
                    address = listener.open(endpoint)
                except OSError as error:
                    raise OurFault(f"cannot listen on {endpoint}: {error.strerror or error}") from error
                self._log.info("listening", protocol=kind, address=str(address))

    def change(self, settings: Settings) -> None:
        """Have other settings hold."""
        self._udp.mark(settings.control_tos)
        self._loop.change(settings)

    def reload(self, config: ControlConfig) -> None:
        """Other access lists and templates, and what the token file holds now; for whoever comes. Raises OurFault."""
        if config.token_file is not None:
            self._tokens.become(self._read_tokens(config.token_file))
        self._templates.become(config.templates)
        for kind, networks in config.acl.items():
            self._acls[kind].become(networks)

    async def close(self) -> None:
        """Drop whoever is connected."""
        await self._stack.aclose()

    def _listener(self, kind: str) -> Listener:
        """One for all addresses of its kind."""
        if kind == "ng":
            self._stack.callback(self._udp.close)
            return self._udp
        stream: CliServer | NgTcp | NgHttp
        tls = self._tls if kind in _TLS else None
        if kind == "cli":
            stream = CliServer(functools.partial(self._console.execute, keys=True), self._doorman, acl=self._acls[kind])
        elif kind in ("http", "https"):
            stream = self._http(self._acls[kind], tls)
        else:
            stream = NgTcp(self._service, self._doorman, self._rota, acl=self._acls[kind], tokens=self._tokens, tls=tls)
        self._stack.push_async_callback(stream.close)
        return stream

    def _http(self, acl: Acl, tls: ssl.SSLContext | None) -> NgHttp:
        from rtprelay.listen.http import NgHttp
        from rtprelay.observe.metrics import Metrics, Sources

        sources = Sources(
            statistics=self._statistics,
            data_plane=self._loop.data_plane.counters,
            internal=lambda: self._loop.counters + self._loop.sockets.counters,
            turned_away=lambda: self._doorman.turned_away + Counter(acl=self._udp.turned_away),
            connections=lambda: len(self._doorman.places),
        )
        return NgHttp(
            self._service,
            self._doorman,
            self._rota,
            execute=self._console.execute,
            metrics=Metrics(sources, self._config.metrics_prefix).render,
            acl=acl,
            tokens=self._tokens,
            tls=tls,
        )

    def _statistics(self) -> dict[str, Any]:
        statistics: dict[str, Any] = self._loop.execute(Command(name=CommandName.STATISTICS)).get("statistics", {})
        return statistics

    def _read_tokens(self, path: Path | None) -> Tokens:
        if path is None:
            return Tokens()
        tokens = Tokens.read(path)
        if path.stat().st_mode & stat.S_IROTH:
            self._log.warning("everybody on this host can read the tokens", file=str(path))
        return tokens

    def _make_tls(self) -> ssl.SSLContext | None:
        config = self._config
        if config.certificate is None or not any(config.listen[kind] for kind in _TLS):
            return None
        return server_context(config.certificate, config.key, config.client_ca)

    def _handle(self, request: Request, respond: Respond) -> None:
        """To the core, but what is meant for the console: an operator's view is no business of calls."""
        if request.command.name is not CommandName.CLI:
            if "debug" in request.command.flags.extra:
                self._verbosity.trace(request.command.call_id, self._calls)
            self._loop.handle(request, respond)
            return
        self._requests.asked(request.proxy, CommandName.CLI.value)
        answer = console_answer(self._console.execute, request.command.body.encode("utf-8", "surrogateescape"))
        respond(reply.ok(response=answer.decode("utf-8", "replace")))

    def _complain(self, peer: Peer, fault: RelayError) -> None:
        self._requests.failed(peer.host)
        if self._complaints.wait("", time.monotonic()):
            self._untold += 1
            return
        self._log.warning("request refused", peer=peer.host, reason=fault.reason, untold=self._untold)
        self._untold = 0

    def _took(self, request: Request, seconds: float) -> None:
        self._requests.took(request.proxy, request.command.name.value, seconds)
