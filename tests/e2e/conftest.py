"""End-to-end tests: real user agents, a real Kamailio and a relay, in namespaces of their own.

`--relay KIND` (repeatable) chooses the relays: by default ours on its three data planes; `--relay rtpengine` (and
`rtpengine-lo`) puts Debian's daemon in the place of ours, which must pass too wherever it promises the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harness.browser import Browser
from tests.e2e.harness.relay import OWN, REFERENCE
from tests.e2e.harness.stage import Stage, open_stage

_PROGRAMS = ("kamailio", "sipp", "baresip", "ffmpeg", "ip", "nsenter", "setpriv", "ethtool")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--relay", action="append", choices=OWN + REFERENCE, help="the relay to test; default: all of ours"
    )


def kinds(config: pytest.Config) -> list[str]:
    """The option exists only when this directory is named on the command line."""
    return list(config.getoption("--relay", default=None) or OWN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", kinds(metafunc.config), scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        item.add_marker("netns")
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces"))
        elif missing:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)} (see `make build`)"))


@pytest.fixture(scope="session")
def stage(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Lab, relay and whatever proxies the tests ask for; one for all tests with the same kind of relay."""
    with open_stage(kind, tmp_path_factory.mktemp(kind)) as stage:
        yield stage


@pytest.fixture
def scene(stage: Stage) -> Iterator[Stage]:
    """A running relay without calls; the test must leave it so."""
    if not stage.relay.running:
        stage.relay.start()
    yield stage
    assert stage.relay.running, f"the relay died:\n{stage.relay.last_words}"
    with stage.relay.client() as ng:
        left = ng.calls()
    if left:
        stage.relay.flush()
    assert not left, f"calls left behind: {left}"


@pytest.fixture(scope="session")
def browsers(stage: Stage, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Browser]]:
    """One in the caller's namespace, one in the callee's."""
    if not stage.relay.ours:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    logs = tmp_path_factory.mktemp(f"browser-{kind}")
    with ExitStack() as stack:
        yield (
            stack.enter_context(Browser(stage.lab.caller.namespace, logs / "caller.log")),
            stack.enter_context(Browser(stage.lab.callee.namespace, logs / "callee.log")),
        )
