"""Devmaps for fan-outs: shared where the devices are the same, of exactly the size that is needed.

Groups.take(devices) --> rtprelay_groups[index] = devmap of these devices     (four devices in a namespace of their own)
"""

from __future__ import annotations

import functools
import itertools
import socket
from collections.abc import Iterator, Sequence

import pytest

from rtprelay.kernel import abi
from rtprelay.kernel.groups import Group, Groups
from tests.bpf.conftest import require_programs
from tests.bpf.plane import SIZES, Plane, index
from tools.netns import Namespace, veth

pytestmark = [pytest.mark.root, pytest.mark.netns]
PLACES = SIZES["rtprelay_groups"]


class Lab:
    """A devmap looks devices up in the namespace of who fills it."""

    def __init__(self, plane: Plane, namespace: Namespace) -> None:
        maps = plane.maps
        self.groups = Groups(maps["rtprelay_devices"], maps["rtprelay_groups"], plane.programs["relay_egress"])
        self._namespace = namespace
        for pair in (("a0", "a1"), ("b0", "b1")):
            veth(namespace, pair[0], namespace, pair[1])
        names = ("a0", "a1", "b0", "b1")
        self.a0, self.a1, self.b0, self.b1 = namespace.call(lambda: [socket.if_nametoindex(name) for name in names])

    def take(self, *devices: int) -> Group | None:
        return self._namespace.call(functools.partial(self.groups.take, devices))

    def taken(self, *devices: int) -> Group:
        group = self.take(*devices)
        assert group is not None
        return group

    def lose(self, name: str, *devices: int) -> None:
        self._namespace.ip("link", "delete", name)
        for device in devices:
            self.groups.forget(device)


@pytest.fixture
def lab(plane: Plane) -> Iterator[Lab]:
    with Namespace("groups") as namespace:
        made = Lab(plane, namespace)
        yield made
        made.groups.close()
        for place in range(PLACES):
            plane.maps["rtprelay_groups"].delete(index(place))


def devices_of(group: Group) -> Sequence[int]:
    """What the kernel has in all places of the devmap."""
    found = [group.devmap.lookup(index(place)) for place in range(group.devmap.max_entries)]
    return [abi.GroupEntry.from_buffer_copy(entry).ifindex if entry else 0 for entry in found]


def test_a_group_has_an_entry_for_each_output_and_none_beyond(lab: Lab) -> None:
    group = lab.taken(lab.b0, lab.a0, lab.a0)
    assert sorted(devices_of(group)) == sorted([lab.a0, lab.a0, lab.b0])


def test_the_map_of_groups_leads_to_the_devmap(lab: Lab, plane: Plane) -> None:
    group = lab.taken(lab.a0, lab.a0)
    found = plane.maps["rtprelay_groups"].lookup(index(group.index))
    assert found == index(group.devmap.id)


def test_fan_outs_to_as_many_outputs_on_the_same_devices_share_a_group(lab: Lab) -> None:
    first = lab.taken(lab.a0, lab.b0, lab.a0)
    assert lab.taken(lab.a0, lab.a0, lab.b0) is first
    assert lab.taken(lab.a0, lab.b0, lab.b0) is not first
    assert lab.taken(lab.a0, lab.a0) is not first


def test_a_group_in_use_keeps_its_devices(lab: Lab) -> None:
    """Even with one user of two gone, and others wanting one of that size."""
    first = lab.taken(lab.a0, lab.a0)
    assert lab.taken(lab.a0, lab.a0) is first
    lab.groups.release(first)
    other = lab.taken(lab.b0, lab.b0)
    assert devices_of(first) == [lab.a0, lab.a0]
    assert devices_of(other) == [lab.b0, lab.b0]


def test_an_idle_group_is_had_again_or_given_to_others_of_its_size(lab: Lab) -> None:
    first = lab.taken(lab.a0, lab.a1)
    lab.groups.release(first)
    assert lab.taken(lab.a0, lab.a1) is first
    lab.groups.release(first)
    assert lab.taken(lab.b0, lab.b1) is first
    assert sorted(devices_of(first)) == sorted([lab.b0, lab.b1])
    assert lab.taken(lab.a0, lab.a1) is not first


def test_when_all_places_are_in_use_there_is_none_until_one_is_released(lab: Lab) -> None:
    used = [lab.taken(*[lab.a0] * size) for size in range(2, 2 + PLACES)]
    assert len({group.index for group in used}) == PLACES
    assert lab.take(lab.b0, lab.b1) is None
    assert lab.taken(lab.a0, lab.a0) is used[0], "what is there is had all the same"
    lab.groups.release(used[5])
    late = lab.taken(lab.b0, lab.b1)
    assert late.index == used[5].index
    assert sorted(devices_of(late)) == sorted([lab.b0, lab.b1])


def test_of_a_size_wanted_for_one_set_of_devices_after_the_other_there_are_ever_more_at_once() -> None:
    """Each time the map of groups is written, the relay stands still for milliseconds."""
    require_programs()
    places = 128
    with Plane(SIZES | {"rtprelay_groups": places}) as plane, Namespace("groups") as namespace:
        lab, groups = Lab(plane, namespace), plane.maps["rtprelay_groups"]
        written = set()
        for devices in itertools.combinations((lab.a0, lab.a1, lab.b0, lab.b1), 2):
            lab.taken(*devices)
            written.add(sum(groups.lookup(index(place)) is not None for place in range(places)))
        lab.groups.close()
    assert len(written) == 4, "at the first, second, third and fifth of six"


def test_groups_of_a_device_that_is_gone_are_for_nobody_new(lab: Lab) -> None:
    broken = lab.taken(lab.a0, lab.b0)
    idle = lab.taken(lab.b0, lab.b0)
    lab.groups.release(idle)
    lab.lose("b0", lab.b0, lab.b1)
    assert lab.take(lab.a0, lab.b0) is None
    assert lab.take(lab.b0, lab.b0) is None
    assert devices_of(lab.taken(lab.a0, lab.a0)) == [lab.a0, lab.a0]
    lab.groups.release(broken)
    assert lab.taken(lab.a1, lab.a1) is not lab.taken(lab.a0, lab.a0)
