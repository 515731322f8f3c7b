"""The verbs ``verify`` and ``compare``, found by :mod:`visenv.cli` through their entry points."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visenv.specs import split_specs

from .compare import compare_runs
from .comparison_table import print_comparison
from .verification import TaskCheck, verify_run

__all__ = ["compare", "verify"]

PRINTED = 20
"""Problems that are printed; ``--json`` has more."""
QUIET = 200
"""Records below which no line of progress is printed."""


def verify(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Score a run again from its records and compare everything it states.

    Exit status 0 only if the records give the stated scores. Where a task or its data is not here, recorded rows are only
    aggregated again; the last line then says that no answer was checked.

    Examples:
      visenv verify runs/a
      visenv verify runs/a --json
    """
    with _Counter() as counter:
        found = verify_run(run, progress=counter)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        for task in found.tasks:
            typer.echo(_line(task))
        for note in found.notes:
            typer.echo(f"Note: {note}")
        for problem in found.problems[:PRINTED]:
            typer.echo(f"Problem: {problem}")
        if found.num_problems > PRINTED:
            typer.echo(f"… and {found.num_problems - PRINTED} more problems")
        typer.echo(found.verdict)
    if not found.ok:
        raise typer.Exit(1)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run directory.", show_default=False)],
    second: Annotated[
        Path | None, typer.Argument(metavar="B", help="Another; without it, two agents of A.", show_default=False)
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="One agent for both, or two, comma-separated: A's and B's.", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only these tasks, comma-separated.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Compare two runs, or two agents of one run, sample by sample.

    Without --agent every agent that both runs have is compared with itself; if each has a single one, these two are.
    Differences are A minus B on the samples that both have a score for.

    Examples:
      visenv compare runs/a runs/b
      visenv compare runs/a --agent scripted,one-shot
      visenv compare runs/a runs/b --agent scripted:tries=1,scripted:tries=3 --task EmojiRef --json
    """
    found = compare_runs(
        first, second, agents=None if agent is None else split_specs(agent),
        tasks=None if task is None else split_specs(task),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        print_comparison(found)
    if found.problems:
        raise typer.Exit(1)


def _line(task: TaskCheck) -> str:
    """Say what was found for one task."""
    parts = [f"{task.rescored} re-scored"] if task.rescored or not task.reaggregated else []
    parts += [f"{task.reaggregated} re-aggregated, not re-scored"] if task.reaggregated else []
    parts += [f"{task.different} DIFFERENT" if task.different else "all equal"]
    parts += [f"{task.failed} failed, without a score"] if task.failed else []
    reason = f" ({task.reason})" if task.reason else ""
    name = task.task if task.task.isprintable() else repr(task.task)
    split = task.split if task.split.isprintable() else repr(task.split)
    return f"{name}, {split}, level {task.level}: {', '.join(parts)}{reason}"


class _Counter:
    """Progress on standard error: a bar on a terminal, a line every tenth elsewhere, nothing for short runs."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.told = 0

    def __call__(self, done: int, total: int) -> None:
        if total < QUIET:
            return
        if self.console.is_terminal:
            if self.bar is None:
                self.bar = Progress(
                    TextColumn("records"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn(),
                    console=self.console, transient=True,
                )  # fmt: skip
                self.bar.add_task("", total=total)
                self.bar.start()
            self.bar.update(self.bar.task_ids[0], completed=done, total=total)
        elif 10 * done // total > self.told:
            self.told = 10 * done // total
            self.console.print(f"{done}/{total} records", markup=False)

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()
