"""One target in a process of its own: python -m tests.fuzz.guided TARGET INPUTS SEED

With atheris, coverage leads from input to input; where it cannot be installed, mutation is blind. Prints what it did as
JSON; an input that fails is printed by either and the exit status is not 0.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.memory import rss_mib
from tests.fuzz.mutation import MAX_LENGTH, Mutator

MEMORY_LIMIT = 1024
"""MiB, coverage counters included."""


def report(name: str, inputs: int, started: float, before: int, how: str) -> None:
    seconds = time.monotonic() - started
    figures = {"target": name, "inputs": inputs, "seconds": round(seconds, 1), "before": before, "after": rss_mib()}
    print(json.dumps({**figures, "how": how}), flush=True)


def blind(name: str, inputs: int, seed: int) -> None:
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    check = target.make()
    before, started = 0, time.monotonic()
    for number, data in enumerate(Mutator(target.seeds, target.words, seed).inputs(inputs)):
        if number == inputs // 10:
            before = rss_mib()
        try:
            check(data)
        except BaseException:
            print(f"failing input: {data!r}", file=sys.stderr)
            raise
    report(name, inputs, started, before, "blind")


def led_by_coverage(name: str, inputs: int, seed: int) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["rtprelay"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    check = target.make()
    count, before, started = 0, 0, time.monotonic()

    def counted(data: bytes) -> None:
        nonlocal count, before
        count += 1
        if count == inputs // 10:
            before = rss_mib()
        check(data)
        if count == inputs:
            report(name, inputs, started, before, "atheris")

    with tempfile.TemporaryDirectory() as scratch:
        seeds, words = Path(scratch, "seeds"), Path(scratch, "words")
        seeds.mkdir()
        for number, data in enumerate(target.seeds):
            (seeds / str(number)).write_bytes(data)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if len(word) < 64))
        options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={MAX_LENGTH}", f"-rss_limit_mb={MEMORY_LIMIT}"]
        options += [f"-dict={words}", "-print_final_stats=0", "-verbosity=0", f"-artifact_prefix={scratch}/"]
        atheris.Setup(["guided", *options, str(seeds)], counted)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def chosen() -> Callable[[str, int, int], None]:
    with contextlib.suppress(ImportError):
        importlib.import_module("atheris")
        return led_by_coverage
    return blind


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    chosen()(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
