"""From records to rows of numbers: everything the board shows is computed here, from records alone."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from visenv.task import Profile

from .records import AgentInfo, EpisodeRecord, RunInfo, TaskInfo, plain
from .rundir import latest
from .statistics import clustered_mean

__all__ = ["Beside", "Summary", "SummaryRow", "digest_of", "slim", "summarise"]

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Beside:
    """The same answers scored by a further profile of the task. It makes no score and no place."""

    source: str
    """The code it agrees with, or that none was compared."""
    metrics: dict[str, float | None]
    """Its published metrics; empty unless every scored episode has a row by it."""
    undefined: dict[str, str]
    """Why a metric is ``None``, where the profile says it."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SummaryRow:
    """One agent on one task. Means are over the ``n`` episodes that did not fail."""

    agent: str
    task: str
    task_version: str
    split: str
    level: int
    n: int
    """Episodes with a score."""
    of: int
    """Episodes asked."""
    primary: float | None
    """Mean primary score."""
    standard_error: float | None
    """Clustered."""
    ci_low: float | None
    """The 95 % confidence interval, cut to [0, 1], where the score lies."""
    ci_high: float | None
    num_clusters: int
    profile: str
    """Name of the profile of ``primary`` and ``metrics``."""
    profile_source: str
    """The code it agrees with, or that none was compared."""
    metrics: dict[str, float | None]
    """The profile's published metrics."""
    undefined: dict[str, str]
    """Why a metric is ``None``, where the profile says it."""
    also: dict[str, Beside]
    """The task's further profiles by name."""
    failures: int
    """Episodes that failed for our reasons and have no score."""
    reasons: dict[str, int]
    """How the episodes ended."""
    turns: float | None
    tool_calls: float | None
    invalid_calls: float | None
    visual_tokens: float | None
    """Mean over episodes of the sum over prompts."""
    max_visual_tokens: int | None
    """Of the largest prompt of any episode."""
    reward: float | None
    privileged: bool
    """The agent knew the truth: not ranked."""
    attempts: float | None
    """Mean number of tries of an episode; above 1 when failures of ours were tried again. Differs from run to run."""
    measured: dict[str, float]
    """Mean ``seconds`` of an episode among its neighbours, the largest ``peak_memory_mib`` of a process, and the means of what
    players said that episodes cost, such as ``prompt_tokens``, if all of them did; they differ from run to run."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Summary:
    """``summary.json``."""

    rows: tuple[SummaryRow, ...]
    complete: bool
    """Whether every episode asked has a score."""
    records_sha256: str
    """Of the file of records that the rows were computed from."""
    format: Literal[2] = 2

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``summary.json``."""
        return dict(plain(dataclasses.asdict(self)))


def summarise(
    info: RunInfo, records: Iterable[EpisodeRecord], profiles: Mapping[str, Sequence[Profile]], *, digest: str
) -> Summary:
    """Compute a run's rows, task by task, agents in the order of the run.

    Args:
        info: What was asked.
        records: In any order; of an episode's several records the latest that did not fail counts.
        profiles: Of each task: the one that makes the score, then those beside it (:func:`visenv.task.profiles_of`).
        digest: Of the file of records, from :func:`digest_of`.
    """
    by_row: dict[tuple[str, str], list[EpisodeRecord]] = {}
    for key, record in sorted(latest(records).items()):
        by_row.setdefault((key[0], key[1]), []).append(record)
    rows = tuple(
        _row(agent, task, by_row.get((agent.name, task.name), []), profiles[task.name])
        for task in info.tasks
        for agent in info.agents
    )
    return Summary(rows=rows, complete=all(row.n == row.of for row in rows), records_sha256=digest)


def slim(record: EpisodeRecord) -> EpisodeRecord:
    """Return a record without what no number comes from, so that many can be held."""
    return dataclasses.replace(record, transcript=(), objects=(), images={})


def digest_of(run: Path) -> str:
    """Return the hex SHA-256 of a run directory's records, a torn last line left out."""
    digest = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError), (run / "episodes.jsonl").open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                digest.update(line)
    return digest.hexdigest()


def _row(agent: AgentInfo, task: TaskInfo, records: Sequence[EpisodeRecord], profiles: Sequence[Profile]) -> SummaryRow:
    profile, *others = profiles
    scored = [r for r in records if not r.failed and r.row is not None]
    rows = [r.row for r in scored if r.row is not None]
    metrics = _metrics(profile, rows)
    estimate = clustered_mean([profile.primary(row) for row in rows], [r.cluster for r in scored], bounds=(0.0, 1.0))
    return SummaryRow(
        agent=agent.name, task=task.name, task_version=task.version, split=task.split, level=task.level,
        n=len(scored), of=task.num_samples,
        primary=estimate.mean, standard_error=estimate.standard_error,
        ci_low=None if estimate.low is None else max(0.0, estimate.low),
        ci_high=None if estimate.high is None else min(1.0, estimate.high),
        num_clusters=estimate.num_clusters, profile=profile.name, profile_source=profile.source,
        metrics=metrics, undefined=_undefined(profile, metrics), also={p.name: _beside(p, scored) for p in others},
        failures=sum(r.failed for r in records),
        reasons=dict(sorted(Counter(r.reason for r in records).items())),
        turns=_mean([r.costs.turns for r in scored]), tool_calls=_mean([r.costs.tool_calls for r in scored]),
        invalid_calls=_mean([r.costs.invalid_calls for r in scored]),
        visual_tokens=_mean([r.costs.visual_tokens for r in scored]),
        max_visual_tokens=max((r.costs.max_visual_tokens for r in scored), default=None),
        reward=_mean([r.reward for r in scored]), privileged=agent.privileged,
        attempts=_mean([r.attempts for r in scored]), measured=_measured(scored),
    )  # fmt: skip


def _metrics(profile: Profile, rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    if not rows:
        return {}
    found = plain(dict(profile.aggregate(rows)))
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _undefined(profile: Profile, metrics: Mapping[str, float | None]) -> dict[str, str]:
    return {
        name: profile.undefined[name] for name, value in metrics.items() if value is None and name in profile.undefined
    }


def _beside(profile: Profile, records: Sequence[EpisodeRecord]) -> Beside:
    rows = [r.also[profile.name] for r in records if profile.name in r.also]
    metrics = _metrics(profile, rows) if len(rows) == len(records) else {}  # of some records alone it would mislead
    return Beside(source=profile.source, metrics=metrics, undefined=_undefined(profile, metrics))


def _measured(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    if not records:
        return {}
    said = set.intersection(*(set(r.measured) for r in records)) - {"seconds", "peak_memory_mib"}
    return {
        **{name: round(_mean([r.measured[name] for r in records]) or 0.0, 6) for name in sorted(said)},
        "seconds": round(_mean([r.measured.get("seconds", 0.0) for r in records]) or 0.0, 4),
        "peak_memory_mib": max(r.measured.get("peak_memory_mib", 0.0) for r in records),
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
