"""Reading the runs of a site, and the rows of its tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visenv.env import make_task
from visenv.errors import UnknownNameError, bad_value, short
from visenv.task import Profile, Task

from ..records import EpisodeRecord, Key, RunInfo, TaskInfo
from ..rundir import latest, read_records
from ..summary import Summary, SummaryRow, digest_of, summarise
from ..table import ranked

__all__ = ["Place", "Run", "TaskShelf", "find_blocks", "overall_rows", "read_runs", "table_rows"]

Place = tuple[str, str, str, int]
"""Task, its version, split and level: what has one table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run directory, read."""

    path: Path
    label: str
    """The folder's name, told apart from the others."""
    info: RunInfo
    records: Mapping[Key, EpisodeRecord]
    """The record of each episode that counts."""
    summary: Summary


class TaskShelf:
    """The tasks that can be had here, and why others cannot."""

    def __init__(self, tasks: Mapping[str, Task] | None = None) -> None:
        self._given = dict(tasks or {})
        self._found: dict[str, Task | str] = {}

    def get(self, name: str, version: str) -> Task | str:
        """Return a task of this version, or why there is none."""
        if name not in self._found:
            self._found[name] = self._given.get(name) or _make(name)
        task = self._found[name]
        if isinstance(task, str) or task.version == version:
            return task
        return f"the run is of version {version} of the task, version {task.version} is installed here"


def _make(name: str) -> Task | str:
    try:
        return make_task(name)
    except UnknownNameError:
        return "the task is not installed here"
    except Exception as error:  # a task's own code, on a machine that may lack what it needs: the page does without
        return f"the task cannot be used here ({short(str(error))[1:-1]})"


def read_runs(paths: Sequence[Path], shelf: TaskShelf) -> list[Run]:
    """Read run directories; one that is given twice counts once.

    Raises:
        BadValueError: One is no run directory, or holds what is no record.
    """
    runs: list[Run] = []
    for path in dict.fromkeys(p.resolve() for p in paths):
        if not path.is_dir():
            raise bad_value("dir", str(path), expected="a run directory", remedy="Make one with `visenv bench`.")
        info = RunInfo.read(path)
        records = latest(read_records(path))
        names = {run.label for run in runs}
        label = next(n for i in range(len(runs) + 1) if (n := path.name + (f" ({i + 1})" if i else "")) not in names)
        summary = _summary(path, info, records, shelf)
        runs.append(Run(path=path, label=label, info=info, records=records, summary=summary))
    return runs


def _summary(path: Path, info: RunInfo, records: Mapping[Key, EpisodeRecord], shelf: TaskShelf) -> Summary:
    profiles: dict[str, Profile] = {}
    kept = dict(records)
    for asked in info.tasks:
        task = shelf.get(asked.name, asked.version)
        if not isinstance(task, str):
            profiles[asked.name] = task.profile
            continue
        mine = {k: r for k, r in records.items() if r.task == asked.name}
        profiles[asked.name] = _as_recorded(next((r.profile for r in mine.values()), asked.name), task)
        kept |= {
            k: dataclasses.replace(r, row=None if r.score is None else {"score": r.score}) for k, r in mine.items()
        }
    return summarise(info, kept.values(), profiles, digest=digest_of(path))


def _as_recorded(name: str, why: str) -> Profile:
    """Return a profile that takes each score as the run states it."""
    return Profile(
        name=name, source=f"scores as the run states them, not computed again: {why}",
        row=lambda target, answer: {}, aggregate=lambda rows: {}, primary=lambda row: float(row["score"]),
    )  # fmt: skip


def find_blocks(runs: Sequence[Run]) -> dict[Place, list[tuple[Run, TaskInfo]]]:
    """Return what has one table each, in the order of the runs, with the runs that have it."""
    blocks: dict[Place, list[tuple[Run, TaskInfo]]] = {}
    for run in runs:
        for task in run.info.tasks:
            blocks.setdefault((task.name, task.version, task.split, task.level), []).append((run, task))
    return blocks


def table_rows(runs: Sequence[Run], place: Place) -> list[tuple[str, int, SummaryRow]]:
    """Return the rows of one table best first: place as text, number of the run, row."""
    owner: dict[int, int] = {}
    rows: list[SummaryRow] = []
    for number, run in enumerate(runs):
        for row in run.summary.rows:
            if (row.task, row.task_version, row.split, row.level) == place:
                owner[id(row)] = number
                rows.append(row)
    return [(at, owner[id(row)], row) for at, row in ranked(rows)]


def overall_rows(runs: Sequence[Run], places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return each agent's mean of the tasks' primary scores, best first; empty when there is one task only.

    An agent without a score on every task has no mean. Places are given as in the tables of the tasks.
    """
    if len(places) < 2:
        return []
    found: list[dict[str, Any]] = []
    for number, run in enumerate(runs):
        for agent in run.info.agents:
            rows = [row for row in run.summary.rows if row.agent == agent.name]
            scores = [row.primary for row in rows if row.primary is not None]
            found.append(
                {
                    "run": number, "agent": agent.name, "privileged": agent.privileged, "scored": len(scores),
                    "of": len(places), "failures": sum(row.failures for row in rows),
                    "mean": math.fsum(scores) / len(scores) if len(scores) == len(places) else None,
                    "complete": len(rows) == len(places) and all(row.n == row.of for row in rows),
                }
            )  # fmt: skip
    found.sort(key=lambda f: (f["privileged"], not f["complete"], -(f["mean"] or 0.0), f["agent"], f["run"]))
    for at, row in enumerate(found, 1):
        row["place"] = "*" if row["privileged"] else str(at) if row["complete"] else "-"
    return found
