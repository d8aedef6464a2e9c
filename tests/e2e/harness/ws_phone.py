"""The SIP half of a browser's phone: a user agent over a WebSocket (RFC 7118), led step by step. Media is somebody
else's: it only carries the SDP.
"""

from __future__ import annotations

import itertools
import re
import socket
import uuid
from contextlib import ExitStack
from typing import Self

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.e2e.harness.lab import Site
from tests.e2e.harness.sipp import Message


class WebSocketPhone:
    """Registered as `user` at the proxy from the beginning; one call at a time."""

    def __init__(self, user: str, site: Site, proxy: tuple[str, int]) -> None:
        self.user = user
        self.domain = f"{proxy[0]}:{proxy[1]}"
        self._tag = uuid.uuid4().hex[:8]
        self._contact = f"sip:{user}@{uuid.uuid4().hex[:12]}.invalid;transport=ws"
        self._serial = itertools.count(1)
        stream = site.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.bind((site.ip4, 0))
        stream.connect(proxy)
        uri = f"ws://{self.domain}/"
        self._stack = ExitStack()
        connection = connect(uri, sock=stream, subprotocols=[Subprotocol("sip")], proxy=None, compression=None)
        self._socket = self._stack.enter_context(connection)
        self._invite: Message | None = None
        """The one that made the call, ours or theirs."""
        self._answer: Message | None = None
        self._register()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _register(self) -> None:
        uri = f"sip:{self.domain}"
        address = f"<sip:{self.user}@{self.domain}>"
        call_id = uuid.uuid4().hex
        self._request("REGISTER", uri, call_id, f"{address};tag={self._tag}", address, ("Expires: 600",))
        self.gets("200 REGISTER")

    # --- calling ---

    def invite(self, user: str, call_id: str, sdp: str) -> None:
        uri = f"sip:{user}@{self.domain}"
        mine = f"<sip:{self.user}@{self.domain}>;tag={self._tag}"
        self._invite = self._request("INVITE", uri, call_id, mine, f"<{uri}>", body=sdp)

    def answered(self) -> str:
        """The SDP of the 200, which is acknowledged."""
        self._answer = self.gets("200 INVITE")
        assert self._invite is not None
        cseq = self._answer.field("CSeq").split()[0]
        self._within(self._answer, "ACK", cseq)
        return self._answer.body

    def hang_up(self) -> None:
        assert self._answer is not None
        self._within(self._answer, "BYE")
        self.gets("200 BYE")

    # --- being called ---

    def rings(self) -> Message:
        self._invite = self.gets("INVITE")
        return self._invite

    def answer(self, sdp: str) -> None:
        assert self._invite is not None
        self._respond(self._invite, "200 OK", sdp)
        self.gets("ACK")

    def is_hung_up(self) -> None:
        self._respond(self.gets("BYE"), "200 OK")

    # --- messages ---

    def gets(self, what: str, seconds: float = 10) -> Message:
        """The next message of that kind; others (100, 180) are passed over."""
        while True:
            text = self._socket.recv(seconds)
            assert isinstance(text, str)
            head, _, body = text.partition("\r\n\r\n")
            message = Message(sent=False, head=head.replace("\r\n", "\n"), body=body)
            assert message.code < 300, text
            if message.kind == what:
                return message

    def _request(
        self,
        method: str,
        uri: str,
        call_id: str,
        caller: str,
        callee: str,
        more: tuple[str, ...] = (),
        *,
        body: str = "",
        cseq: str | None = None,
    ) -> Message:
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/WS {self._contact.split('@')[1].split(';')[0]};branch=z9hG4bK{uuid.uuid4().hex}",
            f"From: {caller}",
            f"To: {callee}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq or next(self._serial)} {method}",
            "Max-Forwards: 70",
            f"Contact: <{self._contact}>",
            *more,
        ]
        return self._send(lines, body)

    def _within(self, answer: Message, method: str, cseq: str | None = None) -> None:
        """A request of the call that `answer` made (RFC 3261 section 12.2): its target, and its route backwards."""
        target = re.search(r"<([^>]+)>", answer.field("Contact"))
        assert target
        routes = [
            line.partition(":")[2].strip() for line in answer.head.split("\n") if line.startswith("Record-Route:")
        ]
        more = tuple(f"Route: {route}" for route in reversed(routes))
        self._request(method, target[1], answer.call_id, answer.field("From"), answer.field("To"), more, cseq=cseq)

    def _respond(self, request: Message, status: str, body: str = "") -> None:
        copied = ("Via", "From", "Call-ID", "CSeq", "Record-Route")
        lines = [f"SIP/2.0 {status}"]
        lines += [line for line in request.head.split("\n") if line.partition(":")[0] in copied]
        to = request.field("To")
        lines += [f"To: {to}" if ";tag=" in to else f"To: {to};tag={self._tag}", f"Contact: <{self._contact}>"]
        self._send(lines, body)

    def _send(self, lines: list[str], body: str) -> Message:
        if body:
            lines = [*lines, "Content-Type: application/sdp"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body.encode())}"])
        self._socket.send(f"{head}\r\n\r\n{body}")
        return Message(sent=True, head=head.replace("\r\n", "\n"), body=body)
