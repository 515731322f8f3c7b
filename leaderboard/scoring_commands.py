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

from .parity import ParityResult, run_file
from .scoring import score_file

__all__ = ["parity", "score"]

SHOWN = 5
"""Disagreeing cases that are printed for a file."""


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

    Exit status 0 if every case agrees within its file's tolerance, 1 if one does not, 2 for a file that cannot be read.

    Examples:
      visenv parity tests/golden/*.json
      visenv parity tests/golden/grec.json --json
    """
    results = [run_file(path) for path in files]
    if as_json:
        for result in results:
            typer.echo(json.dumps(result.to_dict()))
    else:
        _print(results)
    if not all(result.ok for result in results):
        raise typer.Exit(1)


def _print(results: list[ParityResult]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("file", "scorer", "profile", "repo@commit"):
        table.add_column(name, overflow="fold")
    for name in ("cases", "tolerance", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ok")
    for r in results:
        size = f"{r.difference:.1e}" if r.difference and math.isfinite(r.difference) else str(r.difference)
        words = [r.file, r.scorer, r.profile, r.official, str(len(r.cases)), f"{r.tolerance:g}", size]
        table.add_row(*words, "yes" if r.ok else "NO")
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge to fold at
    console.print(table)
    for r in results:
        wrong = [c for c in r.cases if c.where]
        for case in wrong[:SHOWN]:
            console.print(f"{r.file}: case {case.name!r} disagrees at {case.where}")
        if len(wrong) > SHOWN:
            console.print(f"{r.file}: … and {len(wrong) - SHOWN} more cases")
