"""Which benchmarks have their data on this disk: annotations are read, and one picture of each split is looked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from visenv.tasks.benchmark import Benchmark

from visenv import plugins
from visenv.env import make_task
from visenv.errors import MissingDataError, MissingExtraError, VisenvError, say, stops_the_process
from visenv.specs import name_of
from visenv.task import Task
from visenv.wrappers import PermutedTask

from .shelf import task_label

__all__ = ["SplitStatus", "State", "TaskStatus", "benchmark_behind", "examine_data", "folder_of", "make_task_at"]

State = Literal["present", "other size", "partly", "missing", "damaged", "needs extra", "made", "broken"]
"""``other size``: as many samples as there are officially are not there; ``partly``: something is missing; ``damaged``: something
cannot be read; ``needs extra``: an extra of visenv is needed to read it; ``made``: the task needs no data; ``broken``: the task itself
cannot be used."""
WORST: tuple[State, ...] = ("damaged", "needs extra")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitStatus:
    """One split on this disk."""

    samples: int | None
    """``None`` where the annotations cannot be read."""
    official: int | None
    """``None`` where no official number is known."""
    state: State
    problem: str | None = None
    """What is wrong, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStatus:
    """The data of one task."""

    task: str
    """Its name, with options."""
    state: State
    data_of: str | None = None
    """The benchmark whose data it shows in another way."""
    folder: str | None = None
    """Where it is looked for; ``None`` without a data root, and for tasks without data."""
    splits: dict[str, SplitStatus] = field(default_factory=dict)
    licence: str | None = None
    published: str | None = None
    """Where its authors publish it."""
    problem: str | None = None
    """What is wrong with the task itself, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def make_task_at(spec: str, root: Path | None) -> Task:
    """Make a task by name, with options, that looks for its data under ``root``, or where it is usual.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or takes no root.
    """
    return make_task(spec) if root is None else make_task(spec, root=root)


def benchmark_behind(task: Task) -> Benchmark[Any] | None:
    """Return the benchmark whose files a task reads: itself, or the one that it wraps; ``None`` for a task without data."""
    while isinstance(task, PermutedTask):
        task = task.task
    return task if isinstance(task, Benchmark) else None


def folder_of(benchmark: Benchmark[Any]) -> str | None:
    """Return where a benchmark's data is looked for; ``None`` without a data root."""
    try:
        return str(benchmark.root)
    except MissingDataError:
        return None


def examine_data(
    specs: list[str], root: Path | None, progress: Callable[[int, int], object] = lambda done, total: None
) -> Iterator[TaskStatus]:
    """Look at the data of tasks, one after the other. Whatever is wrong with one is in its own status.

    Args:
        specs: Names of tasks, with options.
        root: The data root; ``None`` for the usual one.
        progress: Told how many are done, of how many.
    """
    seen: dict[str, TaskStatus] = {}
    for done, spec in enumerate(specs):
        progress(done, len(specs))
        try:
            found = _examine(spec, root, seen)
        except BaseException as error:  # somebody else's class runs here: whatever it raises is its breakage
            if stops_the_process(error):
                raise
            found = TaskStatus(task=spec, state="broken", problem=_words(error))
        seen[found.task] = found
        yield found
    progress(len(specs), len(specs))


def _examine(spec: str, root: Path | None, seen: dict[str, TaskStatus]) -> TaskStatus:
    takes_root = "root" in inspect.signature(plugins.load("tasks", name_of(spec))).parameters
    task = make_task_at(spec, root if takes_root else None)
    label = task_label(spec)
    benchmark = benchmark_behind(task)
    if benchmark is None:
        return TaskStatus(task=label, state="made")
    if benchmark is not task:
        found = seen.get(benchmark.name) or _examine_benchmark(benchmark, label)
        return replace(found, task=label, data_of=benchmark.name)
    return _examine_benchmark(benchmark, label)


def _examine_benchmark(benchmark: Benchmark[Any], label: str) -> TaskStatus:
    splits = {split: _examine_split(benchmark, split) for split in benchmark.splits}
    return TaskStatus(
        task=label, state=_state_of([split.state for split in splits.values()]), folder=folder_of(benchmark), splits=splits,
        licence=benchmark.licence, published=benchmark.published,
    )  # fmt: skip


def _examine_split(benchmark: Benchmark[Any], split: str) -> SplitStatus:
    official = benchmark.sizes.get(split)
    try:
        samples = benchmark.num_samples(split, 1)
    except BaseException as error:  # the boundary to files of others
        if stops_the_process(error):
            raise
        return SplitStatus(samples=None, official=official, state=_state_after(error), problem=_words(error))
    problem = _missing_picture(benchmark, split)
    expected: State = "present" if official in (None, samples) else "other size"
    return SplitStatus(samples=samples, official=official, state="partly" if problem else expected, problem=problem)


def _missing_picture(benchmark: Benchmark[Any], split: str) -> str | None:
    """Say whether the first sample's picture is missing; what else may be wrong with it is the audit's business."""
    try:
        benchmark.sample(split, 1, 0)
    except MissingDataError as error:
        return f"pictures are missing, the first one at {error.looked}"
    except BaseException as error:  # the boundary to files of others
        if stops_the_process(error):
            raise
    return None


def _state_of(states: list[State]) -> State:
    """Return what several splits are together."""
    for worst in WORST:
        if worst in states:
            return worst
    if len(set(states)) == 1:
        return states[0]
    return "other size" if set(states) == {"present", "other size"} else "partly"


def _state_after(error: BaseException) -> State:
    if isinstance(error, MissingExtraError):
        return "needs extra"
    return "missing" if isinstance(error, FileNotFoundError) else "damaged"


def _words(error: BaseException) -> str:
    if isinstance(error, MissingDataError) and error.what:
        return error.what
    return str(error) if isinstance(error, VisenvError) else say(error)
