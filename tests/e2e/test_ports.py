"""Media ports: when they are all given out, and when they come back.

ng client -- offer, offer, offer ... --> [ relay with a handful of ports ]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Party
from tests.e2e.harness.stage import Call, Stage, open_stage
from tests.e2e.ng import NgClient

RAN_OUT = "Ran out of ports"


def options(kind: str) -> list[str]:
    return [] if kind.startswith("rtpengine") else ["--port-quarantine=1"]


def place(ng: NgClient, stage: Stage, call_id: str, a: Party, b: Party) -> Call | None:
    """A call between two parties, if there are ports for it."""
    tags = {"call-id": call_id, "from-tag": "a"}
    offered = ng.command("offer", {**tags, "sdp": sdp.describe(a.address, [a.port])})
    if offered.result == "error":
        assert offered.error() == RAN_OUT
        return None
    answered = ng.command("answer", {**tags, "to-tag": "b", "sdp": sdp.describe(b.address, [b.port])})
    if answered.result == "error":
        assert answered.error() == RAN_OUT
        ng.delete(call_id)
        return None
    return Call(stage.relay, call_id, a, sdp.section(answered.sdp).rtp, b, sdp.section(offered.sdp).rtp)


def test_ports_run_out_clearly_and_all_come_back(kind: str, tmp_path: Path) -> None:
    with (
        open_stage(kind, tmp_path, *options(kind), ports=(31000, 31031)) as stage,
        stage.relay.client() as ng,
        stage.party(stage.lab.caller) as a,
        stage.party(stage.lab.callee) as b,
    ):
        for _ in range(3):
            call_ids = [f"call-{number}" for number in range(8)]
            for call_id in call_ids:
                # Four ports each; those of the last round come back one after the other, as their quarantine ends.
                until(partial(place, ng, stage, call_id, a, b), f"four ports for {call_id}")
            assert place(ng, stage, "one-too-many", a, b) is None
            assert sorted(ng.calls()) == call_ids, "a refused call leaves nothing behind"
            for call_id in call_ids:
                ng.delete(call_id)
            assert ng.calls() == []


def test_late_packets_of_an_old_call_do_not_reach_the_next(kind: str, tmp_path: Path) -> None:
    """An old peer that goes on sending is neither heard by the next owner of its port nor taken for its party."""
    if kind.startswith("rtpengine"):
        pytest.skip("rtpengine 10.5 latches onto whoever sends to a reused port")
    with (
        open_stage(kind, tmp_path, *options(kind), ports=(31000, 31003)) as stage,
        stage.relay.client() as ng,
        stage.party(stage.lab.caller) as old_a,
        stage.party(stage.lab.callee) as old_b,
        stage.party(stage.lab.caller) as new_a,
        stage.party(stage.lab.callee) as new_b,
    ):
        old = place(ng, stage, "old", old_a, old_b)
        assert old
        old.talk(10)
        ng.delete("old")
        old.forget()

        def pump() -> None:
            for party, target in old.directions:
                party.send(target)

        def place_again() -> Call | None:
            pump()
            return place(ng, stage, "new", new_a, new_b)

        assert not place_again(), "the ports are in quarantine"
        new = until(place_again, "the ports to be given out again")
        assert new
        assert {new.a_target, new.b_target} == {old.a_target, old.b_target}
        for _ in range(20):
            pump()
            new.a.send(new.a_target)
            new.b.send(new.b_target)
        new.a.hears(20)
        new.b.hears(20)
        assert [seen.data for seen in new.b.collect()] == new.a.sent
        assert [seen.data for seen in new.a.collect()] == new.b.sent
        assert not old.a.collect()
        assert not old.b.collect()
        ng.delete("new")
