"""The ops between two flow tables: what must be said, and nothing else."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from rtprelay.plan.diff import diff
from rtprelay.plan.flow import DropFlow, DropOutput, Flow, FlowOp, FlowTable, Output, PutFlow, PutOutput
from rtprelay.values import Endpoint
from tests.unit.core_stage import RELAY, at

LOCAL = Endpoint(RELAY, 30000)
OTHER = Endpoint(RELAY, 30002)


def output(number: int, port: int = 6000) -> Output:
    return Output(source=Endpoint(RELAY, 31000 + 2 * number), destination=Endpoint("198.51.100.11", port))


by_source = attrgetter("source")


def fan(*outputs: Output) -> Flow:
    return Flow(local=LOCAL, expected=at("198.51.100.1:4000"), outputs=outputs)


def carried_out(table: FlowTable, ops: tuple[FlowOp, ...]) -> dict[Endpoint, Flow]:
    """What a data plane has after the ops, by the words of plan.flow."""
    flows = dict(table)
    for op in ops:
        match op:
            case PutFlow(flow):
                flows[flow.local] = flow
            case DropFlow(local):
                flows.pop(local, None)
            case PutOutput(local, new):
                kept = [o for o in flows[local].outputs if o.source != new.source]
                flows[local] = msgspec.structs.replace(flows[local], outputs=tuple(sorted([*kept, new], key=by_source)))
            case DropOutput(local, source):
                kept = [o for o in flows[local].outputs if o.source != source]
                flows[local] = msgspec.structs.replace(flows[local], outputs=tuple(kept))
    return flows


def test_equal_tables_need_nothing() -> None:
    assert diff({LOCAL: fan(output(1))}, {LOCAL: fan(output(1))}) == ()


def test_new_flows_are_put_before_old_ones_are_dropped() -> None:
    old, new = Flow(local=LOCAL, expected=None), Flow(local=OTHER, expected=None)
    assert diff({LOCAL: old}, {OTHER: new}) == (PutFlow(new), DropFlow(LOCAL))


def test_one_more_receiver_of_several_is_one_op() -> None:
    before, after = fan(output(1), output(2)), fan(output(1), output(2), output(3))
    assert diff({LOCAL: before}, {LOCAL: after}) == (PutOutput(LOCAL, output(3)),)


def test_one_receiver_less_of_several_is_one_op() -> None:
    before, after = fan(output(1), output(2), output(3)), fan(output(1), output(3))
    assert diff({LOCAL: before}, {LOCAL: after}) == (DropOutput(LOCAL, output(2).source),)


def test_who_leaves_makes_room_before_another_comes() -> None:
    """A group that is full must not have to hold one more."""
    before, after = fan(output(1), output(2)), fan(output(2), output(3))
    assert diff({LOCAL: before}, {LOCAL: after}) == (DropOutput(LOCAL, output(1).source), PutOutput(LOCAL, output(3)))


def test_a_receiver_that_moved_is_one_op() -> None:
    before, after = fan(output(1), output(2)), fan(output(1), output(2, port=7000))
    assert diff({LOCAL: before}, {LOCAL: after}) == (PutOutput(LOCAL, output(2, port=7000)),)


def test_from_one_receiver_to_two_the_flow_is_put_anew() -> None:
    """One-to-one and fan-out are different programs in the kernel."""
    after = fan(output(1), output(2))
    assert diff({LOCAL: fan(output(1))}, {LOCAL: after}) == (PutFlow(after),)


def test_another_source_is_a_new_flow() -> None:
    after = msgspec.structs.replace(fan(output(1), output(2)), expected=at("198.51.100.1:4010"))
    assert diff({LOCAL: fan(output(1), output(2))}, {LOCAL: after}) == (PutFlow(after),)


def test_the_ops_lead_from_any_table_to_any_other() -> None:
    tables: list[dict[Endpoint, Flow]] = [
        {},
        {LOCAL: fan(output(1))},
        {LOCAL: fan(output(1), output(2))},
        {LOCAL: fan(output(2), output(3), output(4))},
        {LOCAL: fan(output(1), output(2, port=7000)), OTHER: Flow(local=OTHER, expected=None)},
        {OTHER: Flow(local=OTHER, expected=None, outputs=(output(9),))},
    ]
    for old in tables:
        for new in tables:
            assert carried_out(old, diff(old, new)) == new
