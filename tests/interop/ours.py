"""Our relay in this process: bytes in, bytes out, no socket."""

from __future__ import annotations

import json
import random
from itertools import count
from typing import Any

from rtprelay.core.effects import Effect, ReadFlows, Reply
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.plan.flow import Capabilities
from rtprelay.signalling.command import Request
from rtprelay.signalling.session import Answer, NgSession, Peer
from tests.interop.ground import INTERFACES, PORTS

PROXY = Peer(1, ("127.0.0.1", 5060))


class Ours:
    def __init__(self) -> None:
        interfaces = tuple(
            MediaInterface(name=name, address=host, port_min=PORTS[0], port_max=PORTS[-1]) for name, host in INTERFACES
        )
        settings = Settings(interfaces=interfaces)
        self._relay = Relay(settings, Capabilities(name="none"), random.Random(1), wall_offset=1_700_000_000.0)
        self._session = NgSession()
        self._cookies = count(1)
        self._now = 0.0

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._now += 0.01
        taken = self._session.receive(f"c{next(self._cookies)} {json.dumps(request)}".encode(), PROXY, self._now)
        data = taken.data if isinstance(taken, Answer) else self._carry_out(taken)
        reply: dict[str, Any] = json.loads(data.partition(b" ")[2])
        return reply

    def _carry_out(self, request: Request | None) -> bytes:
        assert request is not None
        self._relay.handle_command(request, self._now)
        answer = b""
        while (effect := self._relay.next_effect()) is not None:
            answer = self._do(effect) or answer
        return answer

    def _do(self, effect: Effect) -> bytes | None:
        match effect:
            case ReadFlows():
                self._relay.handle_report([], self._now)
            case Reply(request_id, body):
                answered = self._session.reply(request_id, body)
                assert answered is not None
                return answered[1]
        return None
