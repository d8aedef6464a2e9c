"""What a benchmark hands back: tables, goals, and what could not be measured; printed and written as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Table(msgspec.Struct, frozen=True):
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Goal(msgspec.Struct, frozen=True):
    """A figure held against what was promised."""

    what: str
    promised: str
    measured: str
    met: bool


class Section(msgspec.Struct, frozen=True):
    title: str
    how: str
    """How it was measured and what the figures do not show."""
    tables: tuple[Table, ...]
    goals: tuple[Goal, ...] = ()
    failures: tuple[str, ...] = ()
    """What was not measured, or not with the delivery that makes a figure comparable."""


def markdown(section: Section, provenance: str = "") -> str:
    """`provenance`: when, where and by which command."""
    lines = [f"## {section.title}", "", section.how.strip(), ""]
    if provenance:
        lines += [provenance, ""]
    for table in section.tables:
        widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
        lines += [f"**{table.title}**", "", _row(table.header, widths)]
        lines.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        lines += [_row(row, widths) for row in table.rows]
        lines.append("")
    for goal in section.goals:
        lines.append(
            f"- {goal.what}: promised {goal.promised}, measured {goal.measured}: {'met' if goal.met else 'MISSED'}"
        )
    lines += [f"- NOT MEASURED: {failure}" for failure in section.failures]
    if section.goals or section.failures:
        lines.append("")
    return "\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    sized = zip(cells[1:], widths[1:], strict=True)
    return " | ".join(("| " + cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in sized))) + " |"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, with least and greatest where there is more than one."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"


def percentile(values: Sequence[float], percent: int) -> float:
    """By nearest rank; endless where nothing came."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else float("inf")


def delays(seconds: Sequence[float]) -> tuple[str, str]:
    """The columns "p50 ms" and "p99 ms"."""
    return f"{percentile(seconds, 50) * 1e3:.2f}", f"{percentile(seconds, 99) * 1e3:.2f}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "none"
