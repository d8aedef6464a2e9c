"""ng and the console over WebSockets (RFC 6455): the subprotocol says which, one message is one request.

Theory of operation of a connection. Its messages are taken one at a time, each when the one before is answered: what
comes meanwhile is held back by TCP. Replies are binary messages, as rtpengine sends them, since ng may carry bytes
that are no UTF-8; only `echo` sends back what it got. A reply has to be taken in `timeout`. Between messages a
connection may be silent as long as its peer lives.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from rtprelay.listen.cli import console_answer
from rtprelay.listen.door import Doorman, hang_up
from rtprelay.listen.exchange import LONGEST_REPLY, Question, Service, connection_session
from rtprelay.listen.limits import Rota
from rtprelay.signalling.session import NgSession, Peer

ECHO = "echo.rtpengine.com"
JANUS = "janus-protocol"
GOODBYE = 1.0
"""Seconds for a client to take what it is owed, and to say goodbye as well."""
_KEY = re.compile("[A-Za-z0-9+/]{22}==")
"""16 bytes (RFC 6455 section 4.2.1)."""

Respond = Callable[[bytes], Awaitable[bytes | None]]


class WebSockets:
    """All WebSockets of a relay's HTTP listeners."""

    def __init__(self, service: Service, doorman: Doorman, rota: Rota, execute: Callable[[str], str]) -> None:
        self._service = service
        self._doorman = doorman
        self._rota = rota
        self._execute = execute
        self._open: set[web.WebSocketResponse[Any]] = set()
        self._subprotocols: dict[str, Callable[[Peer], Respond]] = {
            "ng.rtpengine.com": self._ng,
            "ng-plain.rtpengine.com": self._ng_plain,
            "cli.rtpengine.com": self._cli,
            ECHO: self._echo,
        }

    def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why there will be no WebSocket, None where there will be."""
        offered = _offered(request)
        if request.method != "GET":
            return text_response(405, "A WebSocket begins with GET", {"Allow": "GET"})
        if request.headers.get("Sec-WebSocket-Version") != "13":
            return text_response(426, "The WebSocket version spoken here is 13", {"Sec-WebSocket-Version": "13"})
        if not _KEY.fullmatch(request.headers.get("Sec-WebSocket-Key", "").strip()):
            return text_response(400, "Sec-WebSocket-Key has to be 16 bytes in base64")
        if any(name in self._subprotocols for name in offered):
            return None
        if JANUS in offered:
            return text_response(501, "The Janus protocol is not spoken here")
        return text_response(400, f"Sec-WebSocket-Protocol has to name one of {', '.join(self._subprotocols)}")

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Until either side closes."""
        socket = web.WebSocketResponse(
            # The client's order is that of its preference.
            protocols=[name for name in _offered(request) if name in self._subprotocols],
            timeout=GOODBYE,
            compress=False,
            max_msg_size=self._doorman.limits.message,
            decode_text=False,
        )
        await socket.prepare(request)
        peer = Peer(0, (request.remote or "", 0))
        respond = self._subprotocols[socket.ws_protocol or ""](peer)
        self._open.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
                await self._turn(peer.host)
                reply = await respond(message.data)
                if reply is not None:
                    async with asyncio.timeout(self._doorman.limits.timeout):
                        await socket.send_frame(reply, _reply_type(socket, message.type))
        except TimeoutError:
            # A reply that the relay did not give, or the client does not take: it would not take a goodbye either.
            if request.transport is not None:
                hang_up(request.transport)
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to all."""
        goodbyes = [socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._open]
        await asyncio.gather(*goodbyes, return_exceptions=True)

    async def _turn(self, host: str) -> None:
        doorman = self._doorman
        while wait := doorman.rates.wait(host, doorman.clock()):
            await asyncio.sleep(wait)
        await self._rota.turn()

    # --- the subprotocols ---

    def _ng(self, peer: Peer) -> Respond:
        return self._asking(connection_session(self._service), peer)

    def _ng_plain(self, peer: Peer) -> Respond:
        return self._asking(
            NgSession(cookies=False, ids=self._service.ids, longest_reply=LONGEST_REPLY, idioms=self._service.idioms),
            peer,
        )

    def _asking(self, session: NgSession, peer: Peer) -> Respond:
        question = Question(session, self._service, self._doorman.limits.patience)
        return lambda data: question.ask(data, peer)

    def _cli(self, peer: Peer) -> Respond:
        async def respond(line: bytes) -> bytes:
            return console_answer(self._execute, line)

        return respond

    def _echo(self, peer: Peer) -> Respond:
        async def respond(data: bytes) -> bytes:
            return data

        return respond


def text_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=f"{text}\n".encode(), content_type="text/plain", headers=headers)


def _offered(request: web.BaseRequest) -> list[str]:
    return [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]


def _reply_type(socket: web.WebSocketResponse[Any], asked: WSMsgType) -> WSMsgType:
    return asked if socket.ws_protocol == ECHO else WSMsgType.BINARY
