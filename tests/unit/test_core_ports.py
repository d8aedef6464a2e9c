"""Ports: busy ones, the last ones, and every one of them back.

command --> OpenPorts --failed--> port_failed --> all undone, once more with others
"""

from __future__ import annotations

import random

import pytest

from rtprelay.call.ports import PortPool
from rtprelay.core.effects import ClosePorts, OpenPorts, Reply
from rtprelay.core.mutation import MAX_ATTEMPTS
from rtprelay.core.settings import MediaInterface
from rtprelay.errors import PortsExhausted
from rtprelay.signalling.command import Body, CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import RELAY, A, B, Stage, at, rtp, sdp


def few(pairs: int) -> tuple[MediaInterface, ...]:
    return (MediaInterface(name="few", address=RELAY, port_min=30000, port_max=30000 + 2 * pairs - 1),)


def delete(stage: Stage, call_id: str) -> Body:
    return stage.ask(CommandName.DELETE, call_id=CallId(call_id), delete_delay=0)


def test_a_busy_port_is_passed_over_and_nobody_notices() -> None:
    stage = Stage()
    probe = Stage()
    (usual,) = probe.offered(sdp(A))
    stage.busy = {usual.local}
    (section,) = stage.offered(sdp(A))
    assert section.local != usual.local
    assert stage.events() == ["port not opened"]
    assert len(stage.open) == 4


def test_what_was_opened_before_the_failure_is_closed_again() -> None:
    stage = Stage()
    probe = Stage()
    probe.offer(sdp(A))
    opened = [local for effect in probe.effects if isinstance(effect, OpenPorts) for local in effect.locals]
    stage.busy = {opened[3]}
    stage.offer(sdp(A))
    closed = [local for effect in stage.effects if isinstance(effect, ClosePorts) for local in effect.locals]
    assert closed == opened[:3]


def test_where_no_port_can_be_opened_proxies_get_the_text_they_know_and_the_log_the_reason_once() -> None:
    stage = Stage(interfaces=few(200))
    stage.busy = {Endpoint(RELAY, port) for port in range(30000, 30400)}
    body = stage.offer(sdp(A))
    assert body == {"result": "error", "error-reason": "Ran out of ports"}
    assert sum(isinstance(effect, OpenPorts) for effect in stage.effects) >= MAX_ATTEMPTS
    assert stage.events() == ["port not opened", "refused"]
    assert sum(isinstance(effect, Reply) for effect in stage.effects) == 1
    assert (stage.relay.registry.calls, stage.ports_used(), stage.open) == ({}, 0, {})


def test_a_failed_reinvite_leaves_the_running_call_as_it_was() -> None:
    stage = Stage(interfaces=few(100))
    facing_a, facing_b = stage.call()
    journal, flows, sockets = dict(stage.journal), stage.flows(), dict(stage.open)
    stage.busy = {Endpoint(RELAY, port) for port in range(30000, 30200)} - set(sockets)
    text = sdp(A, media=("m=audio 4010 RTP/AVP 0", "m=video 5000 RTP/AVP 96"))
    assert stage.offer(text, to_tag="b", no_port_latching=True)["result"] == "error"
    assert (stage.journal, stage.flows(), stage.open) == (journal, flows, sockets)
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1)) == [(facing_b, rtp(1), at(f"{B}:4002"))]


def test_ports_run_out_with_the_text_proxies_know_and_nothing_taken() -> None:
    stage = Stage(interfaces=few(3))
    stage.call()
    body = stage.offer(sdp(A), call_id=CallId("d"))
    assert body == {"result": "error", "error-reason": "Ran out of ports"}
    assert stage.ports_used() == 4
    assert list(stage.relay.registry.calls) == ["c"]


def test_every_port_comes_back_after_its_quarantine() -> None:
    stage = Stage(interfaces=few(4), port_quarantine=5.0)
    for number in range(10):
        for call in ("x", "y"):
            assert stage.offer(sdp(A), call_id=CallId(call))["result"] == "ok", number
        assert stage.ports_used() == 8
        for call in ("x", "y"):
            delete(stage, call)
        assert stage.ports_used() == 0
        assert stage.offer(sdp(A))["error-reason"] == "Ran out of ports"
        stage.wait(5.0)


def test_a_port_never_carries_the_packets_of_the_call_before() -> None:
    stage = Stage(interfaces=few(4), port_quarantine=5.0)
    first = set(stage.call())
    delete(stage, "c")
    second = set(stage.call())
    assert not first & second


def test_a_port_lost_after_a_restart_is_told_and_the_call_goes_on() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.checking = False
    stage.busy = {facing_a}
    stage.restart()
    assert "port lost" in stage.events()
    assert stage.ask(CommandName.QUERY)["result"] == "ok"


@pytest.mark.parametrize(
    ("low", "high", "pairs"), [(30000, 30003, 2), (30001, 30004, 1), (30001, 30005, 2), (30000, 30000, 0)]
)
def test_pairs_start_on_even_ports_within_the_range(low: int, high: int, pairs: int) -> None:
    pool = PortPool(RELAY, low, high, 5.0, random.Random(1))
    taken = [pool.take(0.0) for _ in range(pairs)]
    assert all(rtp.port % 2 == 0 and rtcp.port == rtp.port + 1 for rtp, rtcp in taken)
    assert all(low <= rtp.port and rtcp.port <= high for rtp, rtcp in taken)
    with pytest.raises(PortsExhausted):
        pool.take(0.0)


def test_the_order_of_ports_cannot_be_guessed_from_their_numbers() -> None:
    pool = PortPool(RELAY, 30000, 40000, 5.0, random.Random(1))
    ports = [pool.take(0.0)[0].port for _ in range(10)]
    assert ports != sorted(ports)


def test_giving_back_what_was_not_taken_changes_nothing() -> None:
    pool = PortPool(RELAY, 30000, 30003, 0.0, random.Random(1))
    pool.give_back(Endpoint(RELAY, 30000), 0.0)
    assert len({pool.take(0.0)[0] for _ in range(2)}) == 2


def test_interfaces_that_share_an_address_share_its_ports() -> None:
    shared = (
        MediaInterface(name="one", address=RELAY, port_min=30000, port_max=30007),
        MediaInterface(name="two", address=RELAY, advertised="203.0.113.99", port_min=30000, port_max=30007),
    )
    stage = Stage(interfaces=shared)
    stage.offer(sdp(A), direction=("one", "two"))
    stage.offer(sdp(A), direction=("two", "one"), call_id=CallId("d"), from_tag="x")
    assert len(stage.open) == 8
    assert stage.offer(sdp(A), call_id=CallId("e"))["error-reason"] == "Ran out of ports"
    assert stage.ask(CommandName.QUERY, from_tag=Tag("a"))["result"] == "ok"
