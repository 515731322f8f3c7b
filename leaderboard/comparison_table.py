"""A comparison as text for people: a table for each pair of agents, and what the table leaves out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO

from rich.console import Console

from .comparison import AgentComparison, Comparison, TaskComparison
from .safe_files import printable

__all__ = ["print_comparison"]

HEAD = ("task", "n", "A", "B", "A - B", "95 % interval", "A better/equal/worse", "")


def print_comparison(found: Comparison, file: IO[str] | None = None) -> None:
    """Print a comparison for people.

    Args:
        found: What to print.
        file: Where; standard output by default.
    """
    console = Console(file=file, highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _lines(found):
        console.print(line)


def _lines(found: Comparison) -> Iterator[str]:
    yield f"A: {printable(found.first)}"
    yield f"B: {printable(found.second)}"
    for agents in found.agents:
        one, other = printable(agents.first), printable(agents.second)
        same = agents.first == agents.second and found.first != found.second
        yield f"\n{one} in A and in B" if same else f"\n{one} (A) and {other} (B)"
        yield from _table(agents)
        for task in agents.tasks:
            yield from _more(task)
        if agents.privileged:
            yield f"{', '.join(map(printable, agents.privileged))} knows the truth: a bound, not ranked."
    for note in found.notes:
        yield f"Note: {note}"
    for problem in found.problems:
        yield f"Problem: {problem}"


def _table(agents: AgentComparison) -> Iterator[str]:
    """One line for each task, and one for all of them."""
    rows = [HEAD, *map(_row, agents.tasks)]
    if agents.overall is not None:
        o = agents.overall
        name = f"all {o.num_tasks} tasks, equal weight"
        rows.append((name, "", "", "", f"{o.difference:+.3f}", _interval(o.low, o.high), "", o.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(t: TaskComparison) -> tuple[str, str, str, str, str, str, str, str]:
    difference = "-" if t.difference is None else f"{t.difference:+.3f}"
    counts = f"{t.wins}/{t.ties}/{t.losses}"
    means = _number(t.mean_first), _number(t.mean_second)
    return _name(t), str(t.n), *means, difference, _interval(t.low, t.high), counts, t.verdict


def _more(t: TaskComparison) -> Iterator[str]:
    """Say what the table leaves out."""
    if t.could_differ is not None:
        share = math.ceil(1000 * t.could_differ) / 10
        why = "no interval, because no difference varies"
        yield f"{_name(t)}: {why}; up to {share} % of samples could differ otherwise."
    for count, what in (
        (t.failed_first, "failed in A"), (t.failed_second, "failed in B"), (t.missing_first, "are not in A"),
        (t.missing_second, "are not in B"),
    ):  # fmt: skip
        if count:
            yield f"{_name(t)}: {count} samples left out that {what}."
    if t.largest:
        yield f"{_name(t)}: largest differences"
    for s in t.largest:
        yield f"  {printable(s.sample_id)}  A {s.first:.3f}  B {s.second:.3f}  {s.difference:+.3f}"


def _name(t: TaskComparison) -> str:
    return f"{printable(t.task)}, {printable(t.split)}, level {t.level}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
