"""The verb ``data`` (``status``, ``check``, ``sample``), found by :mod:`visenv.cli` through its entry point."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from visenv.tasks.benchmark import Benchmark, data_root

from visenv import plugins
from visenv.cli import add_verb
from visenv.env import default_split
from visenv.errors import bad_value, say, short, stops_the_process, unknown_name
from visenv.task import Sample, Task

from .data_audit import Audit, audit_data
from .data_status import TaskStatus, benchmark_behind, examine_data, make_task_at
from .data_table import print_audit, print_status
from .progress import counting
from .sampling import choose_indices
from .sheets import Unmade, columns_for, draw_sheet

__all__ = ["data"]

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
TILE_PX = {1: 640, 2: 640, 3: 430}
"""Width of a sample on a sheet, by how many go side by side."""
QUIET = 200
"""Entries below which no line of progress is printed."""
MANY = 20
"""The same of samples to be drawn."""

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task, such as ReasonSeg.", show_default=False)]
Root = Annotated[
    Path | None, typer.Option(help="The folder that holds a folder for each benchmark; $VISENV_DATA by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def status(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Only this task; all by default.", show_default=False)
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say which benchmarks' data is there, how much of it, under which licence, and where the rest is published.

    Reads annotations, and of each split one picture; `visenv data check TASK` looks at everything.

    Examples:
      visenv data status
      visenv data status ReasonSeg --root /data
      visenv data status --json
    """
    _check_root(root)
    where = data_root(root)
    if task is not None:
        make_task_at(task, root)
    specs = plugins.names("tasks") if task is None else [task]
    found: list[TaskStatus] = []
    interrupted = False
    try:
        with counting("tasks", from_total=2) as counter:
            found.extend(examine_data(specs, root, counter))  # one by one: an interrupt leaves those before it
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        content = {"root": None if where is None else str(where), "tasks": [one.to_dict() for one in found]}
        typer.echo(json.dumps(content, indent=2))
    else:
        print_status(found, where)
    if interrupted:
        _stop(f"Interrupted: {len(found)} of {len(specs)} tasks were looked at.")


def check(
    task: TaskName,
    root: Root = None,
    split: Annotated[str | None, typer.Option(help="Only this split; all by default.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Look at every entry of a benchmark's data: files, pictures, annotations, and their number.

    Exit status 0 if nothing is wrong, 1 if something is or the data is not there, 2 for a task without data. Prints the first
    20 findings; --json has the first 10,000.

    Examples:
      visenv data check ReasonSeg
      visenv data check RefCOCO --split testA --root /data
      visenv data check COCO:annotations=mine.json --json
    """
    _check_root(root)
    benchmark = _benchmark(task, root)
    splits = [_split_of(benchmark, split)] if split is not None else list(benchmark.splits)
    typer.echo(f"Reading the annotations of {benchmark.name}: {', '.join(splits)}", err=True)
    with counting("entries", from_total=QUIET) as counter:
        audit = audit_data(benchmark, splits, counter)
    if as_json:
        typer.echo(json.dumps(audit.to_dict(), indent=2))
    else:
        print_audit(audit)
    if not audit.complete:
        _stop(_how_far(audit))
    if audit.num_findings:
        raise typer.Exit(1)


def sample(
    task: TaskName,
    out: Annotated[Path, typer.Option(help="The picture: NAME.png or NAME.jpg.", show_default=False)],
    root: Root = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples; val by default, or the task's first split.", show_default=False)
    ] = None,
    level: Annotated[int | None, typer.Option(min=1, max=3, help="Difficulty; the first by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many samples.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which ones: those that bench takes with this --limit.")] = 0,
) -> None:
    """Draw samples with their truth on one sheet, to look at.

    Masks are outlined, ignored regions hatched, boxes coloured by label; a choice, a count and "no target" are said in words.

    Examples:
      visenv data sample ReasonSeg --out sheet.png
      visenv data sample EmojiDense --level 2 --limit 4 --out dense.jpg
    """
    _check_root(root)
    if out.suffix.lower() not in FORMATS:
        raise bad_value("--out", str(out), expected="a name that ends in .png or .jpg")
    made = make_task_at(task, root)
    name = default_split(made) if split is None else _split_of(made, split)
    chosen_level = made.levels[0] if level is None else level
    size = made.num_samples(name, chosen_level)
    indices = choose_indices(size, limit, seed=seed, where=f"{made.name}/{name}/{chosen_level}")
    if not indices:
        raise bad_value("split", name, expected=f"one with samples, on this disk; {made.name!r} has none in it")
    out.parent.mkdir(parents=True, exist_ok=True)
    samples: list[Sample | Unmade] = []
    try:
        with counting("samples", from_total=MANY) as counter:
            for index in indices:
                samples.append(_made(made, name, chosen_level, index))
                counter(len(samples), len(indices))
        of = "" if size is None else f" of {size:,}"
        shown = f"{made.name}, {name}" + (f", level {chosen_level}" if len(made.levels) > 1 else "")
        title = f"{shown}: {len(samples)}{of} samples, seed {seed}"
        columns = columns_for(samples)
        sheet = draw_sheet(samples, title=title, columns=columns, tile_px=TILE_PX[columns])
        content = io.BytesIO()
        sheet.save(content, FORMATS[out.suffix.lower()], quality=90)
        out.write_bytes(content.getvalue())
    except KeyboardInterrupt:
        _stop(f"Interrupted: {len(samples)} of {len(indices)} samples were made, nothing was written.")
    typer.echo(f"{out}: {len(samples)}{of} samples of {shown}, {sheet.width} x {sheet.height} px")
    unmade = [one for one in samples if isinstance(one, Unmade)]
    for one in unmade:
        print(f"visenv: {one.id} cannot be made: {one.why}", file=sys.stderr)
    if unmade:
        raise typer.Exit(1)


def _check_root(root: Path | None) -> None:
    if root is not None and not root.is_dir():
        raise bad_value("--root", str(root), expected="a folder that holds a folder for each benchmark")


def _benchmark(spec: str, root: Path | None) -> Benchmark[Any]:
    """Return the benchmark whose data a task shows.

    Raises:
        BadValueError: The task has no data.
    """
    if benchmark_behind(make_task_at(spec, None)) is None:
        raise bad_value(
            "task", spec, expected="one that reads data from a disk", remedy="This one makes its samples: there is nothing to check."
        )  # fmt: skip
    found = benchmark_behind(make_task_at(spec, root))
    assert found is not None
    return found


def _split_of(task: Task | Benchmark[Any], split: str) -> str:
    """Return a split by its name in any case of letters."""
    by_lower = {name.lower(): name for name in task.splits}
    if split.lower() not in by_lower:
        raise unknown_name("split", split, task.splits, remedy="Use one of these.")
    return by_lower[split.lower()]


def _made(task: Task, split: str, level: int, index: int) -> Sample | Unmade:
    try:
        return task.sample(split, level, index)
    except BaseException as error:  # the boundary to files of others
        if stops_the_process(error):
            raise
        return Unmade(f"{task.name}/{split}/{level}/{index}", short(say(error), 600))


def _how_far(audit: Audit) -> str:
    total = sum(split.samples or 0 for split in audit.splits.values())
    return f"Interrupted: {audit.num_audited} of {total} entries were looked at."


def _stop(words: str) -> None:
    print(words, file=sys.stderr)
    raise typer.Exit(130)


data = typer.Typer(
    help="Say which benchmarks' data is here, check it, and look at samples.",
    epilog="\b\nExamples:\n  visenv data status\n  visenv data check ReasonSeg\n  visenv data sample ReasonSeg --out sheet.png",
    no_args_is_help=True,
)
for function in (status, check, sample):
    add_verb(data, function.__name__, function)
