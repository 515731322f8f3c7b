"""The verbs ``score`` and ``parity``, found by :mod:`visenv.cli` through their entry points."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from visenv.errors import VisenvError

from .parity import ParityResult, run_file
from .scoring import score_file

__all__ = ["parity", "score"]

SHOWN = 5
"""Disagreeing or failed cases that are printed for a file."""


def score(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A metric profile's name.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, a sample each.", show_default=False)],
) -> None:
    """Score a file of targets and predictions; prints one JSON object.

    Each line is {"id": …, "target": {…}, "prediction": {…} or null}: docs/metrics.md has the keys and a line for each profile.

    Examples:
      visenv score reasonseg/lisa predictions.jsonl
      visenv score visdrone/toolkit detections.jsonl
      visenv score blink/official replies.jsonl
    """
    typer.echo(json.dumps(score_file(profile, file), indent=2))


def parity(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Golden files.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each file on standard output.")] = False,
) -> None:
    """Run golden files, with the numbers of the benchmarks' own code, through our scorers.

    A case that cannot be run, or a file that cannot be read, says why in its place; all others are run. Without "expected" there is
    nothing to compare: what we give is shown all the same.

    Exit status 0 if every case agrees within its file's tolerance, 1 if one does not or something could not be run, 2 if no file
    could be read.

    Examples:
      visenv parity tests/golden/*.json
      visenv parity tests/golden/grec.json --json
    """
    results: list[ParityResult] = []
    for path in files:
        try:
            results.append(run_file(path))
        except VisenvError as error:
            if as_json:
                typer.echo(json.dumps({"file": path.name, "error": str(error)}))
            else:
                typer.echo(f"{path.name}: {error}", err=True)
        else:
            if as_json:
                typer.echo(json.dumps(results[-1].to_dict()))
    if results and not as_json:
        _print(results)
    if len(results) < len(files) or not all(result.ok for result in results):
        raise typer.Exit(1 if results else 2)


def _print(results: list[ParityResult]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("file", "scorer", "profile", "repo@commit"):
        table.add_column(name, overflow="fold")
    for name in ("cases", "tolerance", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ok")
    for r in results:
        size = f"{r.difference:.1e}" if r.difference and math.isfinite(r.difference) else str(r.difference)
        count = str(len(r.cases)) if r.num_compared == len(r.cases) else f"{r.num_compared} of {len(r.cases)}"
        words = [r.file, r.scorer, r.profile, r.official, count, f"{r.tolerance:g}", size]
        table.add_row(*words, "NO" if not r.ok else "yes" if r.num_compared else "not compared")
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge to fold at
    console.print(table)
    for r in results:
        wrong = [c for c in r.cases if not c.ok]
        for case in wrong[:SHOWN]:
            why = f"failed: {case.error}" if case.error else f"disagrees at {case.where}"
            console.print(f"{r.file}: case {case.name!r} {why}")
        if len(wrong) > SHOWN:
            console.print(f"{r.file}: … and {len(wrong) - SHOWN} more cases")
