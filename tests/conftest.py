"""What holds for every run of the tests: the same examples each time, and a directory of its own.

`--hypothesis-profile=search` looks for new examples (`make fuzz` does); by default nothing depends on chance.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=2000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Pytest's own directory is shared by all runs of a user, and each start takes everybody else's rights to it: the
    unprivileged relays of a run beside it lose theirs.
    """
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="rtprelay-tests-")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After a failure it stays, to be looked at."""
    base = Path(session.config.option.basetemp)
    if exitstatus == 0 and base.name.startswith("rtprelay-tests-"):
        shutil.rmtree(base, ignore_errors=True)
