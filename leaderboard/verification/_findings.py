"""Problems and notes as they are found, worded so that a terminal can take them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..records import plain
from ..safe_files import printable
from ._result import Problem, TaskCheck, Verification

__all__ = ["Findings", "Flaw", "json_text"]

MAX_PROBLEMS = 1000
"""Problems that are kept; all are counted."""

Flaw = tuple[str, str]
"""Kind and wording of a problem; whoever asked for the check knows where."""


class Findings:
    """Problems, as many as are kept, and notes."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.num_problems = 0
        self.notes: dict[str, None] = {}

    def add(self, kind: str, where: str, what: str) -> None:
        """Count a problem and keep it, if there are not too many."""
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind=kind, where=where, what=printable(what, 1000)))

    def add_all(self, where: str, flaws: Iterable[Flaw]) -> None:
        """Add the problems of one place."""
        for kind, what in flaws:
            self.add(kind, where, what)

    def note(self, text: str) -> None:
        """Keep what a reader should know that is not wrong, once."""
        self.notes[text] = None

    def verification(
        self, run: Path, *, tasks: Iterable[TaskCheck] = (), records: int = 0, asked: int = 0
    ) -> Verification:
        """Return everything found."""
        return Verification(
            run=str(run), tasks=tuple(tasks), records=records, asked=asked, problems=tuple(self.problems),
            num_problems=self.num_problems, notes=tuple(self.notes),
        )  # fmt: skip


def json_text(value: Any) -> str:
    """Return a value as JSON with sorted keys: 1, 1.0 and true are three things."""
    return json.dumps(plain(value), sort_keys=True)
