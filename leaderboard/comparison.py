"""What a comparison of two runs found. Plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .records import plain

__all__ = [
    "EQUAL",
    "AgentComparison",
    "Comparison",
    "OverallComparison",
    "SampleDifference",
    "TaskComparison",
]

EQUAL = 1e-12
"""Two scores nearer than this are a tie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleDifference:
    """One sample's two scores."""

    sample_id: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskComparison:
    """Two agents on the samples of one task that both have a score for."""

    task: str
    task_version: str
    split: str
    level: int
    profile: str
    n: int
    """Samples compared."""
    num_clusters: int
    mean_first: float | None
    mean_second: float | None
    difference: float | None
    """Mean of first minus second."""
    standard_error: float | None
    """Clustered; ``None`` when it cannot be estimated."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    all_equal: bool
    """Every difference is the same number: the sample does not say how much they vary, so there is no interval."""
    could_differ: float | None
    """When all are equal: the share of clusters that could differ otherwise, at most, with 95 % confidence."""
    wins: int
    """Samples on which the first is better."""
    ties: int
    losses: int
    failed_first: int
    """Samples left out because the first's record is a failure of ours."""
    failed_second: int
    missing_first: int
    """Samples that only the second has a record of."""
    missing_second: int
    largest: tuple[SampleDifference, ...]

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.all_equal:
            return "all scores equal" if abs(self.difference or 0.0) <= EQUAL else "all differences equal"
        return _verdict(self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class OverallComparison:
    """The mean of the tasks' differences, each task with equal weight."""

    num_tasks: int
    difference: float
    standard_error: float | None
    """From the tasks' own, which are independent; ``None`` unless every task has one."""
    saturated: int
    """Tasks whose differences are all equal: the interval takes for each the widest that its samples leave open."""
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """What the interval says."""
        return _verdict(self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentComparison:
    """Two agents on every task that both played."""

    first: str
    second: str
    privileged: tuple[str, ...]
    """Those of the two that knew the truth."""
    tasks: tuple[TaskComparison, ...]
    overall: OverallComparison | None
    """With several tasks only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What :func:`compare_runs` found."""

    first: str
    second: str
    agents: tuple[AgentComparison, ...]
    problems: tuple[str, ...]
    """Samples that are not the same in both."""
    notes: tuple[str, ...]
    """What was left out, settings that differ, and how many comparisons were made."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, verdicts included."""
        data: dict[str, Any] = plain(dataclasses.asdict(self))
        for agent, made in zip(data["agents"], self.agents, strict=True):
            for task, one in zip(agent["tasks"], made.tasks, strict=True):
                task["verdict"] = one.verdict
                for sample, both in zip(task["largest"], one.largest, strict=True):
                    sample["difference"] = both.difference
            if made.overall is not None:
                agent["overall"]["verdict"] = made.overall.verdict
        return data


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None or low <= 0 <= high:
        return "cannot tell"
    return "A better" if low > 0 else "B better"
