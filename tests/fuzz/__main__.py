"""The long ring: python -m tests.fuzz [INPUTS [SEED]]

INPUTS (a million) go to the parsers, each in a process of its own, and a fifth as many to a running relay with a call
that must not lose a packet. Prints a table; exits with 1 where anything failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.attack import attack
from tests.fuzz.targets import TARGETS

INPUTS, SEED = 1_000_000, 1
GROWTH = 256
"""MiB that a process may grow by after a tenth of its inputs; a corpus grows, and so do caches, up to their bounds."""
ROW = "| {:<12} | {:>9} | {:>7} | {:>10} | {:>9} | {} |"


def fuzz(name: str, inputs: int, seed: int) -> bool:
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(inputs), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not told:
        print(f"{name}: exit status {done.returncode}", done.stdout, done.stderr, sep="\n", file=sys.stderr)
        return False
    figures = told[-1]
    columns = (figures[key] for key in ("target", "inputs", "seconds", "before", "after", "how"))
    print(ROW.format(*columns), flush=True)
    return bool(figures["after"] - figures["before"] < GROWTH)


def main(inputs: int = INPUTS, seed: int = SEED) -> int:
    print(ROW.format("target", "inputs", "seconds", "RSS before", "RSS after", "how"))
    print("|---|---:|---:|---:|---:|---|")
    fine = [fuzz(name, inputs * target.share // 100, seed) for name, target in TARGETS.items()]
    with tempfile.TemporaryDirectory() as scratch:
        outcome = attack(inputs // 5, seed, Path(scratch))
    how = f"{outcome.lost} of {outcome.sent} packets lost"
    print(ROW.format("a relay", outcome.inputs, round(outcome.seconds), outcome.before, outcome.after, how))
    fine += [outcome.lost == 0, outcome.after - outcome.before < GROWTH]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
