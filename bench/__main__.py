"""`python -m bench [--quick] [--write] [BENCHMARK ...]`: exit 0 when everything asked for was measured."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench import commands, fanout, footprint, machine, relay, traffic
from bench.report import Section, markdown
from bench.subjects import RTPENGINE, RTPRELAY, SUBJECTS

_DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_BENCHMARKS = {"relay": relay.run, "fanout": fanout.run, "commands": commands.run, "footprint": footprint.run}


def main() -> int:
    options = _parser().parse_args()
    if os.geteuid() != 0:
        print("namespaces and eBPF need root", file=sys.stderr)
        return 2
    subjects = [SUBJECTS[name] for name in options.subject or (RTPRELAY.name, RTPENGINE.name)]
    missing = [subject.name for subject in subjects if not subject.available()]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    traffic.build()
    neighbours = machine.neighbours_load()
    print(f"{machine.facts()}; others keep {neighbours:.2f} cores busy\n", flush=True)
    sections: list[Section] = []
    for name in options.benchmark or _BENCHMARKS:
        section = _BENCHMARKS[name](subjects, options.quick)
        sections.append(section)
        print(markdown(section), flush=True)
    return 1 if any(section.failures for section in sections) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", nargs="*", choices=[*_BENCHMARKS, []], help="which ones; all by default")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: proves the bench, not the figures")
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--subject", action="append", choices=list(SUBJECTS), help="which daemons, repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
