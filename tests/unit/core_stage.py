"""A stage for the core: it drains effects as the runtime does, over the userspace forwarder instead of sockets.

    Stage.ask(command) ----> Relay ----> effects, kept in `effects`
    Stage.receive(packet) -> forwarder -- Punt --> Relay -- Reinject --> forwarder -> `sent`

After each input the books must balance: sockets, pools, owners, flows and journal all speak of the same calls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec

from rtprelay.core.effects import (
    ApplyFlows,
    ClosePorts,
    Effect,
    MarkPort,
    Notify,
    OpenPorts,
    PassOn,
    Persist,
    ReadFlows,
    Reinject,
    Reply,
    SendDatagram,
)
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.core.snapshot import decode
from rtprelay.errors import BackendFault
from rtprelay.kernel.forwarder import Datagram, Forwarded, Punt, UserspaceForwarder
from rtprelay.plan.flow import Capabilities, Flow, FlowOp, FlowReport, FlowTable, PutFlow
from rtprelay.plan.planner import plan
from rtprelay.signalling.command import Body, Command, CommandName, MediaFlags, Request
from rtprelay.values import CallId, Endpoint, Tag
from rtprelay.wire.bencode import plain

WALL = 1_700_000_000.0
"""Seconds since the epoch when the stage's clock says 0."""
RELAY = "203.0.113.1"
RELAY6 = "2001:db8:ffff::1"
INSIDE = "192.0.2.1"
A = "198.51.100.1"
B = "198.51.100.3"
CAPABILITIES = Capabilities(name="userspace")
INTERFACES = (
    MediaInterface(name="outside", address=RELAY),
    MediaInterface(name="outside", address=RELAY6),
    MediaInterface(name="inside", address=INSIDE, advertised="203.0.113.9"),
)


def at(text: str) -> Endpoint:
    """`address:port`; IPv6 in brackets."""
    address, _, port = text.rpartition(":")
    return Endpoint.parse(address.strip("[]"), int(port))


def sdp(
    address: str = A, port: int = 4000, *lines: str, media: Sequence[str] | None = None, origin: str = "- 1 1"
) -> str:
    """One audio section with PCMU and PCMA, unless `media` gives other sections; `lines` end the text."""
    family = "IP6" if ":" in address else "IP4"
    sections = media if media is not None else (f"m=audio {port} RTP/AVP 0 8",)
    text = ("v=0", f"o={origin} IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0", *sections, *lines)
    return "".join(f"{line}\r\n" for line in text)


def rtp(sequence: int, ssrc: int = 0x1234, payload_type: int = 0, size: int = 160) -> bytes:
    header = bytes([0x80, payload_type]) + (sequence & 0xFFFF).to_bytes(2) + (sequence * 160 & 0xFFFFFFFF).to_bytes(4)
    return header + ssrc.to_bytes(4) + bytes(size)


def receiver_report(ssrc: int = 0x1234) -> bytes:
    return bytes([0x80, 201, 0, 1]) + ssrc.to_bytes(4)


class Section:
    """One m= section of an SDP the relay wrote."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.kind, port, self.protocol, *self.formats = lines[0].removeprefix("m=").split()
        self.port = int(port)

    def attribute(self, name: str) -> str | None:
        """Its value, "" for a flag; None: not there."""
        for line in self.lines:
            if line == f"a={name}" or line.startswith(f"a={name}:"):
                return line.removeprefix(f"a={name}").removeprefix(":")
        return None

    @property
    def address(self) -> str:
        return next(line for line in self.lines if line.startswith("c=")).split()[2]

    @property
    def local(self) -> Endpoint:
        return Endpoint(self.address, self.port)

    @property
    def rtcp(self) -> Endpoint:
        text = self.attribute("rtcp")
        assert text is not None
        return Endpoint(self.address, int(text.split()[0]))

    @property
    def direction(self) -> str:
        return next(d for d in ("sendrecv", "sendonly", "recvonly", "inactive") if self.attribute(d) is not None)


def sections(text: str) -> list[Section]:
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("m="):
            found.append([line])
        elif found:
            found[-1].append(line)
    return [Section(lines) for lines in found]


class Stage:
    def __init__(self, *, seed: int = 1, **settings: Any) -> None:
        settings.setdefault("interfaces", INTERFACES)
        self.settings = Settings(**settings)
        self.now = 1000.0
        self.forwarder = UserspaceForwarder()
        self.open: dict[Endpoint, int] = {}
        """Sockets, with their TOS."""
        self.busy: set[Endpoint] = set()
        """Ports that somebody else has bound."""
        self.room: int | None = None
        """How many flows the data plane takes."""
        self.journal: dict[CallId, bytes] = {}
        self.routes: dict[str, str] = {}
        """By the address of another host: ours from which it is reached."""
        self.reports: dict[Endpoint, FlowReport] = {}
        """Counters that a test makes up, instead of the forwarder's."""
        self.unreadable = False
        """The data plane cannot be read."""
        self.checking = True
        self.effects: list[Effect] = []
        self.sent: list[Datagram] = []
        self._ids = count(1)
        self._seed = seed
        self.relay = self._relay()

    def _relay(self) -> Relay:
        return Relay(self.settings, CAPABILITIES, random.Random(self._seed), WALL, self.now, self.routes.get)

    # --- inputs ---

    def ask(self, name: CommandName, sdp: str = "", proxy: str = "127.0.0.1", **fields: Any) -> Body:
        """The reply to a command on call "c"; fields of MediaFlags among `fields` become its flags."""
        flags = {key: fields.pop(key) for key in list(fields) if key in MediaFlags.__struct_fields__}
        fields.setdefault("call_id", CallId("c"))
        command = Command(name=name, sdp=sdp, flags=MediaFlags(**flags), **fields)
        request = Request(next(self._ids), command, proxy)
        self.relay.handle_command(request, self.now)
        self.drain()
        (reply,) = (effect for effect in self.effects if isinstance(effect, Reply))
        assert reply.request_id == request.request_id
        body: Body = plain(reply.body) if "tags" in reply.body else reply.body
        return body

    def offer(self, sdp: str, from_tag: str = "a", to_tag: str = "", **fields: Any) -> Body:
        return self.ask(CommandName.OFFER, sdp, from_tag=Tag(from_tag), to_tag=Tag(to_tag), **fields)

    def answer(self, sdp: str, from_tag: str = "a", to_tag: str = "b", **fields: Any) -> Body:
        return self.ask(CommandName.ANSWER, sdp, from_tag=Tag(from_tag), to_tag=Tag(to_tag), **fields)

    def offered(self, sdp: str, **fields: Any) -> list[Section]:
        """The sections shown to the answerer."""
        return self._sections(self.offer(sdp, **fields))

    def answered(self, sdp: str, **fields: Any) -> list[Section]:
        """The sections shown to the offerer."""
        return self._sections(self.answer(sdp, **fields))

    @staticmethod
    def _sections(body: Body) -> list[Section]:
        assert body["result"] == "ok", body
        return sections(body["sdp"])

    def call(self, one: str = "", other: str = "", **fields: Any) -> tuple[Endpoint, Endpoint]:
        """A simple call; returns the relay's ports facing the caller and the callee."""
        (facing_b,) = self.offered(one or sdp(A, 4000), **fields)
        (facing_a,) = self.answered(other or sdp(B, 4002), **fields)
        return facing_a.local, facing_b.local

    def receive(self, local: Endpoint, source: Endpoint, data: bytes) -> list[Datagram]:
        """A packet arrives at one of the relay's ports; returns what leaves."""
        self.sent = []
        self.effects = []
        assert local in self.open, f"no socket at {local}"
        verdict = self.forwarder.forward(local, data, source, self.now)
        if isinstance(verdict, Forwarded):
            self.sent.extend(verdict.datagrams)
        elif isinstance(verdict, Punt):
            self.relay.handle_datagram(local, source, data, verdict.reason, self.now)
            self.drain()
        return self.sent

    def stream(
        self,
        local: Endpoint,
        source: Endpoint,
        packets: int,
        *,
        first: int = 1,
        ssrc: int = 0x1234,
        pause: float = 0.02,
    ) -> list[Datagram]:
        """RTP every `pause` seconds; returns all that leaves."""
        sent: list[Datagram] = []
        for sequence in range(first, first + packets):
            sent += self.receive(local, source, rtp(sequence, ssrc))
            self.wait(pause)
        return sent

    def wait(self, seconds: float) -> None:
        """Time passes; deadlines that come meanwhile are handled."""
        end = self.now + seconds
        while (due := self.relay.poll_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.relay.handle_timeout(self.now)
            self.drain()
        self.now = end

    def restart(self, *, installed: FlowTable | None = None, **settings: Any) -> None:
        """The relay dies; its successor finds the journal and the flows. Sockets are gone with the process; so is the
        whole data plane where nothing is `installed`.
        """
        if installed is not None and not installed:
            self.forwarder = UserspaceForwarder()
        if settings:
            self.settings = Settings(**{"interfaces": INTERFACES, **settings})
        self.open.clear()
        self.relay = self._relay()
        self.relay.restore(list(self.journal.values()), self.flows() if installed is None else installed, self.now)
        self.drain()

    def report(self, *locals_: Endpoint) -> None:
        """The runtime reads what these ports have counted."""
        self.effects = []
        reports = [report for report in map(self.forwarder.report, locals_) if report is not None]
        self.relay.handle_report(reports, self.now)
        self.drain()

    # --- what there is ---

    def flows(self) -> dict[Endpoint, Flow]:
        return dict(self.forwarder.table())

    def flow(self, local: Endpoint) -> Flow:
        return self.flows()[local]

    def outputs(self, local: Endpoint) -> list[tuple[Endpoint, Endpoint]]:
        """(source, destination) of what enters at the port."""
        return [(output.source, output.destination) for output in self.flow(local).outputs]

    def ops(self) -> list[FlowOp]:
        """Those of the last input."""
        return [op for effect in self.effects if isinstance(effect, ApplyFlows) for op in effect.ops]

    def events(self) -> list[str]:
        return [effect.event for effect in self.effects if isinstance(effect, Notify)]

    def ports_used(self) -> int:
        return sum(pool.used for pool in self.relay.registry.ports.pools.values())

    # --- effects ---

    def drain(self) -> None:
        self.effects = []
        while (effect := self.relay.next_effect()) is not None:
            self.effects.append(effect)
            self._do(effect)
        if self.checking:
            assert "internal error" not in self.events(), self.effects
            self.check()

    def _do(self, effect: Effect) -> None:
        match effect:
            case OpenPorts(locals_, tos):
                for local in locals_:
                    if local in self.busy:
                        self.relay.port_failed(local, OSError(98, "Address already in use"), self.now)
                        break
                    assert local not in self.open, f"{local} is opened twice"
                    self.open[local] = tos
            case MarkPort(local, tos):
                assert local in self.open, f"nothing is bound at {local}"
                self.open[local] = tos
            case ClosePorts(locals_):
                for local in locals_:
                    del self.open[local]
            case ApplyFlows(ops):
                self._apply(ops)
            case ReadFlows(locals_):
                reports = [self.reports.get(local) or self.forwarder.report(local) for local in locals_]
                known = [report for report in reports if report is not None and not self.unreadable]
                self.relay.handle_report(known, self.now)
            case Reinject(local, remote, data):
                verdict = self.forwarder.forward(local, data, remote, self.now)
                if isinstance(verdict, Forwarded):
                    self.sent.extend(verdict.datagrams)
            case PassOn(local, remote, data):
                self.sent.extend(self.forwarder.pass_on(local, data, remote, self.now).datagrams)
            case SendDatagram(local, remote, data):
                assert local in self.open, f"nothing is bound at {local}"
                self.sent.append((local, data, remote))
            case Persist(call_id, record):
                if record is None:
                    self.journal.pop(call_id, None)
                else:
                    self.journal[call_id] = record
            case Reply() | Notify():
                pass

    def _apply(self, ops: Sequence[FlowOp]) -> None:
        for op in ops:
            room = self.room is None or len(self.flows()) < self.room
            if isinstance(op, PutFlow) and self.forwarder.flow(op.flow.local) is None and not room:
                self.relay.flows_failed(ops, BackendFault("no room for a flow"), self.now)
                return
            self.forwarder.apply(op)

    def check(self) -> None:
        """The books balance."""
        registry = self.relay.registry
        endpoints = [endpoint for call in registry.calls.values() for endpoint in call.local_endpoints()]
        assert len(endpoints) == len(set(endpoints)), "two calls share a port"
        assert set(self.open) == set(endpoints), "sockets and calls differ"
        known = {local for local in endpoints if local.address in registry.ports.pools}
        assert self.ports_used() == len(known), "ports are lost or given out twice"
        assert {local for local in endpoints if registry.owners.of(local) is None} == set()
        assert len(registry.owners) == len(endpoints)
        assert set(self.journal) == set(registry.calls) == set(registry.tables) == set(registry.records)
        for call_id, call in registry.calls.items():
            assert decode(self.journal[call_id]) == call, "the journal is behind"
            planned = plan(call, CAPABILITIES)
            assert registry.tables[call_id].keys() == planned.keys()
            for local, flow in planned.items():
                assert registry.tables[call_id][local] in (flow, _muted(flow))
        tables = {local: flow for table in registry.tables.values() for local, flow in table.items()}
        assert {local: _sorted(flow) for local, flow in self.flows().items()} == tables, "flows differ from the plan"


def _sorted(flow: Flow) -> Flow:
    ordered = sorted(flow.outputs, key=lambda output: (output.lane or 0, output.source))
    return msgspec.structs.replace(flow, outputs=tuple(ordered))


def _muted(flow: Flow) -> Flow:
    """The flow of a media loop."""
    return msgspec.structs.replace(flow, outputs=(), rtcp_outputs=())
