"""The drain loop against a scripted core: the order of effects, failures that answer back, faults that stay inside.

sender 127.0.0.1:s  --->  RelayLoop 127.0.0.1:m  (memory backend, core scripted by the test)
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from rtprelay.core.effects import (
    ApplyFlows,
    ClosePorts,
    Effect,
    Notify,
    OpenPorts,
    PassOn,
    Persist,
    ReadFlows,
    Reinject,
    Reply,
    SendDatagram,
)
from rtprelay.core.settings import Settings
from rtprelay.errors import BackendFault, RelayError
from rtprelay.kernel.memory import MemoryBackend
from rtprelay.observe.log import Verbosity
from rtprelay.plan.flow import Flow, FlowOp, FlowReport, FlowTable, Mismatch, Output, PutFlow
from rtprelay.runtime.loop import Hears, RelayLoop
from rtprelay.signalling.command import Body, Command, CommandName, Request
from rtprelay.store.journal import Journal
from rtprelay.values import CallId, Endpoint
from tests.loopback import HOST

RTP = bytes([0x80, 0]) + bytes(10) + b"sound"
EVERYTHING = Verbosity(7).hears
PING = Command(name=CommandName.PING, call_id=CallId("c"))


class ScriptedCore:
    """Queues what `script` returns for each input, and notes the inputs."""

    def __init__(self, script: Callable[..., Iterable[Effect]] = lambda *_: ()) -> None:
        self.script = script
        self.inputs: list[tuple[object, ...]] = []
        self.effects: deque[Effect] = deque()
        self.deadline: float | None = None

    def _take(self, *what: object) -> None:
        self.inputs.append(what)
        self.effects.extend(self.script(*what))

    def handle_command(self, request: Request, now: float) -> None:
        self._take("command", request)

    def handle_datagram(self, local: Endpoint, source: Endpoint, data: bytes, reason: str, now: float) -> None:
        self._take("datagram", local, source, data, reason)

    def handle_report(self, reports: Sequence[FlowReport], now: float) -> None:
        self._take("report", tuple(reports))

    def handle_timeout(self, now: float) -> None:
        self.deadline = None
        self._take("timeout", now)

    def port_failed(self, local: Endpoint, error: OSError, now: float) -> None:
        self._take("port_failed", local)

    def flows_failed(self, ops: Sequence[FlowOp], error: RelayError, now: float) -> None:
        self._take("flows_failed", tuple(ops), error.reason)

    def handle_settings(self, settings: Settings, now: float) -> None:
        self._take("settings", settings)

    def poll_timeout(self) -> float | None:
        return self.deadline

    def next_effect(self) -> Effect | None:
        return self.effects.popleft() if self.effects else None

    def restore(self, records: Iterable[bytes], installed: FlowTable, now: float) -> None:
        self._take("restore", tuple(records), dict(installed))

    def kinds(self) -> list[object]:
        return [entry[0] for entry in self.inputs]


def run(
    core: ScriptedCore,
    test: Callable[[RelayLoop], Awaitable[None]],
    journal: Journal | None = None,
    data_plane: MemoryBackend | None = None,
    hears: Hears = EVERYTHING,
) -> RelayLoop:
    async def main() -> RelayLoop:
        loop = RelayLoop(core, data_plane or MemoryBackend(), journal, structlog.get_logger(), hears=hears)
        loop.start({})
        try:
            await test(loop)
        finally:
            loop.stop()
        return loop

    with structlog.testing.capture_logs() as logs:
        loop = asyncio.run(asyncio.wait_for(main(), 20))
    core.script = lambda *_: ()
    LOGS[:] = logs
    return loop


LOGS: list[structlog.typing.EventDict] = []


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def free_endpoint() -> Endpoint:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return Endpoint(HOST, int(probe.getsockname()[1]))


def report_of(local: Endpoint) -> FlowReport:
    return FlowReport(
        local=local,
        packets=1,
        bytes=172,
        dropped=0,
        punted=0,
        rtcp_packets=0,
        rtcp_bytes=0,
        last_packet=1.0,
        spoken=True,
    )


def test_a_reply_goes_to_the_one_who_asked() -> None:
    replies: list[tuple[str, Body]] = []

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            request = what[0]
            assert isinstance(request, Request)
            yield Reply(request.request_id, {"result": "pong", "call": request.command.call_id})

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: replies.append(("first", body)))
        other = Command(name=CommandName.PING, call_id=CallId("d"))
        loop.handle(Request(2, other), lambda body: replies.append(("second", body)))

    run(ScriptedCore(script), test)
    assert replies == [("first", {"result": "pong", "call": "c"}), ("second", {"result": "pong", "call": "d"})]


def test_a_failed_bind_is_told_before_the_next_effect_is_taken() -> None:
    async def test(loop: RelayLoop) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupant:
            occupant.bind(("127.0.0.1", 0))
            taken = Endpoint("127.0.0.1", int(occupant.getsockname()[1]))
            free = free_endpoint()

            def script(kind: str, *what: object) -> Iterable[Effect]:
                if kind == "command":
                    yield OpenPorts((taken,))
                elif kind == "port_failed":
                    assert what[0] == taken
                    yield OpenPorts((free,))
                    yield Reply(1, {"result": "ok"})

            core.script = script
            replies: list[Body] = []
            loop.handle(Request(1, PING), replies.append)
            assert replies == [{"result": "ok"}]
            assert free in loop.sockets
            assert taken not in loop.sockets

    core = ScriptedCore()
    run(core, test)
    assert core.kinds() == ["restore", "command", "port_failed"]


def test_the_journal_is_written_before_the_reply_leaves(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    seen: list[list[bytes]] = []

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield Persist(CallId("c"), b"state")
            yield Reply(1, {"result": "ok"})

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: seen.append(list(journal.records())))

    run(ScriptedCore(script), test, journal)
    journal.close()
    assert seen == [[b"state"]]


def test_a_restart_gives_the_core_the_journal_and_the_installed_flows(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("c"), b"kept")
    core = ScriptedCore()

    async def test(loop: RelayLoop) -> None:
        return None

    run(core, test, journal)
    journal.close()
    assert core.inputs[0] == ("restore", (b"kept",), {})


def test_a_fault_in_one_call_is_answered_logged_with_its_call_id_and_does_not_stop_the_next() -> None:
    def script(kind: str, *what: object) -> Iterable[Effect]:
        request = what[0]
        if kind == "command" and isinstance(request, Request):
            if request.command.call_id == "bad":
                raise RuntimeError("a bug")
            yield Reply(request.request_id, {"result": "pong"})

    replies: list[Body] = []

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, Command(name=CommandName.OFFER, call_id=CallId("bad"))), replies.append)
        loop.handle(Request(2, PING), replies.append)

    run(ScriptedCore(script), test)
    assert replies == [{"result": "error", "error-reason": "Internal error"}, {"result": "pong"}]
    assert [(line["log_level"], line["call_id"]) for line in LOGS] == [("error", "bad")]


def test_a_reply_that_cannot_be_made_is_an_error_reply() -> None:
    class Faulty(ScriptedCore):
        def next_effect(self) -> Effect | None:
            effect = super().next_effect()
            if isinstance(effect, Reply):
                raise RuntimeError("a bug while making the reply")
            return effect

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield Reply(1, {"result": "ok"})

    replies: list[Body] = []

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), replies.append)

    run(Faulty(script), test)
    assert replies == [{"result": "error", "error-reason": "Internal error"}]


def test_a_command_of_our_own_is_answered_on_the_spot() -> None:
    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command" and isinstance(what[0], Request):
            yield Reply(what[0].request_id, {"result": "pong"})

    async def test(loop: RelayLoop) -> None:
        assert loop.execute(PING) == {"result": "pong"}

    run(ScriptedCore(script), test)


def test_effects_queued_before_a_fault_are_carried_out() -> None:
    free = free_endpoint()

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            core.effects.append(OpenPorts((free,)))
            raise RuntimeError("after the port")
        return ()

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)
        assert free in loop.sockets

    core = ScriptedCore(script)
    run(core, test)


def test_a_data_plane_that_refuses_a_flow_is_told_before_the_next_effect_is_taken() -> None:
    replies: list[Body] = []
    ops = (PutFlow(Flow(local=Endpoint("127.0.0.1", 4000), expected=None)),)

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield ApplyFlows(ops)
        elif kind == "flows_failed":
            assert what == (ops, "maps are full")
            yield Reply(1, {"result": "error", "error-reason": "maps are full"})

    async def test(loop: RelayLoop) -> None:
        assert isinstance(loop.data_plane, MemoryBackend)
        loop.data_plane.fail_next("maps are full")
        loop.handle(Request(1, PING), replies.append)

    loop = run(ScriptedCore(script), test)
    assert replies == [{"result": "error", "error-reason": "maps are full"}]
    assert loop.counters["failed_ApplyFlows"] == 1


def test_read_flows_is_answered_before_the_next_effect_is_taken() -> None:
    local = Endpoint("127.0.0.1", 4000)

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield ApplyFlows((PutFlow(Flow(local=local, expected=None)),))
            yield ReadFlows((local,))
        elif kind == "report":
            yield Reply(1, {"result": "ok"})

    core = ScriptedCore(script)
    replies: list[Body] = []

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), replies.append)
        assert replies == [{"result": "ok"}]

    run(core, test)
    reports = core.inputs[2][1]
    assert isinstance(reports, tuple)
    assert [report.local for report in reports] == [local]


def test_what_nobody_hears_does_not_reach_the_log() -> None:
    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield Notify("port busy", CallId("c"), level="warning")
            yield Notify("call ended", CallId("c"), {"packets": 3}, level="info")
            yield Notify("call ended", CallId("traced"), level="info")

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)

    verbosity = Verbosity(4)
    verbosity.traced = {"traced"}
    run(ScriptedCore(script), test, hears=verbosity.hears)
    assert [(entry["event"], entry["call_id"]) for entry in LOGS] == [("port busy", "c"), ("call ended", "traced")]


class SlowReading(MemoryBackend):
    """Has three flows to tell of, each in a step of its own, then none."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def changed(self) -> Iterator[list[FlowReport]]:
        self.reads += 1
        for number in range(3 if self.reads == 1 else 0):
            yield [report_of(Endpoint(HOST, number))]
        if self.reads == 2:
            raise BackendFault("the map is gone")


def test_between_two_steps_of_reading_counters_others_get_their_turn_and_a_failure_ends_one_reading_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtprelay.runtime.loop.POLL_EVERY", (0.001, 0.001))
    core, turns = ScriptedCore(), list[object]()

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "report":
            turns.append(what[0])
            asyncio.get_running_loop().call_soon(turns.append, "another")
        return ()

    core.script = script
    backend = SlowReading()

    async def test(loop: RelayLoop) -> None:
        await until(lambda: backend.reads > 3)

    run(core, test, data_plane=backend)
    assert turns == [each for number in range(3) for each in ((report_of(Endpoint(HOST, number)),), "another")]
    assert [entry["event"] for entry in LOGS] == ["counters_unreadable"]


@contextmanager
def parties() -> Iterator[tuple[socket.socket, Endpoint, socket.socket, Endpoint]]:
    """A caller and a callee, each with its address."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as callee,
    ):
        for sock in (caller, callee):
            sock.bind(("127.0.0.1", 0))
        callee.settimeout(5)
        source, target = (Endpoint("127.0.0.1", int(sock.getsockname()[1])) for sock in (caller, callee))
        yield caller, source, callee, target


def test_media_is_forwarded_without_the_core_and_reported_to_it() -> None:
    with parties() as (caller, source, callee, target):
        near, far = free_endpoint(), free_endpoint()

        def script(kind: str, *what: object) -> Iterable[Effect]:
            if kind == "command":
                yield OpenPorts((near,))
                yield OpenPorts((far,))
                yield ApplyFlows((PutFlow(Flow(local=near, expected=source, outputs=(Output(far, target),))),))

        core = ScriptedCore(script)

        async def test(loop: RelayLoop) -> None:
            loop.handle(Request(1, PING), lambda body: None)
            caller.sendto(RTP, (near.address, near.port))
            await until(lambda: "report" in core.kinds())

        run(core, test)
        assert callee.recvfrom(100) == (RTP, (far.address, far.port))
        assert core.kinds() == ["restore", "command", "report"]
        reports = core.inputs[2][1]
        assert isinstance(reports, tuple)
        assert [(report.local, report.packets) for report in reports] == [(near, 1)]


def test_what_the_forwarder_hands_up_is_judged_by_the_core_and_reinjected() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as callee,
    ):
        for sock in (stranger, callee):
            sock.bind(("127.0.0.1", 0))
        callee.settimeout(5)
        target = Endpoint("127.0.0.1", int(callee.getsockname()[1]))
        near, far = free_endpoint(), free_endpoint()

        def flow(expected: Endpoint | None) -> PutFlow:
            return PutFlow(
                Flow(local=near, expected=expected, on_mismatch=Mismatch.PUNT, outputs=(Output(far, target),))
            )

        def script(kind: str, *what: object) -> Iterable[Effect]:
            if kind == "command":
                yield OpenPorts((near,))
                yield OpenPorts((far,))
                yield ApplyFlows((flow(None),))
            elif kind == "datagram":
                local, source, data, _ = what
                assert isinstance(local, Endpoint)
                assert isinstance(source, Endpoint)
                assert isinstance(data, bytes)
                yield ApplyFlows((flow(source),))
                yield Reinject(local, source, data)
                yield SendDatagram(far, target, b"and this")

        core = ScriptedCore(script)

        async def test(loop: RelayLoop) -> None:
            loop.handle(Request(1, PING), lambda body: None)
            stranger.sendto(RTP, (near.address, near.port))
            await until(lambda: "datagram" in core.kinds())

        run(core, test)
        assert [callee.recv(100) for _ in range(2)] == [RTP, b"and this"]


def test_a_datagram_that_is_no_rtp_is_passed_on_as_it_is_and_counted() -> None:
    with parties() as (caller, source, callee, target):
        near, far = free_endpoint(), free_endpoint()

        def script(kind: str, *what: object) -> Iterable[Effect]:
            if kind == "command":
                yield OpenPorts((near,))
                yield OpenPorts((far,))
                yield ApplyFlows((PutFlow(Flow(local=near, expected=source, outputs=(Output(far, target),))),))
            elif kind == "datagram":
                local, remote, data, _ = what
                assert isinstance(local, Endpoint)
                assert isinstance(remote, Endpoint)
                assert isinstance(data, bytes)
                yield PassOn(local, remote, data)

        core = ScriptedCore(script)

        async def test(loop: RelayLoop) -> None:
            loop.handle(Request(1, PING), lambda body: None)
            caller.sendto(b"\x00\x01fax", (near.address, near.port))
            await until(lambda: "report" in core.kinds())

        run(core, test)
        assert callee.recvfrom(100) == (b"\x00\x01fax", (far.address, far.port))
        reports = core.inputs[core.kinds().index("report")][1]
        assert isinstance(reports, tuple)
        (report,) = reports
        assert (report.local, report.packets, report.bytes, report.spoken) == (near, 1, 5, True)


def test_a_packet_refused_after_reinjection_is_not_handed_up_again() -> None:
    near = free_endpoint()

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield OpenPorts((near,))
            yield ApplyFlows((PutFlow(Flow(local=near, expected=None, on_mismatch=Mismatch.PUNT)),))
        elif kind == "datagram":
            local, source, data, _ = what
            assert isinstance(local, Endpoint)
            assert isinstance(source, Endpoint)
            assert isinstance(data, bytes)
            yield Reinject(local, source, data)

    core = ScriptedCore(script)

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(RTP, (near.address, near.port))
            await until(lambda: loop.counters["reinject_refused"] > 0)

    run(core, test)
    assert core.kinds().count("datagram") == 1


def test_the_core_is_woken_at_its_deadline_and_not_before() -> None:
    deadlines: list[float] = []

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            core.deadline = asyncio.get_running_loop().time() + 3600
        return ()

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)
        core.script = lambda *_: ()
        core.deadline = asyncio.get_running_loop().time() + 0.02
        deadlines.append(core.deadline)
        loop.handle(Request(1, PING), lambda body: None)
        await until(lambda: "timeout" in core.kinds())

    core = ScriptedCore(script)
    run(core, test)
    when = next(entry[1] for entry in core.inputs if entry[0] == "timeout")
    assert isinstance(when, float)
    assert when >= deadlines[0]


def test_a_closed_port_is_gone() -> None:
    near = free_endpoint()

    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield OpenPorts((near,))
            yield ClosePorts((near,))

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)
        assert near not in loop.sockets

    run(ScriptedCore(script), test)


def test_an_event_is_logged_at_its_level_with_its_call_id() -> None:
    def script(kind: str, *what: object) -> Iterable[Effect]:
        if kind == "command":
            yield Notify("call_created", CallId("c"), {"tags": 2}, "warning")

    async def test(loop: RelayLoop) -> None:
        loop.handle(Request(1, PING), lambda body: None)

    run(ScriptedCore(script), test)
    assert LOGS == [{"event": "call_created", "call_id": "c", "tags": 2, "log_level": "warning"}]
