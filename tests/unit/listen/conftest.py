"""Every listener test runs on both event loops."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.unit.listen.rig import TIMEOUT, Main, Run


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def runner(main: Main) -> None:
        with asyncio.Runner(loop_factory=request.param) as loop:
            loop.run(asyncio.wait_for(main, 4 * TIMEOUT))

    return runner
