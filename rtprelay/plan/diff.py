"""diff: FlowTable x FlowTable -> FlowOps. New flows first, removals last; of one flow's outputs, leavers first."""

from __future__ import annotations

import msgspec

from rtprelay.plan.flow import DropFlow, DropOutput, Flow, FlowOp, FlowTable, PutFlow, PutOutput


def diff(old: FlowTable, new: FlowTable) -> tuple[FlowOp, ...]:
    """The ops that turn `old` into `new`.

    Where only outputs of a fan-out came or went, the others are not named: a join must not disturb 255 receivers.
    """
    ops: list[FlowOp] = []
    for local, flow in new.items():
        before = old.get(local)
        if before == flow:
            continue
        if before is not None and len(before.outputs) > 1 and len(flow.outputs) > 1 and _head(before) == _head(flow):
            ops.extend(_output_ops(before, flow))
        else:
            ops.append(PutFlow(flow))
    ops.extend([DropFlow(local) for local in old if local not in new])
    return tuple(ops)


def _head(flow: Flow) -> Flow:
    return msgspec.structs.replace(flow, outputs=())


def _output_ops(before: Flow, after: Flow) -> list[FlowOp]:
    had = {output.key: output for output in before.outputs}
    has = {output.key for output in after.outputs}
    ops: list[FlowOp] = [DropOutput(before.local, *key) for key in had if key not in has]
    ops.extend(PutOutput(after.local, o) for o in after.outputs if had.get(o.key) != o)
    return ops
