"""Packets through the real programs, by BPF_PROG_TEST_RUN or through veth pairs. Needs root."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bpf.plane import OBJECTS, Engine, Plane
from tests.bpf.stage import Stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the plane needs root, and the objects built."""
    for item in items:
        if "plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def loaded_plane() -> Iterator[Plane]:
    require_programs()
    with Plane() as loaded:
        yield loaded


@pytest.fixture
def plane(loaded_plane: Plane) -> Plane:
    """The programs, with all maps empty."""
    loaded_plane.reset()
    return loaded_plane


def require_programs() -> None:
    if os.geteuid() != 0:
        pytest.skip("loading eBPF programs needs root")
    if not (OBJECTS / "relay_xdp.bpf.o").exists():
        pytest.skip("the eBPF objects are not built: make -C ebpf")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Both programs attached to the devices of a stage of their own."""
    require_programs()
    with Plane() as plane:
        built = Stage(plane)
        built.attach_xdp()
        built.attach_tc()
        yield built
        built.close()


@pytest.fixture(params=["xdp", "tc"])
def engine(plane: Plane, request: pytest.FixtureRequest) -> Engine:
    """Each of the two programs that share the engine."""
    return plane.xdp if request.param == "xdp" else plane.tc
