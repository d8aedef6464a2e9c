"""Measure rtprelay beside rtpengine. Exit status: 0 all was measured, 1 something was not, 2 cannot run here."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys

from bench import (
    commands,
    document,
    dtls_relay,
    fanout,
    footprint,
    machine,
    relay,
    srtp,
    srtp_fanout,
    srtp_relay,
    testrun,
    traffic,
    webrtc,
)
from bench.ng import NgError
from bench.report import Section, markdown
from bench.subjects import RTPENGINE, RTPRELAY, SUBJECTS
from bench.traffic import MeasureError

_BENCHMARKS = {
    module.NAME: module
    for module in (testrun, srtp, relay, srtp_relay, dtls_relay, fanout, srtp_fanout, commands, footprint, webrtc)
}


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
    command = f"{datetime.date.today()}, `python -m bench {shlex.join(sys.argv[1:])}`: {machine.facts()}"
    written, complete = {}, True
    for name in options.benchmark or _BENCHMARKS:
        module = _BENCHMARKS[name]
        provenance = f"{command}; others kept {machine.wait_for_quiet(options.patience):.2f} cores busy at the start."
        try:
            section = module.run(subjects, options.quick)
        except (NgError, MeasureError) as error:
            section = Section(module.TITLE, "", (), failures=(str(error),))
        text = markdown(section, provenance)
        print(text, flush=True)
        written[section.title] = text
        complete = complete and not section.failures
    if options.write:
        document.write(written, [module.TITLE for module in _BENCHMARKS.values()])
    return 0 if complete else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "benchmark", nargs="*", choices=[*_BENCHMARKS, []], help="which ones; all by default", metavar="BENCHMARK"
    )
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: proves the bench, not the figures")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="before each benchmark wait at most so long for the machine to be quiet",
    )
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--subject", action="append", choices=list(SUBJECTS), help="which daemons, repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
