"""The verb ``report``, found by :mod:`visenv.cli` through its entry point."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..progress import counting
from ..safe_files import printable
from ..table import print_costs
from .build import site_data

__all__ = ["report", "write_report"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The site's folder: new, or of an earlier site.", show_default=False)],
    trust_options: Annotated[
        bool, typer.Option("--trust-options", help="The runs are your own: make tasks with whatever options they name.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The rows as one JSON object on standard output.")] = False,
) -> None:
    """Make the page of one or several runs: tables, plots, and a replay of every episode.

    Every run is verified first, and the page says what came of it. Opens from disk in a browser and can be put on any
    static host. Running it again writes only what is new.

    Examples:
      visenv report visenv-demo --out site
      visenv report runs/a runs/b --out site
      visenv report runs/a --out site --json
    """
    trusted = ["--trust-options"] if trust_options else []
    again = shlex.join(["visenv", "report", *map(str, runs), "--out", str(out), *trusted])
    page, rows = write_report(runs, out, command=again, trust_options=trust_options)
    if as_json:
        typer.echo(json.dumps(rows, allow_nan=False))
        return
    for run in rows["runs"]:
        if run["state"] != "verified":
            typer.echo(f"{printable(run['run'])}: {run['verdict']}")
    print_costs(rows["rows"])
    typer.echo(f"Report: {page}")


def write_report(
    runs: Sequence[Path], out: Path, *, command: str, trust_options: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Build a site with progress on standard error; return its page and the rows of its tables.

    Args:
        runs: Run directories.
        out: The site's folder.
        command: What continues it, said when it is interrupted.
        trust_options: Make tasks with whatever options the runs name.
    """
    try:
        with counting("records checked and written") as progress:
            return site_data(runs, out, trust_options=trust_options, progress=progress)
    except KeyboardInterrupt:
        print(f"Interrupted. What was written is kept. Continue with\n  {command}", file=sys.stderr)
        raise typer.Exit(130) from None
