"""How a packet finds its flow: by port, then by local address; and how flows are replaced under its feet.

FlowMap.put / delete --> rtprelay_ports, _flows, _rules --> [ relay_xdp ] --> which output it left by
"""

from __future__ import annotations

import functools
import itertools
import random
import threading
from collections.abc import Callable

import pytest

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.flowmap import FlowMap, word_at
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import Plane, at_once

SENDER, SENDER6 = Endpoint("192.0.2.1", 4000), Endpoint("2001:db8::1", 4000)
NEAR, NEAR6 = Endpoint("203.0.113.5", 30002), Endpoint("2001:db8:5::5", 30002)


def local(i: int, port: int) -> Endpoint:
    return Endpoint(f"2001:db8::{i:x}", port) if i % 2 else Endpoint(f"198.51.100.{i}", port)


def put(plane: Plane, at: Endpoint, output: int) -> None:
    """A flow whose packets leave for port 40000 + output."""
    far = Endpoint("2001:db8:5::77", 40000 + output) if ":" in at.address else Endpoint("203.0.113.77", 40000 + output)
    plane.put_output(output, NEAR6 if ":" in at.address else NEAR, far)
    plane.put_flow(at, SENDER6 if ":" in at.address else SENDER, range(output, output + 1), slot=output % 60)


def leaves_by(plane: Plane, at: Endpoint) -> int | None:
    frame = Frame(SENDER6 if ":" in at.address else SENDER, at, bytes(Rtp()))
    run = plane.xdp.run(bytes(frame))
    if run.verdict != plane.xdp.sent:
        assert run.verdict == plane.xdp.not_ours
        return None
    port = 54 if frame.v6 else 34
    return int.from_bytes(run.data[port + 2 : port + 4], "big") - 40000


def test_flows_at_one_port_of_many_addresses_are_told_apart(plane: Plane) -> None:
    for i in range(1, 21):
        put(plane, local(i, 30000), i)
        put(plane, local(i, 30001), 100 + i)
    for i in range(1, 21):
        assert leaves_by(plane, local(i, 30000)) == i
        assert leaves_by(plane, local(i, 30001)) == 100 + i
    assert leaves_by(plane, local(21, 30000)) is None
    assert leaves_by(plane, local(1, 30002)) is None


def test_more_addresses_than_a_packet_looks_at_are_refused_and_change_nothing(plane: Plane) -> None:
    for i in range(1, abi.Limits.MAX_CHAIN + 1):
        put(plane, local(i, 30000), i)
    with pytest.raises(BackendFault, match="port 30000"):
        put(plane, local(99, 30000), 99)
    put(plane, local(1, 30000), 200)
    assert [leaves_by(plane, local(i, 30000)) for i in (1, 2, abi.Limits.MAX_CHAIN, 99)] == [
        200,
        2,
        abi.Limits.MAX_CHAIN,
        None,
    ]


@pytest.mark.parametrize("seed", range(5))
def test_after_any_history_each_packet_finds_what_was_put_last(plane: Plane, seed: int) -> None:
    chance = random.Random(seed)
    places = [local(i, port) for i, port in itertools.product(range(1, 8), (30000, 30001, 65535))]
    model: dict[Endpoint, int] = {}
    for step in range(150):
        at = chance.choice(places)
        if chance.random() < 0.4:
            assert plane.flows.delete(at) == (model.pop(at, None) is not None)
        else:
            put(plane, at, step)
            model[at] = step
        some = chance.sample(places, 4)
        assert [leaves_by(plane, place) for place in some] == [model.get(place) for place in some]
    assert {place for place, _, _ in plane.flows.items()} == set(model)
    assert len(plane.flows) == len(model)


def test_a_successor_finds_the_flows_as_they_were_put(plane: Plane) -> None:
    for i in range(1, 6):
        put(plane, local(i, 30000), i)
    plane.flows.delete(local(3, 30000))
    successor = FlowMap(plane.maps, at_once)
    assert sorted(successor.items()) == sorted(plane.flows.items())
    for place, flow, rules in list(successor.items()):
        # What is in use is not given out again.
        successor.put(place, flow, rules)
    assert [leaves_by(plane, local(i, 30000)) for i in range(1, 6)] == [1, 2, None, 4, 5]
    for place, _, _ in list(successor.items()):
        successor.delete(place)
    successor.close()


def test_a_port_says_beside_its_first_flow_what_packets_of_that_one_touch(plane: Plane) -> None:
    """Else the packet would meet one cache miss after the other, and nothing but time would tell."""
    first, second = local(1, 30000), local(2, 30000)
    for at, output, touched in ((first, 7, 7), (second, 8, 8), (second, 41, 41), (first, 9, 41)):
        put(plane, at, output)
        assert hints(plane, 30000) == (touched, touched)
    plane.flows.delete(second)
    assert hints(plane, 30000) == (9, 9)
    plane.flows.delete(first)
    assert hints(plane, 30000) == (0, 0)


@pytest.mark.parametrize(("count", "several"), [(0, False), (1, False), (2, True), (256, True)])
def test_a_port_says_whether_its_packets_are_copied(plane: Plane, count: int, several: bool) -> None:
    plane.put_flow(local(1, 30000), SENDER6, range(7, 7 + count), slot=7)
    assert bool(word(plane, 30000) >> abi.Limits.PORT_INDEX_BITS & 1) is several
    assert hints(plane, 30000) == (7, 7)


def test_ports_of_rtp_lie_together() -> None:
    assert [word_at(port) for port in (0, 2, 4, 65534, 1, 3, 65535)] == [0, 1, 2, 32767, 32768, 32769, 65535]


def word(plane: Plane, port: int) -> int:
    return int.from_bytes(plane.maps["rtprelay_ports"].lookup(word_at(port).to_bytes(4, "little")) or b"", "little")


def hints(plane: Plane, port: int) -> tuple[int, int]:
    """(slot, first output)"""
    hint = word(plane, port) >> abi.Limits.PORT_INDEX_BITS + 1
    return hint & (1 << abi.Limits.PORT_HINT_BITS) - 1, hint >> abi.Limits.PORT_HINT_BITS


def test_places_are_used_again_only_after_the_grace(plane: Plane) -> None:
    waiting: list[Callable[[], None]] = []
    flows = FlowMap(plane.maps, lambda deed, *numbers: waiting.append(functools.partial(deed, *numbers)))
    entry, rules = bytes(abi.Flow(local=abi.address_bytes(NEAR), local_port=NEAR.port)), bytes(abi.Rules())
    room = plane.maps["rtprelay_flows"].max_entries - 1
    for _ in range(room):
        flows.put(NEAR, entry, rules)
    with pytest.raises(BackendFault, match="no room"):
        flows.put(NEAR, entry, rules)
    for deed in waiting:
        deed()
    flows.put(NEAR, entry, rules)
    assert list(flows.items()) == [(NEAR, entry, rules)]
    flows.delete(NEAR)
    flows.close()


def test_a_flow_is_replaced_whole_while_packets_run_through_it(plane: Plane) -> None:
    """Each version has its own sender, output and slot: a mixture would be dropped, or seen at the wrong output."""
    at, neighbour = local(2, 30000), local(4, 30000)
    put(plane, neighbour, 9)
    for version in (0, 1):
        plane.put_output(version, NEAR, Endpoint("203.0.113.77", 40000 + version))
    done = threading.Event()
    put(plane, at, 0)

    def replace() -> None:
        for version in itertools.cycle((1, 0)):
            if done.is_set():
                return
            plane.put_flow(at, SENDER, range(version, version + 1), slot=version)

    replacer = threading.Thread(target=replace)
    replacer.start()
    try:
        seen = {leaves_by(plane, at) for _ in range(20_000)}
        neighbours = {leaves_by(plane, neighbour) for _ in range(1000)}
    finally:
        done.set()
        replacer.join()
    assert seen == {0, 1}
    assert neighbours == {9}
    assert plane.state(0).packets + plane.state(1).packets == 20_000
