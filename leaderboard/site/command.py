"""The verb ``report``, found by :mod:`visenv.cli` through its entry point."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .build import site_data

__all__ = ["BuildProgress", "report", "write_report"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The site's folder: new, or of an earlier site.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The rows as one JSON object on standard output.")] = False,
) -> None:
    """Make the page of one or several runs: tables, plots, and a replay of every episode.

    Opens from disk in a browser and can be put on any static host. Running it again writes only what is new.

    Examples:
      visenv report visenv-demo --out site
      visenv report runs/a runs/b --out site
      visenv report runs/a --out site --json
    """
    again = shlex.join(["visenv", "report", *map(str, runs), "--out", str(out)])
    page, rows = write_report(runs, out, command=again)
    typer.echo(json.dumps(rows, allow_nan=False) if as_json else f"Report: {page}")


def write_report(runs: Sequence[Path], out: Path, *, command: str) -> tuple[Path, dict[str, Any]]:
    """Build a site with progress on standard error; return its page and the rows of its tables.

    Args:
        runs: Run directories.
        out: The site's folder.
        command: What continues it, said when it is interrupted.
    """
    try:
        with BuildProgress() as progress:
            return site_data(runs, out, progress=progress)
    except KeyboardInterrupt:
        print(f"Interrupted. What was written is kept. Continue with\n  {command}", file=sys.stderr)
        raise typer.Exit(130) from None


class BuildProgress:
    """Shows how far a build is on standard error: a bar on a terminal, a line every quarter elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._console = console
        self._told = 0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("episodes written"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=console, transient=True,
            )  # fmt: skip
            self._bar.add_task("", total=None)

    def __enter__(self) -> BuildProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` episodes are written."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)
        elif 4 * done // total > self._told:
            self._told = 4 * done // total
            self._console.print(f"{done}/{total} episodes written", markup=False)
