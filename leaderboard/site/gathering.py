"""Reading the runs of a site, and the rows of its tables. What is read was written by others."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visenv.errors import BadValueError, bad_value, short
from visenv.task import Profile, profiles_of

from ..cast import PRIVILEGED
from ..records import EpisodeRecord, Key, RunInfo, TaskInfo
from ..rundir import latest
from ..safe_files import parse_json, read_json, read_lines
from ..shelf import TaskShelf
from ..summary import Summary, SummaryRow, summarise
from ..table import ranked

__all__ = ["Place", "Run", "find_blocks", "overall_rows", "read_runs", "table_rows"]

Place = tuple[str, str, str, int]
"""Task, its version, split and level: what has one table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run directory, read."""

    path: Path
    label: str
    """The folder's name, told apart from the others."""
    info: RunInfo
    """As the run states it, but for who knew the truth: that is known by name."""
    records: Mapping[Key, EpisodeRecord]
    """The record of each episode that counts."""
    summary: Summary


def read_runs(paths: Sequence[Path], shelf: TaskShelf) -> list[Run]:
    """Read run directories; one that is given twice counts once.

    Raises:
        BadValueError: One is no run directory, or holds what is no record, no plain file, or no score.
    """
    runs: list[Run] = []
    for path in dict.fromkeys(p.resolve() for p in paths):
        if not path.is_dir():
            raise bad_value("dir", str(path), expected="a run directory", remedy="Make one with `visenv bench`.")
        info = _info(path)
        records, digest = _records(path)
        names = {run.label for run in runs}
        label = next(n for i in range(len(runs) + 1) if (n := path.name + (f" ({i + 1})" if i else "")) not in names)
        summary = _summary(path, info, records, shelf, digest)
        runs.append(Run(path=path, label=label, info=info, records=records, summary=summary))
    return runs


def _info(run: Path) -> RunInfo:
    """Return a run's settings, with the agents that know the truth marked by their names, whatever the file says."""
    path = run / "run.json"
    if path.exists() or path.is_symlink():
        read_json(path)  # refuses what is no plain file, too large or nested too deeply
    info = RunInfo.read(run)
    for what, names in (("agent", [a.name for a in info.agents]), ("task", [t.name for t in info.tasks])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise bad_value(f"{what} of {str(path)!r}", twice[0], expected=f"each {what} once")
    agents = tuple(
        dataclasses.replace(a, privileged=a.name.partition(":")[0].strip().lower() in PRIVILEGED) for a in info.agents
    )
    return dataclasses.replace(info, agents=agents)


def _records(run: Path) -> tuple[dict[Key, EpisodeRecord], str]:
    """Return the records that count, and the SHA-256 of all of them."""
    path = run / "episodes.jsonl"
    digest = hashlib.sha256()
    found: list[EpisodeRecord] = []
    if path.exists() or path.is_symlink():
        for number, line in enumerate(read_lines(path), 1):
            if line.endswith(b"\n"):  # a crash may have torn the last one
                digest.update(line)
                found.append(_record(f"{path}, line {number}", line))
    return latest(found), digest.hexdigest()


def _record(where: str, line: bytes) -> EpisodeRecord:
    try:
        text = line.decode("utf-8")
        if "NaN" in text or "Infinity" in text:
            parse_json(text)  # refuses them as numbers
        record = EpisodeRecord.from_json(text)
    except (ValueError, RecursionError) as error:  # BadValueError and UnicodeDecodeError too
        raise BadValueError(f"{where}: {error}") from error
    if record.score is not None and not 0 <= record.score <= 1:
        raise bad_value(f"score ({where})", record.score, expected="a number from 0 to 1")
    return record


def _summary(path: Path, info: RunInfo, records: Mapping[Key, EpisodeRecord], shelf: TaskShelf, digest: str) -> Summary:
    profiles: dict[str, tuple[Profile, ...]] = {}
    kept = dict(records)
    for asked in info.tasks:
        task = shelf.get(asked.name, asked.version)
        if not isinstance(task, str):
            profiles[asked.name] = profiles_of(task)
            continue
        mine = {k: r for k, r in records.items() if r.task == asked.name}
        profiles[asked.name] = (_as_recorded(next((r.profile for r in mine.values()), asked.name), task),)
        kept |= {
            k: dataclasses.replace(r, row=None if r.score is None else {"score": r.score}) for k, r in mine.items()
        }
    try:
        return summarise(info, kept.values(), profiles, digest=digest)
    except Exception as error:  # rows that somebody made up, in a profile's own code
        raise BadValueError(
            f"The rows of {str(path)!r} are none that their profile makes "
            f"({type(error).__name__}: {short(str(error))}). "
            "Expected what `visenv bench` writes. See what is wrong with `visenv verify`."
        ) from error


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


def table_rows(
    runs: Sequence[Run], place: Place, forged: Sequence[bool] | None = None
) -> list[tuple[str, int, SummaryRow]]:
    """Return the rows of one table best first: place as text, number of the run, row.

    Args:
        runs: The runs of the site.
        place: Of the table.
        forged: By run, whether its scores are not those of its records; such rows have ``!`` for a place and come after
            those that have one.
    """
    owner: dict[int, int] = {}
    honest: list[SummaryRow] = []
    others: list[SummaryRow] = []
    for number, run in enumerate(runs):
        for row in run.summary.rows:
            if (row.task, row.task_version, row.split, row.level) == place:
                owner[id(row)] = number
                (others if forged is not None and forged[number] else honest).append(row)
    rows = ranked(honest)
    last = next((i for i, (_, row) in enumerate(rows) if row.privileged), len(rows))
    rows[last:last] = [("!", row) for _, row in ranked(others)]
    return [(at, owner[id(row)], row) for at, row in rows]


def overall_rows(
    runs: Sequence[Run], places: Sequence[Place], forged: Sequence[bool] | None = None
) -> list[dict[str, Any]]:
    """Return each agent's mean of the tasks' primary scores, best first; empty when there is one task only.

    An agent without a score on every task has no mean. Places are given as in the tables of the tasks.
    """
    if len(set(places)) < 2:
        return []
    found: list[dict[str, Any]] = []
    for number, run in enumerate(runs):
        for agent in run.info.agents:
            mine = {(r.task, r.task_version, r.split, r.level): r for r in run.summary.rows if r.agent == agent.name}
            rows = [mine[place] for place in dict.fromkeys(places) if place in mine]
            scored = [row for row in rows if row.primary is not None]
            mean, low, high = _equal_weights(scored) if len(scored) == len(set(places)) else (None, None, None)
            found.append(
                {
                    "run": number, "agent": agent.name, "privileged": agent.privileged, "scored": len(scored),
                    "of": len(set(places)), "failures": sum(row.failures for row in rows), "mean": mean, "low": low,
                    "high": high,
                    "complete": len(rows) == len(set(places)) and all(row.n == row.of for row in rows),
                    "forged": forged is not None and forged[number],
                }
            )  # fmt: skip
    found.sort(
        key=lambda f: (f["privileged"], f["forged"], not f["complete"], -(f["mean"] or 0.0), f["agent"], f["run"])
    )
    for at, row in enumerate(found, 1):
        row["place"] = "!" if row["forged"] else "*" if row["privileged"] else str(at) if row["complete"] else "-"
    return found


def _equal_weights(rows: Sequence[SummaryRow]) -> tuple[float, float | None, float | None]:
    """Return the mean of the tasks' scores with its 95 % interval; tasks count the same and are independent.

    The distances of the tasks' own limits from their means add as variances do, so a task whose scores are all equal
    (standard error 0) brings the interval that it has and not none.

    Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: A general approach",
    Statistics in Medicine 27 (2008), equation for sums, with weights 1 / number of tasks.
    """
    means = [row.primary for row in rows if row.primary is not None]
    mean = math.fsum(means) / len(means)
    if any(row.ci_low is None or row.ci_high is None for row in rows):
        return mean, None, None
    below = math.hypot(*[m - (row.ci_low or 0.0) for m, row in zip(means, rows, strict=True)]) / len(means)
    above = math.hypot(*[(row.ci_high or 0.0) - m for m, row in zip(means, rows, strict=True)]) / len(means)
    return mean, max(0.0, mean - below), min(1.0, mean + above)
