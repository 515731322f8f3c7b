"""What a person sees of a run while it goes, on standard error: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .records import EpisodeRecord
from .runner import Plan
from .safe_files import printable
from .statistics import clustered_mean

__all__ = ["Counting", "ProgressReporter", "counting"]


ENOUGH = 10
"""Clusters from which an interval says something."""


SHOWN = 4
"""Agents whose running mean is shown."""


class ProgressReporter:
    """Reports a run on standard error. Use as a context manager."""

    def __init__(self, out: Path, *, workers: int) -> None:
        self.out = out
        self.workers = workers
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.total = self.done = self.failures = 0
        self._fresh = self._retries = self._due = 0
        self._scored: dict[str, tuple[list[float], list[str]]] = {}
        self._means = ""
        self._reasons: Counter[str] = Counter()
        self._began = time.perf_counter()
        self._told = 0
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressReporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def announce(self, plan: Plan) -> None:
        """Say what a run asks and what is left of it."""
        info, total, done = plan.info, len(plan.jobs), len(plan.jobs) - len(plan.left)
        tasks = ", ".join(f"{t.name} ({t.split}, level {t.level}, {t.num_samples} samples)" for t in info.tasks)
        already = f", {done} of them done already" if done else ""
        self._say(f"Agents: {', '.join(a.name for a in info.agents)}\nTasks: {tasks}")
        self._say(f"Tools: {info.toolset} on {info.experts} experts; memory {info.memory}; seed {info.seed}")
        processes = f"{self.workers} processes" if self.workers > 1 else "1 process"
        self._say(f"{total} episodes{already}, {plan.max_turns:,} turns at most; {processes}; into {self.out}")

    def started(self, plan: Plan) -> None:
        """Say what will be done, and show the bar."""
        self.announce(plan)
        self.total, self.done = len(plan.jobs), len(plan.jobs) - len(plan.left)
        self._told = 10 * self.done // max(1, self.total)
        self._began = time.perf_counter()
        if self.console.is_terminal and plan.left:
            self._bar = Progress(
                TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self._bar.add_task("", total=self.total, completed=self.done, status="")
            self._bar.start()

    def recorded(self, record: EpisodeRecord) -> None:
        """Count one more."""
        self.done += 1
        self._fresh += 1
        self._retries += record.attempts - 1
        self.failures += record.failed
        if record.failed and record.failure:
            self._reasons[printable(record.failure, 300)] += 1
        if record.score is not None:
            scores, clusters = self._scored.setdefault(record.agent, ([], []))
            scores.append(record.score)
            clusters.append(record.cluster)
        tenth = 10 * self.done // self.total
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, status=self._status())
        elif tenth > self._told and not self.console.is_terminal:
            self._told = tenth
            rate = self._fresh / max(1e-9, time.perf_counter() - self._began)
            left = (self.total - self.done) / rate
            self._say(f"{self.done}/{self.total} episodes, {rate:.1f}/s, {left:.0f} s left, {self._status()}")

    @property
    def commonest_failure(self) -> str:
        """Why most of the episodes that failed for our reasons did; empty when none has."""
        return next((reason for reason, _ in self._reasons.most_common(1)), "")

    def _status(self) -> str:
        if self._fresh >= self._due:  # the interval costs a pass over all scores: ever more seldom
            self._due = self._fresh + max(1, self._fresh // 20)
            means = [self._mean_of(agent) for agent in list(self._scored)[:SHOWN]]
            more = ["…"] if len(self._scored) > SHOWN else []
            self._means = ", ".join([*means, *more]) or "no score yet"
        notes = [(self._retries, "tried again"), (self.failures, "failed")]
        return ", ".join([self._means, *(f"{number} {what}" for number, what in notes if number)])

    def _mean_of(self, agent: str) -> str:
        found = clustered_mean(*self._scored[agent], bounds=(0, 1))
        wide = found.low is None or found.high is None or found.num_clusters < ENOUGH
        half = "" if wide or found.low is None or found.high is None else f" ± {(found.high - found.low) / 2:.3f}"
        return f"{agent} {found.mean:.3f}{half}"

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)


class Counting:
    """Says how far something is, on standard error. Made by :func:`counting`; use as a context manager."""

    def __init__(self, what: str, *, from_total: int) -> None:
        self._what = what
        self._from_total = from_total
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done."""
        if total < max(1, self._from_total):
            return
        if self._console.is_terminal:
            if self._bar is None:
                self._bar = Progress(
                    TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TextColumn("left"),
                    TimeRemainingColumn(), console=self._console, transient=True,
                )  # fmt: skip
                self._bar.add_task("", total=total)
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)
        elif 10 * done // total > self._told:
            self._told = 10 * done // total
            self._console.print(f"{done}/{total} {self._what}", markup=False)

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


def counting(what: str, *, from_total: int = 0) -> Counting:
    """Return what shows progress on standard error: a bar on a terminal, a line every tenth elsewhere.

    Args:
        what: What is counted, such as ``records``.
        from_total: Below this total nothing is shown.
    """
    return Counting(what, from_total=from_total)
