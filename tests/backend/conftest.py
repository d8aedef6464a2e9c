"""One contract suite, asked of every data plane this machine can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtprelay.kernel.memory import MemoryBackend
from rtprelay.kernel.userspace import UserspaceBackend
from tests.backend.rig import Rig, VirtualRig

VIRTUAL = {"memory": MemoryBackend, "userspace": UserspaceBackend}


@pytest.fixture(params=VIRTUAL)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = VirtualRig(VIRTUAL[request.param](), request.param)
    yield rig
    rig.close()
