"""One episode to play, as plain data that goes to other processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .records import Key

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One episode to play."""

    agent: str
    task: str
    split: str
    level: int
    index: int
    keep: bool
    """Store every picture of it."""
    attempt: int = 1
    """Which try this is: failures of ours are tried again."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """What the tries before this cost, as their players said."""

    @property
    def key(self) -> Key:
        """What the episode's record will be of."""
        return self.agent, self.task, self.split, self.level, self.index

    @property
    def place(self) -> tuple[str, str, int, int]:
        """The sample, which several agents play."""
        return self.task, self.split, self.level, self.index
