"""ng, the console and metrics over HTTP and HTTPS, and over WebSockets on the same ports (listen/websocket.py).

Theory of operation. A request is counted against its address's rate, then has to show a token, except for /ping and the
preflight requests of browsers, which carry none. Its body is read in `timeout`, its handling waits for its turn (Rota),
its response has to be taken in `timeout`; then the connection may wait `idle` seconds for the next one, and as long for
that to have come up to the end of its header. Every response may be read by web pages of other origins (CORS).

A cookie of /ng is given back and no more: HTTP needs none to find the reply, and clients that always send the same one
must not be answered from what others asked.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from rtprelay.errors import PeerFault
from rtprelay.listen.acl import Acl
from rtprelay.listen.cli import console_answer
from rtprelay.listen.door import Door, Doorman, hang_up
from rtprelay.listen.exchange import LONGEST_REPLY, Question, Service
from rtprelay.listen.limits import Rota
from rtprelay.listen.tokens import Tokens
from rtprelay.listen.websocket import GOODBYE, WebSockets, text_response
from rtprelay.signalling.replay import ReplayCache
from rtprelay.signalling.session import NgSession, Peer
from rtprelay.values import Endpoint

NG = "application/x-rtpengine-ng"
JSON = "application/json"
TEXT = "text/plain"

_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Max-Age": "86400",
    "Server": "rtprelay",
}
"""Of every response."""

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


class NgHttp:
    """All HTTP and HTTPS listeners of a relay with the same rules.

    `execute` makes the answer of a console line; `metrics` what /metrics gives, with its content type.
    """

    def __init__(
        self,
        service: Service,
        doorman: Doorman,
        rota: Rota,
        *,
        execute: Callable[[str], str],
        metrics: Callable[[], tuple[bytes, str]],
        acl: Acl | None = None,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._service = service
        self._doorman = doorman
        self._rota = rota
        self._execute = execute
        self._metrics = metrics
        self._tokens = tokens or Tokens()
        limits = doorman.limits
        forgetful = NgSession(
            ReplayCache(max_entries=0), ids=service.ids, longest_reply=LONGEST_REPLY, idioms=service.idioms
        )
        plain = NgSession(cookies=False, ids=service.ids, longest_reply=LONGEST_REPLY, idioms=service.idioms)
        self._ng = Question(forgetful, service, limits.patience)
        self._ng_plain = Question(plain, service, limits.patience)
        self._channels = itertools.count()
        self._web_sockets = WebSockets(service, doorman, rota, execute)
        self._routes: Mapping[str, Mapping[str, Handler]] = {
            "/ping": {"GET": self._get_ping},
            "/cli": {"POST": self._post_cli},
            "/ng": {"POST": self._post_ng},
            "/ng-plain": {"POST": self._post_ng_plain},
            "/metrics": {"GET": self._get_metrics},
        }
        self._server = web.Server(
            self._handle,
            keepalive_timeout=limits.idle,
            tcp_keepalive=False,
            access_log=None,
            logger=_mute_logger(),
            auto_decompress=False,
            lingering_time=GOODBYE,
            request_factory=self._request,
        )
        self._door = Door(self._server, doorman, acl=acl, tls=tls)

    def open(self, local: Endpoint) -> Endpoint:
        """Listen at `local` as well; port 0 takes any. Returns where. Raises OSError."""
        return self._door.open(local)

    async def close(self) -> None:
        """Stop listening and drop whoever is connected."""
        await self._door.close()
        await self._web_sockets.close()
        self._server.pre_shutdown()
        await self._server.shutdown(GOODBYE)

    # --- one request ---

    def _request(
        self,
        message: Any,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """As aiohttp makes it, but with our limit for the body."""
        loop = asyncio.get_running_loop()
        longest = self._doorman.limits.message
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=longest)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Whatever goes wrong with a request is a response of ours; aiohttp's own are for what is no HTTP."""
        timeout = self._doorman.limits.timeout
        try:
            if _asks_for_web_socket(request):
                response = self._refusal(request) or self._web_sockets.refusal(request)
                if response is None:
                    return await self._web_sockets.serve(request)
            else:
                response = await self._respond(request)
        except TimeoutError:
            response = text_response(408, f"The request was not complete within {timeout:g} seconds")
            response.force_close()
        except web.HTTPRequestEntityTooLarge:
            response = _too_large(self._doorman.limits.message)
        except web.HTTPException as refused:
            response = text_response(refused.status, refused.text or refused.reason)
        except web.RequestPayloadError:
            response = text_response(400, "The request's body cannot be read")
            response.force_close()
        except ConnectionError:
            raise
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{request.method} {request.path} from {request.remote} failed", "exception": error}
            )
            response = text_response(500, "Internal error")
        response.headers.update(_HEADERS)
        await self._send(request, response)
        return response

    async def _send(self, request: web.BaseRequest, response: web.Response) -> None:
        """Here and not by aiohttp, which would wait forever for a client to take it."""
        try:
            async with asyncio.timeout(self._doorman.limits.timeout):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                hang_up(request.transport)

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        route = self._route(request)
        if isinstance(route, web.Response):
            return route
        await self._rota.turn()
        return await route(request)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        doorman = self._doorman
        wait = doorman.rates.wait(_host(request), doorman.clock())
        if wait:
            doorman.turned_away["rate"] += 1
            return text_response(429, "Too many requests", {"Retry-After": str(math.ceil(wait))})
        if not self._tokens or _needs_none(request):
            return None
        transport = request.transport
        if transport is not None and transport.get_extra_info("peercert"):
            return None
        if self._tokens.admit(request.headers.get("Authorization", "")):
            return None
        doorman.turned_away["token"] += 1
        self._service.complain(_peer(request), PeerFault("No valid token in the request"))
        return text_response(401, "A valid bearer token is required", {"WWW-Authenticate": 'Bearer realm="rtprelay"'})

    def _route(self, request: web.BaseRequest) -> Handler | web.Response:
        path = request.path
        if path.startswith("/cli/"):
            methods: Mapping[str, Handler] = {"GET": self._get_cli}
        elif path in ("/janus", "/admin") or path.startswith("/janus/"):
            return text_response(501, "The Janus protocol is not spoken here")
        elif path in self._routes:
            methods = self._routes[path]
        else:
            return text_response(404, "Not found")
        if request.method == "OPTIONS":
            return web.Response(status=204)
        # RFC 9110 section 9.3.2: a GET whose body is left away, which aiohttp does.
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join([*methods, "OPTIONS"])
            return text_response(405, f"{path} takes {allowed}", {"Allow": allowed})
        return handler

    async def _body(self, request: web.BaseRequest, *types: str) -> bytes | web.Response:
        """The body, or what is wrong with it. Raises TimeoutError."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return text_response(415, "Bodies are not to be compressed")
        if "Content-Type" in request.headers and request.content_type not in types:
            return text_response(415, f"{request.path} takes {' or '.join(types)}, not {request.content_type}")
        longest = self._doorman.limits.message
        if request.content_length is not None and request.content_length > longest:
            return _too_large(longest)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        async with asyncio.timeout(self._doorman.limits.timeout):
            return await request.read()

    # --- the resources ---

    async def _get_ping(self, request: web.BaseRequest) -> web.Response:
        return text_response(200, "pong")

    async def _get_metrics(self, request: web.BaseRequest) -> web.Response:
        body, content_type = self._metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _get_cli(self, request: web.BaseRequest) -> web.Response:
        """`/cli/list+totals`: the line is the rest of the path, spaces as plus signs."""
        encoded = request.raw_path.partition("?")[0].removeprefix("/cli/").replace("+", " ")
        return self._console(unquote_to_bytes(encoded))

    async def _post_cli(self, request: web.BaseRequest) -> web.Response:
        body = await self._body(request, TEXT)
        return body if isinstance(body, web.Response) else self._console(body)

    def _console(self, line: bytes) -> web.Response:
        return web.Response(body=console_answer(self._execute, line), content_type=TEXT)

    async def _post_ng(self, request: web.BaseRequest) -> web.Response:
        body = await self._body(request, NG)
        if isinstance(body, web.Response):
            return body
        return await self._asked(self._ng, request, body, "The body is not `COOKIE MESSAGE`")

    async def _post_ng_plain(self, request: web.BaseRequest) -> web.Response:
        body = await self._body(request, NG, JSON, TEXT)
        if isinstance(body, web.Response):
            return body
        if body[:1] not in (b"d", b"{"):
            return text_response(400, "The body is neither a bencode dictionary nor a JSON object")
        response = await self._asked(self._ng_plain, request, body, "")
        if request.content_type == JSON:
            response.content_type = JSON
        return response

    async def _asked(self, question: Question, request: web.BaseRequest, body: bytes, silence: str) -> web.Response:
        peer = Peer(next(self._channels), (_host(request), 0))
        try:
            answer = await question.ask(body, peer)
        except TimeoutError:
            return text_response(504, "The relay did not reply in time")
        if answer is None:
            return text_response(400, silence)
        return web.Response(body=answer, content_type=NG)


def _asks_for_web_socket(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _needs_none(request: web.BaseRequest) -> bool:
    """A token. The path of a WebSocket says nothing about what it is for."""
    return not _asks_for_web_socket(request) and (request.path == "/ping" or request.method == "OPTIONS")


def _host(request: web.BaseRequest) -> str:
    return request.remote or ""


def _peer(request: web.BaseRequest) -> Peer:
    return Peer(0, (_host(request), 0))


def _too_large(longest: int) -> web.Response:
    response = text_response(413, f"The body is longer than {longest} bytes")
    # What is still to come of it is not worth waiting for.
    response.force_close()
    return response


def _mute_logger() -> logging.Logger:
    """aiohttp tells of each malformed request, with a traceback: whoever reaches the port could fill the log."""
    logger = logging.getLogger("rtprelay.listen.http")
    logger.disabled = True
    return logger
