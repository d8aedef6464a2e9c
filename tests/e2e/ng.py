"""A small ng client for tests: bencode of its own and JSON, so that it shares no mistake with the product.

One datagram out, one in: `cookie SP body`. No answer within the patience fails the test, it is never retried: a lost
command is a finding.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from tools.bencode import Value, decode, encode
from tools.netns import Namespace


@dataclass(frozen=True)
class Reply:
    """What the relay answered."""

    body: Mapping[str, Value]

    @property
    def result(self) -> str:
        return self.text("result")

    @property
    def sdp(self) -> str:
        return self.text("sdp")

    def text(self, key: str) -> str:
        value = self.body[key]
        assert isinstance(value, str), f"{key}: {value!r}"
        return value

    def at(self, *path: str | int) -> Value:
        """The value at a path of keys and list positions."""
        value: Value = self.body
        for step in path:
            if isinstance(step, int):
                assert isinstance(value, Sequence), f"{step} in {value!r}"
                assert not isinstance(value, str), f"{step} in {value!r}"
                value = value[step]
            else:
                assert isinstance(value, Mapping), f"{step} in {value!r}"
                value = value[step]
        return value

    def number(self, *path: str | int) -> int:
        value = self.at(*path)
        assert isinstance(value, int | str), f"{path}: {value!r}"
        return int(value)

    def ok(self) -> Self:
        assert self.result in ("ok", "pong"), dict(self.body)
        return self

    def error(self) -> str:
        assert self.result == "error", dict(self.body)
        return self.text("error-reason")


class NgClient:
    """Talks to one relay from inside its namespace. Use as a context manager or `close` it."""

    def __init__(
        self, namespace: Namespace | None, address: str, port: int, *, use_json: bool = False, patience: float = 5.0
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        make = namespace.socket if namespace else socket.socket
        self._socket = make(family, socket.SOCK_DGRAM)
        self._socket.connect((address, port))
        self._socket.settimeout(patience)
        self._json = use_json
        self._cookies = (f"{os.getpid()}_{id(self)}_{serial}" for serial in itertools.count())

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exchange(self, datagram: bytes) -> bytes:
        """Raw bytes out, raw bytes back."""
        self._socket.send(datagram)
        return self._socket.recv(65536)

    def throw(self, datagram: bytes) -> None:
        """Raw bytes out; whatever comes back is not waited for."""
        self._socket.send(datagram)

    def command(self, command: str, keys: Mapping[str, Value] | None = None) -> Reply:
        body: dict[str, Value] = {"command": command, **(keys or {})}
        cookie = next(self._cookies).encode()
        self._socket.send(cookie + b" " + (json.dumps(body).encode() if self._json else encode(body)))
        while True:
            got, _, answer = self._socket.recv(65536).partition(b" ")
            if got == cookie:
                break
        value = json.loads(answer) if self._json else decode(answer)
        assert isinstance(value, Mapping)
        return Reply(value)

    def alive(self) -> bool:
        """Whether the relay answers a ping now."""
        patience = self._socket.gettimeout()
        self._socket.settimeout(0.25)
        try:
            return self.command("ping").result == "pong"
        except OSError:
            return False
        finally:
            self._socket.settimeout(patience)

    def offer(self, call_id: str, from_tag: str, sdp: str, **keys: Value) -> Reply:
        return self.command("offer", {"call-id": call_id, "from-tag": from_tag, "sdp": sdp, **_named(keys)}).ok()

    def answer(self, call_id: str, from_tag: str, to_tag: str, sdp: str, **keys: Value) -> Reply:
        tags: dict[str, Value] = {"call-id": call_id, "from-tag": from_tag, "to-tag": to_tag}
        return self.command("answer", {**tags, "sdp": sdp, **_named(keys)}).ok()

    def delete(self, call_id: str, **keys: Value) -> Reply:
        return self.command("delete", {"call-id": call_id, "delete-delay": 0, **_named(keys)}).ok()

    def query(self, call_id: str) -> Reply:
        return self.command("query", {"call-id": call_id})

    def knows(self, call_id: str) -> bool:
        return self.query(call_id).result == "ok"

    def calls(self) -> list[str]:
        """The call-ids the relay lists, up to 1000."""
        found = self.command("list", {"limit": 1000}).ok().at("calls")
        assert isinstance(found, list)
        return [str(call) for call in found]

    def publish(self, call_id: str, from_tag: str, sdp: str, **keys: Value) -> Reply:
        return self.command("publish", {"call-id": call_id, "from-tag": from_tag, "sdp": sdp, **_named(keys)}).ok()

    def subscribe(self, call_id: str, from_tag: str, **keys: Value) -> Reply:
        return self.command("subscribe request", {"call-id": call_id, "from-tag": from_tag, **_named(keys)}).ok()

    def subscribed(self, call_id: str, to_tag: str, sdp: str) -> Reply:
        return self.command("subscribe answer", {"call-id": call_id, "to-tag": to_tag, "sdp": sdp}).ok()

    def unsubscribe(self, call_id: str, to_tag: str) -> Reply:
        return self.command("unsubscribe", {"call-id": call_id, "to-tag": to_tag}).ok()


def _named(keys: Mapping[str, Value]) -> dict[str, Value]:
    """Python keyword -> ng key: `to_tag` is `to-tag`."""
    return {key.replace("_", "-"): value for key, value in keys.items()}
