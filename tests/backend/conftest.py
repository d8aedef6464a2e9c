"""One contract suite, asked of every data plane this machine can run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rtprelay.kernel.memory import MemoryBackend
from rtprelay.kernel.userspace import UserspaceBackend
from tests.backend.namespaces import KernelRig, Lab, inside, loopback_lab, veth_lab
from tests.backend.rig import Rig, VirtualRig

VIRTUAL: dict[str, Callable[[], MemoryBackend | UserspaceBackend]] = {
    "memory": MemoryBackend,
    "userspace": UserspaceBackend,
}
KERNEL = ("xdp", "tc", "lo")
"""Native XDP and tc on veth, tc on the loopback device."""

needs_root = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces and eBPF"),
]


@pytest.fixture(scope="session")
def veth_pair() -> Iterator[Lab]:
    with veth_lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def loopback() -> Iterator[Lab]:
    with loopback_lab() as lab:
        yield lab


@pytest.fixture(params=[*VIRTUAL, *(pytest.param(name, marks=needs_root) for name in KERNEL)])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param in VIRTUAL:
        virtual = VirtualRig(VIRTUAL[request.param](), request.param)
        yield virtual
        virtual.close()
    else:
        yield from kernel_rig(request)


@pytest.fixture(params=[pytest.param(name, marks=needs_root) for name in KERNEL])
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelRig]:
    """Only the data planes that outlive their process."""
    yield from kernel_rig(request)


def kernel_rig(request: pytest.FixtureRequest) -> Iterator[KernelRig]:
    lab: Lab = request.getfixturevalue("loopback" if request.param == "lo" else "veth_pair")
    with inside(lab.relay):
        rig = KernelRig(request.param, lab, use_xdp=request.param == "xdp")
        try:
            yield rig
        finally:
            rig.close()
