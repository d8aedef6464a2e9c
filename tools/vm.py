"""Run the tests of the programs on other kernels, in qemu.

    python -m tools.vm [6.1 6.12 ...] [--tests "tests/backend -k neighbour"]

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
TESTS = "tests/bpf tests/backend"
PATIENCE = 3600
"""Seconds for each kernel: without hardware virtualisation the tests take some ten minutes on a quiet machine."""

_PATIENTLY = ("-o", "timeout=900")
"""What takes a second on the machine itself takes a minute there."""

_PYTHON = Path("/usr/bin/python3")
"""The distribution's: one with thousands of small files of its own starts slowly over the guest's file system."""


def runner() -> Path | None:
    found = Path(os.environ.get("RTPRELAY_VM", DEFAULT_RUNNER))
    return found if os.access(found, os.X_OK) else None


def command(tests: list[str]) -> str:
    """What runs in the guest, whose root is the host's, read-only."""
    packages = next((ROOT / ".venv/lib").glob("python3*/site-packages"))
    return " && ".join(
        (
            f"cd {shlex.quote(str(ROOT))}",
            f"export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={shlex.quote(str(packages))}",
            shlex.join([str(_PYTHON), "-m", "tools.verified"]),
            shlex.join([str(_PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", *_PATIENTLY, *tests]),
        )
    )


def _shared() -> tuple[str, ...]:
    """The guest has a /tmp and a /run of its own: a tree that lies there is unknown to it."""
    hidden = any(ROOT.is_relative_to(place) for place in ("/tmp", "/run"))
    return ("-w", str(ROOT)) if hidden else ()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.vm", description=__doc__.splitlines()[0])
    parser.add_argument("series", nargs="*", default=SERIES, metavar="SERIES", help="Debian kernels, as 6.1")
    parser.add_argument("--tests", default=TESTS, help=f"what pytest is told to run there (default: {TESTS})")
    parser.add_argument("--seconds", type=int, default=PATIENCE, help="how long it may take on each kernel")
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
        run = [str(machine), "-k", series, "-t", str(options.seconds), "-v", *_shared()]
        run += ["-c", command(shlex.split(options.tests))]
        status = subprocess.run(run, check=False).returncode or status
    return status


if __name__ == "__main__":
    sys.exit(main())
