"""A successor takes over: journal and installed flows in, as little as possible done.

relay dies --> journal + flows in the kernel --> restore --> OpenPorts ..., flows only where they differ
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rtprelay.core.effects import OpenPorts, Persist
from rtprelay.core.settings import MediaInterface
from rtprelay.plan.flow import DropFlow, Flow, PutFlow
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Endpoint, Tag
from tests.unit.core_stage import INTERFACES, RELAY, A, B, Stage, at, receiver_report, rtp, sdp

NAT = at("203.0.113.200:7000")
STRANGER = at("203.0.113.66:6666")


def test_flows_that_stand_as_planned_are_not_touched() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, NAT, 8)
    before = stage.relay.registry.calls
    stage.restart()
    assert stage.ops() == []
    assert stage.relay.registry.calls == before
    assert {local for e in stage.effects if isinstance(e, OpenPorts) for local in e.locals} == set(stage.open)
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1)) == [(facing_a, rtp(1), NAT)]


def spoken_with_nat(stage: Stage, facing_a: Endpoint) -> Endpoint:
    stage.stream(facing_a, NAT, 8)
    return NAT


def spoken_from_its_sdp(stage: Stage, facing_a: Endpoint) -> Endpoint:
    source = at(f"{A}:4000")
    stage.stream(facing_a, source, 1)
    stage.report(facing_a)
    return source


@pytest.mark.parametrize("spoken", [spoken_with_nat, spoken_from_its_sdp])
def test_whose_source_is_settled_survives_a_data_plane_that_does_not(
    spoken: Callable[[Stage, Endpoint], Endpoint],
) -> None:
    """RTP bleed: the party is silent now, and a stranger is not."""
    stage = Stage()
    facing_a, facing_b = stage.call()
    source = spoken(stage, facing_a)
    stage.restart(installed={})
    assert stage.stream(facing_a, STRANGER, 50) == []
    assert stage.receive(facing_b, at(f"{B}:4002"), rtp(1)) == [(facing_a, rtp(1), source)]
    assert stage.receive(facing_a, source, rtp(9))


def test_whose_rtcp_is_settled_survives_as_well() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    source, impostor = at(f"{A}:4001"), at(f"{A}:4999")
    stage.receive(facing_a.pair[1], source, receiver_report())
    stage.report(facing_a.pair[1])
    stage.restart(installed={})
    assert stage.receive(facing_a.pair[1], impostor, receiver_report()) == []
    ((_, _, where),) = stage.receive(facing_b.pair[1], at(f"{B}:4003"), receiver_report())
    assert where == source


def test_a_party_that_has_not_spoken_or_moves_is_learned_after_a_restart_as_before() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.report(facing_a)
    stage.restart(installed={})
    assert len(stage.stream(facing_a, NAT, 20)) == 20

    moved = Stage()
    facing_a, _ = moved.call()
    spoken_from_its_sdp(moved, facing_a)
    moved.offer(sdp("198.51.100.77"), to_tag="b")
    moved.answer(sdp(B, 4002))
    moved.restart(installed={})
    assert len(moved.stream(facing_a, NAT, 20)) == 20


def test_that_a_party_has_spoken_is_written_down_once() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.receive(facing_b, at(f"{B}:4002"), rtp(1))
    stage.report(facing_a, facing_b)
    assert [type(effect) for effect in stage.effects] == [Persist]
    stage.receive(facing_a, at(f"{A}:4000"), rtp(2))
    stage.report(facing_a, facing_b)
    assert stage.effects == []


def test_the_restored_call_can_be_queried_changed_and_deleted() -> None:
    stage = Stage()
    _, facing_b = stage.call()
    stage.restart()
    assert set(stage.ask(CommandName.QUERY)["tags"]) == {"a", "b"}
    (section,) = stage.offered(sdp(A), to_tag="b")
    assert section.local == facing_b
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert (stage.ports_used(), stage.flows()) == (0, {})


def test_a_half_open_offer_is_known_and_can_be_answered() -> None:
    stage = Stage()
    (facing_b,) = stage.offered(sdp(A))
    stage.restart()
    (facing_a,) = stage.answered(sdp(B, 4002))
    assert stage.receive(facing_a.local, at(f"{A}:4000"), rtp(1)) == [(facing_b.local, rtp(1), at(f"{B}:4002"))]


def test_missing_flows_are_put_back_and_orphans_removed() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    orphan = Flow(local=at("203.0.113.1:39000"), expected=None)
    installed = stage.flows()
    missing = installed.pop(facing_a)
    installed[orphan.local] = orphan
    stage.forwarder.apply(DropFlow(facing_a))
    stage.forwarder.apply(PutFlow(orphan))
    stage.restart(installed=installed)
    assert stage.ops() == [PutFlow(missing), DropFlow(orphan.local)]


def test_flows_that_differ_are_replaced() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    installed = stage.flows()
    other = msgspec.structs.replace(installed[facing_a], expected=at("203.0.113.66:6666"))
    stage.forwarder.apply(PutFlow(other))
    stage.restart()
    assert stage.ops() == [PutFlow(installed[facing_a])]


def test_the_order_in_which_outputs_were_added_does_not_matter() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    for tag in ("s1", "s2", "s3"):
        stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("a"), to_tag=Tag(tag))
        stage.ask(CommandName.SUBSCRIBE_ANSWER, sdp("198.51.100.11", 6000), to_tag=Tag(tag))
    installed = stage.flows()
    flow = installed[facing_a]
    installed[facing_a] = msgspec.structs.replace(flow, outputs=flow.outputs[::-1])
    stage.restart(installed=installed)
    assert stage.ops() == []


def test_a_damaged_record_costs_its_own_call_alone() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.offer(sdp("198.51.100.7"), call_id=CallId("d"))
    lost = [local for local in stage.open if local not in stage.relay.registry.tables[CallId("c")]]
    stage.journal[CallId("d")] = b"\x93\xff\x00"
    stage.checking = False
    stage.restart()
    assert "call lost" in stage.events()
    assert {op.local for op in stage.ops() if isinstance(op, DropFlow)} == set(lost)
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))


def test_ports_of_restored_calls_are_not_given_out_again() -> None:
    few = (MediaInterface(name="few", address=RELAY, port_min=30000, port_max=30007),)
    stage = Stage(interfaces=few)
    stage.call()
    stage.restart(interfaces=few)
    stage.call(call_id=CallId("d"))
    assert len(stage.open) == 8


def test_an_interface_that_is_gone_from_the_configuration_leaves_the_calls_alone() -> None:
    stage = Stage()
    facing_a, _ = stage.call(direction=("outside", "inside"))
    stage.restart(interfaces=INTERFACES[:1])
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert (stage.ports_used(), stage.open) == (0, {})


def test_an_interface_that_is_gone_is_left_by_the_next_reinvite() -> None:
    stage = Stage()
    stage.call(direction=("outside", "inside"))
    stage.restart(interfaces=INTERFACES[:1])
    (section,) = stage.offered(sdp(A), to_tag="b")
    assert section.address == RELAY


def test_another_port_range_keeps_the_old_ports_until_the_call_ends() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    other = (MediaInterface(name="outside", address=RELAY, port_min=50000, port_max=50010),)
    stage.restart(interfaces=other)
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.ask(CommandName.DELETE, delete_delay=0)
    assert stage.ports_used() == 0
    taken = {section.port for section in stage.offered(sdp(A))}
    assert all(50000 <= port <= 50010 for port in taken)


def test_time_goes_on_from_the_last_packet_the_data_plane_saw() -> None:
    stage = Stage(timeout=60)
    facing_a, _ = stage.call()
    stage.wait(30)
    stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    stage.wait(40)
    stage.restart(timeout=60.0)
    stage.wait(19)
    assert stage.relay.registry.calls
    stage.wait(2)
    assert stage.relay.registry.calls == {}


def test_where_the_data_plane_knows_nothing_the_call_starts_anew() -> None:
    """The userspace data plane dies with the process: that a call was silent for long is not known then."""
    stage = Stage(timeout=60)
    facing_a, _ = stage.call()
    for sequence in range(1, 20):
        stage.receive(facing_a, at(f"{A}:4000"), rtp(sequence))
        stage.wait(50)
    for local in stage.flows():
        stage.forwarder.apply(DropFlow(local))
    stage.restart(timeout=60.0)
    stage.wait(30)
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(20))
    stage.wait(59)
    assert stage.relay.registry.calls
    stage.wait(2)
    assert stage.relay.registry.calls == {}


def test_a_delete_delay_that_began_before_the_restart_ends_after_it() -> None:
    stage = Stage()
    stage.call()
    stage.ask(CommandName.DELETE, delete_delay=30)
    stage.wait(20)
    stage.restart()
    stage.wait(11)
    assert stage.relay.registry.calls == {}


def test_counters_of_the_predecessor_are_the_calls_but_not_the_new_processs() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.stream(facing_a, at(f"{A}:4000"), 5)
    stage.restart()
    assert stage.ask(CommandName.QUERY)["totals"]["RTP"]["packets"] == 5
    stage.stream(facing_a, at(f"{A}:4000"), 2, first=6)
    assert stage.ask(CommandName.QUERY)["totals"]["RTP"]["packets"] == 7
    totals = stage.ask(CommandName.STATISTICS)["statistics"]["totalstatistics"]
    assert totals["relayedpackets"] == 2


def test_nothing_left_nothing_told() -> None:
    stage = Stage()
    stage.restart()
    assert stage.effects == []
