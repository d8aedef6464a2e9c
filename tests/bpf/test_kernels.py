"""The programs on older kernels, in qemu: `make vm`, or `pytest -m slow tests/bpf/test_kernels.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools import vm


@pytest.mark.slow
@pytest.mark.timeout(vm.PATIENCE + 60)
@pytest.mark.parametrize("series", vm.SERIES)
def test_all_tests_of_the_programs_pass_on_this_kernel(series: str) -> None:
    if vm.runner() is None:
        pytest.skip(f"{vm.DEFAULT_RUNNER} is missing: nothing to boot a kernel with")
    done = subprocess.run(
        [sys.executable, "-m", "tools.vm", series], cwd=vm.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
