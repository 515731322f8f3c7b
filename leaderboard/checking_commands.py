"""The verbs ``verify`` and ``compare``, found by :mod:`visenv.cli` through their entry points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from visenv.specs import split_specs

from .compare import compare_runs
from .comparison_table import print_comparison
from .progress import counting
from .safe_files import printable
from .verification import TaskCheck, verify_run

__all__ = ["compare", "verify"]

PRINTED = 20
"""Problems that are printed; ``--json`` has more."""
QUIET = 200
"""Records below which no line of progress is printed."""


def verify(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory.", show_default=False)],
    trust_options: Annotated[
        bool, typer.Option("--trust-options", help="The run is your own: make tasks with whatever options it names.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Score a run again from its records and compare everything it states.

    Exit status 0 only if the records give the stated scores. Where a task or its data is not here, recorded rows are
    only aggregated again; the last line then says that no answer was checked. So are those of a task whose options name
    files outside of the data folder, unless you say that the run is your own.

    Examples:
      visenv verify runs/a
      visenv verify runs/a --json
    """
    with counting("records", from_total=QUIET) as counter:
        found = verify_run(run, trust_options=trust_options, progress=counter)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
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
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
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
    return f"{printable(task.task)}, {printable(task.split)}, level {task.level}: {', '.join(parts)}{reason}"
