"""Run the tests of the eBPF programs on other kernels, in qemu.

    python -m tools.vm [6.1 6.12 ...] [--tests tests/bpf ...]

6.1 is the oldest kernel that is promised, and its verifier the strictest. The machine comes from `../shared/vm/run`
beside the project, or from $RTPRELAY_VM; without it there is nothing to run on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_RUNNER = ROOT.parent / "shared/vm/run"
SERIES = ("6.1", "6.12")
PATIENCE = 900
"""Seconds for each kernel: without hardware virtualisation the tests take a few minutes."""

_MODULES = ("veth", "sch_ingress", "cls_bpf", "8021q")


def runner() -> Path | None:
    found = Path(os.environ.get("RTPRELAY_VM", DEFAULT_RUNNER))
    return found if os.access(found, os.X_OK) else None


def command(arguments: list[str]) -> str:
    """What runs in the guest, whose root is the host's, read-only."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return " && ".join(
        (
            f"cd {shlex.quote(str(ROOT))}",
            f"for module in {' '.join(_MODULES)}; do modprobe -q $module || true; done",
            "mount -t bpf bpf /sys/fs/bpf",
            "export PATH=$PATH:/usr/sbin PYTHONDONTWRITEBYTECODE=1",
            shlex.join(pytest),
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.vm", description=__doc__.splitlines()[0])
    parser.add_argument("series", nargs="*", default=SERIES, metavar="SERIES", help="Debian kernels, as 6.1")
    parser.add_argument("--tests", nargs="+", default=["tests/bpf"], help="what to run there")
    options = parser.parse_args()
    machine = runner()
    if machine is None:
        print(
            f"{DEFAULT_RUNNER} is missing: nothing to boot a kernel with ($RTPRELAY_VM names another)", file=sys.stderr
        )
        return 2
    status = 0
    for series in options.series:
        print(f"== Linux {series}", flush=True)
        run = [str(machine), "-k", series, "-t", str(PATIENCE), "-c", command(options.tests)]
        status = subprocess.run(run, check=False).returncode or status
    return status


if __name__ == "__main__":
    sys.exit(main())
