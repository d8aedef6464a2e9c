"""What is fuzzed in this process: bytes in, and whatever must hold of every outcome.

Only RelayError may come of an input; each target holds nothing back from one input to the next.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rtprelay.core.effects import Notify, ReadFlows, Reply
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.errors import MalformedMessage, RelayError
from rtprelay.plan.flow import Capabilities
from rtprelay.sdp.description import understand
from rtprelay.sdp.document import MAX_LENGTH, SessionDescription
from rtprelay.sdp.edit import MediaEdit, SessionEdit, rewrite
from rtprelay.sdp.view import read
from rtprelay.signalling import frame
from rtprelay.signalling.command import Command, CommandName, Request
from rtprelay.signalling.idioms import Idioms
from rtprelay.signalling.parse import parse_command
from rtprelay.signalling.session import NgSession, Peer
from rtprelay.signalling.stream import Splitter
from rtprelay.wire import bencode
from rtprelay.wire import json as wire_json
from tests.fuzz import corpus
from tests.unit.test_cli_console import Bench

Check = Callable[[bytes], None]
PROXY = Peer(1, ("127.0.0.1", 5060))
OURS = MediaEdit(port=30000, address="192.0.2.1", rtcp_port=30001, remove_ice=True, append=("setup:actpass",))


class Target(NamedTuple):
    make: Callable[[], Check]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    share: int
    """Of a hundred inputs."""


def _bencode() -> Check:
    def check(data: bytes) -> None:
        with contextlib.suppress(MalformedMessage):
            value = bencode.decode(data)
            assert bencode.decode(bencode.encode(value)) == value

    return check


def _idioms() -> Check:
    """What is said twice, and then, behind a NUL, something else: remembered, it is what the decoder makes of it."""

    def check(data: bytes) -> None:
        before, _, now = data.partition(b"\0")
        known = Idioms()
        for _ in range(2):
            with contextlib.suppress(RelayError):
                known.read(frame.plain(before))
        if now.startswith(b"d"):
            assert _outcome(lambda: known.read(frame.plain(now))) == _outcome(
                lambda: parse_command(bencode.decode(now))
            )

    return check


def _outcome(read: Callable[[], Command]) -> Command | str:
    try:
        return read()
    except RelayError as error:
        return error.reason


def _json() -> Check:
    def check(data: bytes) -> None:
        with contextlib.suppress(MalformedMessage):
            value = wire_json.decode(data)
            assert wire_json.decode(wire_json.encode(value)) == value

    return check


def _sdp() -> Check:
    def check(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        with contextlib.suppress(RelayError):
            described = understand(text)
            document = described.document
            assert str(document) == text
            assert read(document) == described.view
            changed = rewrite(document, SessionEdit(media=(OURS,) * len(document.media)))
            if len(changed) <= MAX_LENGTH:
                assert len(SessionDescription.parse(changed).media) == len(document.media)

    return check


def _flags() -> Check:
    def check(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        body = {"command": "offer", "call-id": "c", "from-tag": "a", "sdp": "v=0", "rtpp-flags": text}
        with contextlib.suppress(RelayError):
            parse_command({**body, "flags": text.split(" ")})

    return check


def _stream() -> Check:
    def check(data: bytes) -> None:
        splitter = Splitter(max_message=4096)
        step = data[0] % 64 + 1 if data else 1
        taken = 0
        for start in range(0, len(data), step):
            splitter.feed(data[start : start + step])
            while (message := splitter.take()) is not None:
                taken += len(message)
        assert taken + len(splitter) <= len(data)

    return check


class _Core:
    """A whole relay without sockets, to which each input is a datagram. Nothing is left of it but the answer."""

    def __init__(self) -> None:
        interfaces = (MediaInterface(name="a", address="192.0.2.1", port_min=30000, port_max=30999),)
        self._relay = Relay(Settings(interfaces=interfaces), Capabilities(name="none"), random.Random(1), 1.7e9)
        self._session = NgSession()
        self._now = 0.0

    def check(self, data: bytes) -> None:
        self._now += 10.0
        taken = self._session.receive(data, PROXY, self._now)
        if isinstance(taken, Request):
            self._carry_out(taken)
            assert self._session.pending == 0
        self._delete_all()

    def call(self, data: bytes) -> None:
        """A whole call of one SDP and one set of options."""
        self._now += 10.0
        flags, _, sdp = data.decode("utf-8", "surrogateescape").partition("\n")
        request = {"call-id": "c", "from-tag": "a", "to-tag": "b", "rtpp-flags": flags, "sdp": sdp}
        for number, name in enumerate(("offer", "answer", "query", "subscribe request", "unsubscribe"), 1):
            with contextlib.suppress(RelayError):
                command = parse_command({"command": name, **request})
                self._carry_out(Request(0, command, str(number)))
        self._delete_all()

    def _delete_all(self) -> None:
        registry = self._relay.registry
        for call_id in list(registry.calls):
            self._carry_out(Request(0, Command(name=CommandName.DELETE, call_id=call_id, delete_delay=0, fast=True)))
        assert not registry.calls
        assert not registry.tables

    def _carry_out(self, request: Request) -> None:
        if request.command.name is CommandName.CLI:
            self._session.reply(request.request_id, {"result": "ok"})  # the console's, which has a target of its own
            return
        self._relay.handle_command(request, self._now)
        while (effect := self._relay.next_effect()) is not None:
            match effect:
                case ReadFlows():
                    self._relay.handle_report([], self._now)
                case Notify(event):
                    assert event != "internal error", effect
                case Reply(request_id, body) if request_id:
                    assert self._session.reply(request_id, body) is not None


def _cli() -> Check:
    bench = Bench()

    def check(data: bytes) -> None:
        bench.console.execute(data.decode("utf-8", "surrogateescape").strip()).encode("utf-8", "surrogateescape")

    return check


TARGETS: Mapping[str, Target] = {
    "bencode": Target(_bencode, corpus.BENCODE, corpus.FRAME_WORDS, 10),
    "idioms": Target(_idioms, [b"\0".join((seed, seed)) for seed in corpus.BENCODE], corpus.FRAME_WORDS, 5),
    "JSON": Target(_json, corpus.JSON, corpus.FRAME_WORDS, 10),
    "SDP": Target(_sdp, corpus.SDP, corpus.SDP_WORDS, 15),
    "flags": Target(_flags, corpus.FLAGS, corpus.FLAG_WORDS, 10),
    "TCP framing": Target(_stream, corpus.FRAMES, corpus.FRAME_WORDS, 10),
    "ng frames": Target(lambda: _Core().check, corpus.FRAMES, corpus.FRAME_WORDS + corpus.SDP_WORDS, 15),
    "calls": Target(lambda: _Core().call, corpus.CALLS, corpus.FLAG_WORDS + corpus.SDP_WORDS, 15),
    "CLI lines": Target(_cli, corpus.CLI, corpus.CLI_WORDS, 10),
}
