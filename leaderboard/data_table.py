"""What ``visenv data status`` and ``visenv data check`` print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .data_audit import Audit
from .data_status import SplitStatus, TaskStatus
from .safe_files import printable

__all__ = ["print_audit", "print_status"]

PRINTED = 20
"""Findings that are printed."""
PROBLEMS = 2
"""Problems of one task that are printed."""
STYLES = {"present": "green", "other size": "yellow", "partly": "yellow", "missing": "dim"}
"""By state; others are red."""
TEXT = 400
"""Longest text of a data set or an error that is printed."""


def print_status(found: Sequence[TaskStatus], root: Path | None) -> None:
    """Print a row for each task that reads data, and a line that names the others."""
    if root is None:
        typer.echo("No data root is set: give --root DIR, or set VISENV_DATA.")
    else:
        typer.echo(f"Data root: {root}{'' if root.is_dir() else ', which is no folder'}")
    rows = [one for one in found if one.state != "made"]
    if rows:
        console = Console(highlight=False)
        _print_table(console, rows) if console.is_terminal else _print_plain(rows)
    made = [one.task for one in found if one.state == "made"]
    if made:
        typer.echo(f"Made, no data needed: {', '.join(made)}.")
    states = [one.state for one in rows]
    if len(states) > 1:
        typer.echo(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) + ".")
    here = [one.task for one in rows if one.state in ("present", "other size", "partly", "damaged")]
    if here:
        typer.echo(f"Next: visenv data check {here[0]}")


def print_audit(audit: Audit) -> None:
    """Print how much was looked at, the first findings, and the number of each kind."""
    typer.echo(audit.task if audit.folder is None else f"{audit.task} in {audit.folder}")
    for name, split in audit.splits.items():
        samples = (
            "cannot be read" if split.samples is None else f"{split.audited:,} of {split.samples:,} entries looked at"
        )
        official = "" if split.official is None else f", officially {split.official:,}"
        typer.echo(f"  {name}: {samples}{official}")
    for finding in audit.findings[:PRINTED]:
        typer.echo(f"{finding.kind}: {printable(finding.where, TEXT)}: {printable(finding.what, TEXT)}")
    if audit.num_findings > PRINTED:
        typer.echo(f"… and {audit.num_findings - PRINTED:,} more findings; --json has them")
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(audit.by_kind.items()))
    said = f"{audit.num_findings:,} finding{'s'[: audit.num_findings != 1]}: {kinds}." if kinds else "No findings."
    typer.echo(said if audit.complete else f"So far: {said[0].lower()}{said[1:]}")


def _print_table(console: Console, rows: Sequence[TaskStatus]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("samples here of the official number", overflow="fold")
    for one in rows:
        first, *more = _details(one)
        about = Text(first).append("".join(f"\n{line}" for line in more), style="dim")
        name = Text(one.task).append(f"\n{one.state}", style=STYLES.get(one.state, "red"))
        table.add_row(name, about)
    console.print(table)


def _print_plain(rows: Sequence[TaskStatus]) -> None:
    names, states = (max(len(getattr(one, key)) for one in rows) for key in ("task", "state"))
    for one in rows:
        first, *more = _details(one)
        typer.echo(f"{one.task.ljust(names)}  {one.state.ljust(states)}  {first}")
        for line in more:
            typer.echo(f"{' ' * (names + states + 4)}{line}")


def _details(one: TaskStatus) -> Iterator[str]:
    """Yield the lines of a row: what is there, what is wrong, where it is looked for, its licence, where it is from."""
    if one.data_of is not None:
        yield f"the data of {one.data_of}"
        return
    if any(split.samples is not None for split in one.splits.values()):
        yield ", ".join(_counted(name, split) for name, split in one.splits.items())
    found = [one.problem, *(split.problem for split in one.splits.values())]
    problems = list(dict.fromkeys(printable(problem, TEXT) for problem in found if problem))
    yield from problems[:PROBLEMS]
    if len(problems) > PROBLEMS:
        yield f"… and {len(problems) - PROBLEMS} more such problems"
    if one.folder is not None:
        yield f"in {printable(one.folder, TEXT)}"
    if one.licence is not None:
        yield f"licence: {one.licence}"
    if one.published is not None:
        yield one.published


def _counted(name: str, split: SplitStatus) -> str:
    here = "none" if split.samples is None else f"{split.samples:,}"
    return f"{name} {here}" if split.official is None else f"{name} {here} of {split.official:,}"
