"""Two runs, or two agents of one, compared sample by sample."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import special

from visenv.errors import BadValueError, VisenvError, bad_value, short, unknown_name
from visenv.specs import name_of

from .comparison import (
    EQUAL,
    AgentComparison,
    Comparison,
    OverallComparison,
    SampleDifference,
    TaskComparison,
)
from .records import EpisodeRecord, RunInfo, TaskInfo
from .rundir import latest
from .safe_files import printable, read_lines
from .shelf import task_label
from .statistics import paired_difference

__all__ = ["Comparison", "compare_runs"]

LARGEST = 5
"""Samples with the largest differences that are listed for each task."""
CONFIDENCE = 0.95
PLAN = ("agents", "tasks", "limit")
"""Settings that may differ between runs: what they share is compared."""


@dataclass(frozen=True, slots=True)
class _Run:
    path: Path
    info: RunInfo
    records: dict[tuple[str, str], dict[int, EpisodeRecord]]
    """By agent and task, then by index."""

    @classmethod
    def read(cls, path: Path) -> _Run:
        info = RunInfo.read(path)
        asked = {t.name: (t.version, t.split, t.level) for t in info.tasks}
        records: dict[tuple[str, str], dict[int, EpisodeRecord]] = {}
        for record in latest(_records(path / "episodes.jsonl")).values():
            if asked.get(record.task) != (record.task_version, record.split, record.level):
                raise BadValueError(
                    f"{str(path)!r} has a record of {short(record.sample_id)} that its run.json does not ask for. "
                    f"Expected a run as `visenv bench` leaves it. Check it with `visenv verify {path}`."
                )
            records.setdefault((record.agent, record.task), {})[record.index] = record
        return cls(path, info, records)

    @property
    def agents(self) -> list[str]:
        return [a.name for a in self.info.agents]


def _records(path: Path) -> Iterator[EpisodeRecord]:
    """Read records, a torn last line left out, without what is not compared."""
    try:
        for number, line in enumerate(read_lines(path), 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = EpisodeRecord.from_json(line.decode("utf-8"))
            except ValueError as error:  # BadValueError and UnicodeDecodeError
                raise BadValueError(f"{path}, line {number}: {error}") from error
            yield dataclasses.replace(record, answer=None, transcript=(), objects=(), images={})
    except FileNotFoundError:
        return


def compare_runs(
    first: str | Path,
    second: str | Path | None = None,
    *,
    agents: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> Comparison:
    """Compare two runs, or two agents of one run, on the samples that both have a score for.

    Args:
        first: A run directory.
        second: Another; ``None`` compares two agents of the first.
        agents: One name for both runs, or the first's and the second's. By default every agent that both runs have is
            compared with itself; if each run has a single one, these two are.
        tasks: Only these.

    Raises:
        BadValueError: No run directory, nothing in common, or scores that are not comparable: other versions of a task
            or other profiles.
        UnknownNameError: An agent or task that the runs do not have.
    """
    a = _Run.read(Path(first))
    b = a if second is None else _Run.read(Path(second))
    notes: list[str] = []
    problems: list[str] = []
    pairs = _pairs(a, b, agents, notes, alone=second is None)
    shared = _shared_tasks(a, b, None if tasks is None else [_called(task) for task in tasks], notes)
    knowing = {i.name for run in (a, b) for i in run.info.agents if i.privileged}
    found = []
    for one, other in pairs:
        compared = tuple(_compare(t, a, b, one, other, problems) for t in shared)
        found.append(
            AgentComparison(
                first=one, second=other, privileged=tuple(n for n in dict.fromkeys((one, other)) if n in knowing),
                tasks=compared, overall=_overall(compared),
            )
        )  # fmt: skip
    if a is not b:
        kept = [getattr(a.info, name) for name in PLAN]
        differ = a.info.differences(dataclasses.replace(b.info, **dict(zip(PLAN, kept, strict=True))))
        notes += [f"The runs differ in {printable(what, 300)}." for what in differ]
    intervals = [
        one for pair in found for one in (*pair.tasks, pair.overall) if one is not None and one.low is not None
    ]
    if len(intervals) > 1:
        notes.append(f"{len(intervals)} comparisons, each at {CONFIDENCE:.0%}: together they err more often.")
    return Comparison(
        first=str(a.path), second=str(b.path), agents=tuple(found), problems=tuple(dict.fromkeys(problems)),
        notes=tuple(notes),
    )  # fmt: skip


def _pairs(a: _Run, b: _Run, agents: Sequence[str] | None, notes: list[str], *, alone: bool) -> list[tuple[str, str]]:
    """Say which agents are compared."""
    if agents is not None:
        if not 1 <= len(agents) <= 2 or (alone and len(agents) != 2):
            raise bad_value(
                "agent", ",".join(agents), expected="two agents" if alone else "one agent, or two",
                remedy="Give them as --agent A,B.",
            )  # fmt: skip
        return [(_agent(a, agents[0]), _agent(b, agents[-1]))]
    if alone:
        raise bad_value("agent", agents, expected="two agents of one run", remedy="Give --agent A,B, or a second run.")
    common = [name for name in a.agents if name in b.agents]
    if common:
        left = [n for n in [*a.agents, *b.agents] if n not in common]
        if left:
            notes.append(f"Left out, in one run only: {', '.join(map(printable, left))}.")
        return [(name, name) for name in common]
    if len(a.agents) == len(b.agents) == 1:
        return [(a.agents[0], b.agents[0])]
    raise bad_value(
        "agent", None, expected=f"a choice, because no agent is in both runs (A: {', '.join(map(printable, a.agents))}; "
        f"B: {', '.join(map(printable, b.agents))})", remedy="Give --agent A,B.",
    )  # fmt: skip


def _agent(run: _Run, name: str) -> str:
    for known in run.agents:
        if known.lower() == name.lower():
            return known
    raise unknown_name("agent", name, run.agents, remedy=f"It is not in {str(run.path)!r}.")


def _called(task: str) -> str:
    """Return how a run calls a task, its options in whatever order; as given, if it is not installed."""
    try:
        return task_label(task)
    except VisenvError:
        return task


def _sample(record: EpisodeRecord) -> str:
    """Say which sample; its id is the same whatever options the task has."""
    of = "" if name_of(record.task) == record.task else f" of {printable(record.task)}"
    return f"{printable(record.sample_id)}{of}"


def _shared_tasks(a: _Run, b: _Run, tasks: Sequence[str] | None, notes: list[str]) -> list[TaskInfo]:
    """Return the tasks that both asked, of one version, split and level."""
    ours, theirs = ({t.name: t for t in run.info.tasks} for run in (a, b))
    wanted = None if tasks is None else {t.lower() for t in tasks}
    for name in tasks or ():
        if name.lower() not in {n.lower() for n in ours} & {n.lower() for n in theirs}:
            raise unknown_name("task", name, set(ours) & set(theirs), remedy="Both runs must have it.")
    shared, left = [], [n for n in theirs if n not in ours and wanted is None]
    for name, ours_ in ours.items():
        if wanted is not None and name.lower() not in wanted:
            continue
        other = theirs.get(name)
        if other is None:
            left.append(name)
            continue
        if ours_.version != other.version:
            raise BadValueError(
                f"Task {name!r} is of version {short(ours_.version)} in A and {short(other.version)} in B. Expected one "
                "version: the scores of two are not comparable. Run one of them again."
            )
        if (ours_.split, ours_.level) != (other.split, other.level):
            there = [f"{printable(t.split)}, level {t.level}" for t in (ours_, other)]
            notes.append(f"Left out: {printable(name)} is {there[0]} in A and {there[1]} in B.")
            continue
        shared.append(ours_)
    if left:
        notes.append(f"Left out, in one run only: {', '.join(map(printable, left))}.")
    if not shared:
        raise BadValueError(
            f"{str(a.path)!r} and {str(b.path)!r} have no task of one split and level in common. Expected at least one. "
            "Compare runs of the same task."
        )
    return shared


def _compare(task: TaskInfo, a: _Run, b: _Run, one: str, other: str, problems: list[str]) -> TaskComparison:
    """Compare two agents on one task."""
    ours, theirs = a.records.get((one, task.name), {}), b.records.get((other, task.name), {})
    profile = _profile(task, [*ours.values(), *theirs.values()])
    shared = sorted(ours.keys() & theirs.keys())
    samples: dict[Any, SampleDifference] = {}
    for index in shared:
        x, y = ours[index], theirs[index]
        if x.score is None or y.score is None or x.failed or y.failed:
            continue
        if (x.target, x.sample_id, x.cluster) != (y.target, y.sample_id, y.cluster):
            problems.append(f"{_sample(x)} has another target in A than in B; it is left out.")
            continue
        samples[index] = SampleDifference(sample_id=x.sample_id, first=x.score, second=y.score)
    first, second = {i: s.first for i, s in samples.items()}, {i: s.second for i, s in samples.items()}
    differences = [s.difference for s in samples.values()]
    estimate = paired_difference(first, second, {i: ours[i].cluster for i in samples}, confidence=CONFIDENCE)
    all_equal = estimate.num_clusters > 1 and max(differences) - min(differences) <= EQUAL
    known = estimate.standard_error is not None and not all_equal
    largest = sorted((s for s in samples.values() if abs(s.difference) > EQUAL), key=lambda s: -abs(s.difference))
    return TaskComparison(
        task=task.name, task_version=task.version, split=task.split, level=task.level, profile=profile, n=estimate.n,
        num_clusters=estimate.num_clusters, mean_first=_mean(first.values()), mean_second=_mean(second.values()),
        difference=estimate.mean, standard_error=estimate.standard_error if known else None,
        low=max(-1.0, estimate.low or 0.0) if known else None, high=min(1.0, estimate.high or 0.0) if known else None,
        all_equal=all_equal, could_differ=1 - (1 - CONFIDENCE) ** (1 / estimate.num_clusters) if all_equal else None,
        wins=sum(d > EQUAL for d in differences), ties=sum(abs(d) <= EQUAL for d in differences),
        losses=sum(d < -EQUAL for d in differences),
        failed_first=sum(ours[i].failed for i in shared), failed_second=sum(theirs[i].failed for i in shared),
        missing_first=len(theirs) - len(shared), missing_second=len(ours) - len(shared),
        largest=tuple(largest[:LARGEST]),
    )  # fmt: skip


def _profile(task: TaskInfo, records: Sequence[EpisodeRecord]) -> str:
    """Return the one profile of all scores."""
    names = sorted({r.profile for r in records if not r.failed})
    if len(names) > 1:
        raise BadValueError(
            f"Task {task.name!r} is scored by {' and by '.join(map(short, names))}. Expected one profile: the scores of two "
            "are not comparable. Run one of them again."
        )
    return names[0] if names else ""


def _overall(tasks: Sequence[TaskComparison]) -> OverallComparison | None:
    """Average the tasks' differences; degrees of freedom as Welch and Satterthwaite have them.

    A task whose differences are all equal gives no standard error. What its samples leave open is added as it is: a
    share of clusters (as :func:`clustered_mean` bounds it) could differ by anything from -1 to 1. Each of these bounds and
    the interval of the other tasks take their part of the error that is allowed, so that all hold together (Bonferroni).

    Source: F. E. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin
    2 (1946), for a sum of independent means with unequal variances.
    """
    differences = [t.difference for t in tasks if t.difference is not None]
    if len(tasks) < 2 or len(differences) < len(tasks):
        return None
    mean = math.fsum(differences) / len(tasks)
    equal = [(t.difference, t.num_clusters) for t in tasks if t.all_equal and t.difference is not None]
    errors = [(t.standard_error, t.num_clusters - 1) for t in tasks if t.standard_error]
    if not errors or len(errors) + len(equal) < len(tasks):
        return OverallComparison(
            num_tasks=len(tasks), difference=mean, standard_error=None, saturated=len(equal), low=None, high=None
        )
    allowed = (1 - CONFIDENCE) / (1 + len(equal))
    variance = math.fsum(e**2 for e, _ in errors)
    freedom = variance**2 / math.fsum(e**4 / df for e, df in errors)
    error = math.sqrt(variance) / len(tasks)
    half = float(special.stdtrit(freedom, 1 - allowed / 2)) * error
    shares = [(d, 1 - allowed ** (1 / clusters)) for d, clusters in equal]
    below = math.fsum(share * (d + 1) for d, share in shares) / len(tasks)
    above = math.fsum(share * (1 - d) for d, share in shares) / len(tasks)
    return OverallComparison(
        num_tasks=len(tasks), difference=mean, standard_error=None if equal else error, saturated=len(equal),
        low=max(-1.0, mean - half - below), high=min(1.0, mean + half + above),
    )  # fmt: skip


def _mean(values: Collection[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
