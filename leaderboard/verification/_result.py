"""What a verification found: problems, what was checked of each task, and the verdict. Plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..records import plain

__all__ = ["Problem", "TaskCheck", "Verification"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    kind: str
    """``settings``, ``form``, ``plan``, ``state``, ``target``, ``answer``, ``row``, ``costs``, ``reward``, ``image`` or
    ``summary``."""
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCheck:
    """What was found for the records of one task."""

    task: str
    version: str
    split: str
    level: int
    rescored: int
    """Records whose answer was scored again."""
    derived: int
    """Of these, records whose answer was also made again from the calls and objects."""
    reaggregated: int
    """Records whose answer could not be scored again: only what follows from the recorded row was checked."""
    failed: int
    """Records of our failures, which have no score."""
    different: int
    """Records with a problem."""
    reason: str | None
    """Why answers could not be scored again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What :func:`verify_run` found."""

    run: str
    tasks: tuple[TaskCheck, ...]
    records: int
    """Lines of the file of records."""
    asked: int
    """Episodes that the run asks for."""
    problems: tuple[Problem, ...]
    """The first of them."""
    num_problems: int
    notes: tuple[str, ...]
    """What a reader should know that is not wrong."""

    @property
    def rescored(self) -> int:
        """Records whose answer was scored again."""
        return sum(t.rescored for t in self.tasks)

    @property
    def derived(self) -> int:
        """Of these, records whose answer was also made again from the calls and objects."""
        return sum(t.derived for t in self.tasks)

    @property
    def reaggregated(self) -> int:
        """Records of which only the recorded row was used."""
        return sum(t.reaggregated for t in self.tasks)

    @property
    def failed(self) -> int:
        """Records without a score."""
        return sum(t.failed for t in self.tasks)

    @property
    def ok(self) -> bool:
        """Whether the records give the stated scores."""
        return self.num_problems == 0

    @property
    def verified(self) -> bool:
        """Whether every episode asked was scored again from its calls, and all is equal."""
        return self.ok and 0 < self.asked == self.rescored == self.derived

    @property
    def verdict(self) -> str:
        """All of it in one line."""
        if not self.ok:
            several = "s" if self.num_problems > 1 else ""
            return f"NOT equal: {self.num_problems} problem{several} in {self.records} records and the summary."
        if self.reaggregated and not self.rescored:
            return (
                f"Re-aggregated, not re-scored: the summary follows from the {self.reaggregated} recorded scores, "
                "but NO ANSWER WAS CHECKED."
            )
        if self.reaggregated:
            return (
                f"Re-aggregated in part: {self.rescored} records re-scored, all equal; the answers of "
                f"{self.reaggregated} WERE NOT CHECKED; the summary follows from all of them."
            )
        if not self.rescored:
            return f"Nothing re-scored: the {self.records} records hold no score, as the summary says."
        if self.derived < self.rescored:
            return (
                f"Re-scored, not followed: {self.rescored} records re-scored, all equal, but that the answers of "
                f"{self.rescored - self.derived} come from their calls WAS NOT CHECKED."
            )
        if self.rescored < self.asked:
            return (
                f"Equal, but INCOMPLETE: {self.rescored} of {self.asked} episodes re-scored, all equal; the summary "
                "follows from them."
            )
        return f"Verified: {self.rescored} records re-scored, all equal; the summary follows from them."

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, counts and verdict included."""
        counts = {name: getattr(self, name) for name in ("rescored", "derived", "reaggregated", "failed")}
        return {
            "ok": self.ok,
            "verified": self.verified,
            "verdict": self.verdict,
            **counts,
            **plain(dataclasses.asdict(self)),
        }
