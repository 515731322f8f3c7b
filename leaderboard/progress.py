"""What a person sees of a run while it goes, on standard error: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .records import EpisodeRecord, RunInfo

__all__ = ["ProgressReporter"]


class ProgressReporter:
    """Reports a run on standard error. Use as a context manager."""

    def __init__(self, out: Path, *, workers: int) -> None:
        self.out = out
        self.workers = workers
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.total = self.done = self.failures = self._fresh = 0
        self._score = 0.0
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

    def started(self, info: RunInfo, *, total: int, done: int) -> None:
        """Say what will be done."""
        self.total, self.done = total, done
        self._told = 10 * done // max(1, total)
        self._began = time.perf_counter()
        tasks = ", ".join(f"{t.name} ({t.split}, level {t.level}, {t.num_samples} samples)" for t in info.tasks)
        already = f", {done} of them done already" if done else ""
        self._say(f"Agents: {', '.join(a.name for a in info.agents)}\nTasks: {tasks}")
        self._say(f"Tools: {info.toolset} on {info.experts} experts; memory {info.memory}; seed {info.seed}")
        processes = f"{self.workers} processes" if self.workers > 1 else "1 process"
        self._say(f"{total} episodes{already}; {processes}; into {self.out}")
        if self.console.is_terminal and done < total:
            self._bar = Progress(
                TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[score]}"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self._bar.add_task("", total=total, completed=done, score="")
            self._bar.start()

    def recorded(self, record: EpisodeRecord) -> None:
        """Count one more."""
        self.done += 1
        self._fresh += 1
        self.failures += record.failed
        self._score += record.score or 0.0
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, score=self._status())
            return
        tenth = 10 * self.done // self.total
        if tenth > self._told and not self.console.is_terminal:
            self._told = tenth
            rate = self._fresh / max(1e-9, time.perf_counter() - self._began)
            left = (self.total - self.done) / rate
            self._say(f"{self.done}/{self.total} episodes, {rate:.1f}/s, {left:.0f} s left, {self._status()}")

    def _status(self) -> str:
        scored = self._fresh - self.failures
        mean = f"mean score {self._score / scored:.3f}" if scored else "no score yet"
        return mean + (f", {self.failures} failed" if self.failures else "")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)
