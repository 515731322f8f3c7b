"""What a benchmark is to the rest of visenv: samples by split, and a metric profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from .answers import Answer, AnswerKind, Target
from .errors import bad_value
from .images import Image

__all__ = ["Metrics", "Profile", "Row", "Sample", "Task", "profiles_of"]

Row = dict[str, Any]
"""One sample's score: integers, lists of integers and flags only."""
Metrics = dict[str, float | None]
"""Aggregated numbers; ``None`` where a metric is not defined for the rows given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A way of scoring, named after the code it agrees with."""

    name: str
    """Such as ``reasonseg/lisa``; printed beside every number it makes."""
    source: str
    """Repository and commit whose numbers it gives, or a plain statement that none was compared."""
    row: Callable[[Target, Answer | None], Row]
    """Score one answer (``None``: nothing was submitted) as integers and flags."""
    aggregate: Callable[[Sequence[Mapping[str, Any]]], Metrics]
    """Reduce rows to the published metrics."""
    primary: Callable[[Mapping[str, Any]], float]
    """One row's primary score in [0, 1], for means over tasks and for rewards."""
    undefined: Mapping[str, str] = field(default_factory=dict)
    """Why a metric may be ``None``, by its name and in a few words, such as ``needs boxes``; shown in its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question with its images and its truth."""

    id: str
    """Unique in the task: ``Task/split/level/index``."""
    task: str
    split: str
    level: int
    index: int
    instruction: str
    images: tuple[Image, ...]
    target: Target
    cluster: str
    """Samples of one cluster (one picture, say) are not independent of each other."""
    files: tuple[Path | None, ...] = ()
    """The file each image was read from, as it is; empty or ``None`` for an image that was made."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """How the sample was made, for analysis; never shown to an agent."""


@runtime_checkable
class Task(Protocol):
    """A benchmark. Implementations are cheap to make and read data lazily.

    One may also have ``also``, a tuple of further profiles whose metrics are shown beside ``profile``'s. They score the
    final answer; scores, ranks and rewards are ``profile``'s alone. Ask for them with :func:`profiles_of`.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    """Bumped whenever pixels, targets or scores change."""
    kind: ClassVar[AnswerKind]
    max_turns: ClassVar[int]
    """The default turn limit of its environment."""
    splits: ClassVar[tuple[str, ...]]
    levels: ClassVar[tuple[int, ...]]
    """The difficulty levels; ``(1,)`` for a benchmark without any."""
    profile: ClassVar[Profile]

    def num_samples(self, split: str, level: int) -> int | None:
        """Return how many samples there are; ``None`` for no end.

        Raises:
            UnknownNameError: The task has no such split or level.
        """
        ...

    def sample(self, split: str, level: int, index: int) -> Sample:
        """Return one sample; equal arguments give equal samples, in any process.

        Raises:
            UnknownNameError: The task has no such split or level.
            BadValueError: ``index`` is outside the split.
        """
        ...


def profiles_of(task: Task) -> tuple[Profile, ...]:
    """Return every profile of a task: first the one that makes its scores, then those that are shown beside it.

    Raises:
        BadValueError: One of them is no profile, or two have one name.
    """
    beside = getattr(task, "also", ())
    fine = isinstance(beside, tuple) and all(isinstance(profile, Profile) for profile in beside)
    if not fine or len({task.profile.name, *(profile.name for profile in beside)}) <= len(beside):
        raise bad_value(f"also of {task.name}", beside, expected="a tuple of profiles, each of another name")
    return task.profile, *beside
