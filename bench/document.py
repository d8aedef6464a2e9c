"""docs/benchmarks.md: one section per benchmark; a run replaces the sections it measured and leaves the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PATH = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_PREAMBLE = """# Benchmarks

Written by `make bench ARGS=--write` (`python -m bench --write`); do not edit. Every figure stands beside Debian's
userspace rtpengine measured in the same run, in the same network of namespaces, with the same traffic, alternating
with it: what is meant to be compared is the ratio, not the microseconds of this machine. A figure whose traffic was
not delivered is not a figure: the run says NOT MEASURED and fails.

What is not shown anywhere on this page: network cards and their interrupts, receive-side scaling, other kernels,
rtpengine with its kernel module (Debian's userspace daemon is the peer), transcoding.
"""


def write(sections: Mapping[str, str], order: Sequence[str]) -> None:
    """`sections` by title, as Markdown; `order` is that of all titles."""
    known = dict(_sections(PATH.read_text(encoding="utf-8"))) if PATH.exists() else {}
    known.update(sections)
    texts = [known[title].strip() for title in order if title in known]
    PATH.write_text("\n\n".join((_PREAMBLE.strip(), *texts)) + "\n", encoding="utf-8")


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return [(part.splitlines()[0].removeprefix("## "), part) for part in parts]
