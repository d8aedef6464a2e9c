"""What is installed at a port: its flow, and where in the maps its outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rtprelay.kernel import abi
from rtprelay.kernel.encode import NOWHERE, Range
from rtprelay.kernel.groups import Group
from rtprelay.kernel.nexthop import NextHop
from rtprelay.plan.flow import Flow, Output
from rtprelay.values import Endpoint

Sent = tuple[int, int, int]
"""Packets, bytes, errors."""
ZERO: Sent = (0, 0, 0)


Claim = tuple[int, int, tuple[Group, ...]]
"""Where a block begins, its order, and the groups it names."""


class Carried(NamedTuple):
    """What an output has sent from a place it leaves."""

    source: Endpoint
    place: int
    counts: Sent
    along: bool
    """It counts on from there at its new place; otherwise it has none, only its source lives on in another lane."""


class Block:
    """Outputs at consecutive places, None where one has left."""

    __slots__ = ("base", "groups", "hops", "live", "outputs", "range")

    def __init__(
        self, base: int, outputs: tuple[Output | None, ...], live: tuple[Output, ...], hops: tuple[NextHop, ...]
    ) -> None:
        self.base = base
        self.outputs = outputs
        self.live = live
        """Those that are there."""
        self.hops = hops
        """The next hop of each place, as the kernel knows it."""
        self.range = Range(base, len(outputs)) if outputs else NOWHERE
        self.groups: tuple[Group, ...] = ()
        """Of its devices, as they are now: the last one. The others may still be named by the flow in the kernel."""

    @property
    def group(self) -> Group | None:
        return self.groups[-1] if self.groups else None

    @property
    def claim(self) -> Claim:
        """What is to be given back for it."""
        return self.base, self.range.order, self.groups

    def leave_groups(self) -> tuple[Group, ...]:
        """All but the one it has now: the flow in the kernel names that."""
        left, self.groups = self.groups[:-1], self.groups[-1:]
        return left

    def put(self, place: int, output: Output | None, hop: NextHop) -> None:
        """At a place of the block, or at the next one behind it."""
        self.outputs = *self.outputs[:place], output, *self.outputs[place + 1 :]
        self.hops = *self.hops[:place], hop, *self.hops[place + 1 :]
        self.live = without_holes(self.outputs)
        self.range = Range(self.base, len(self.outputs))

    def place_of(self, source: Endpoint) -> int | None:
        return next(
            (i for i, output in enumerate(self.outputs) if output is not None and output.source == source), None
        )


NO_BLOCK = Block(0, (), (), ())


def without_holes(outputs: tuple[Output | None, ...]) -> tuple[Output, ...]:
    return tuple([output for output in outputs if output is not None])


def generation_after(generation: int) -> int:
    """16 bits, but never 0: that is what a state begins with, whose source has not spoken."""
    return generation % 0xFFFF + 1


class Port:
    """An installed flow."""

    __slots__ = ("flow", "generation", "kernel_rtcp", "lanes", "rtcp", "settled", "slot", "sources", "srtp_in")

    def __init__(self, flow: Flow, slot: int, generation: int) -> None:
        self.flow = flow
        """Its `outputs` are out of date once one has joined or left: `live` are the truth."""
        self.slot = slot
        self.generation = generation
        self.lanes: Mapping[int | None, Block] = {}
        """The outputs by lane; of a flow without lanes all under None."""
        self.sources: dict[int, int] = {}
        """SSRC -> lane, as the kernel knows them."""
        self.rtcp = NO_BLOCK
        self.kernel_rtcp = False
        self.srtp_in = abi.NONE
        self.settled: dict[Endpoint, Sent] = {}
        """What outputs sent from places they have left meanwhile, beyond what was carried along."""

    @property
    def live(self) -> tuple[Output, ...]:
        return tuple([output for block in self.lanes.values() for output in block.live])

    def block(self, lane: int | None) -> Block:
        return self.lanes.get(lane, NO_BLOCK)
