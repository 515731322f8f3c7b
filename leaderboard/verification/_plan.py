"""What a run asks of each task, and what this installation knows of it: its samples' truths, or its profile alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from visenv.tasks.profiles import PROFILES

from visenv.answers import Target
from visenv.errors import UnknownNameError, short
from visenv.images import Image
from visenv.task import Profile, Sample, Task, profiles_of

from ..records import RunInfo, TaskInfo
from ..safe_files import printable
from ..sampling import indices_of, num_asked
from ..shelf import TaskShelf
from ._findings import Findings
from ._result import TaskCheck

__all__ = ["TaskPlan", "Truth", "make_plan"]

TRUTHS_KEPT = 4096
PIXELS_KEPT = 2**27
"""Pixels of the pictures that are kept at hand, beside those of the last sample."""
MAX_SAMPLES = 1_000_000
"""Most samples that a run may say it asks of a task."""
MAX_CHOSEN = 2_000_000
"""Most chosen samples times tasks."""
MAX_BESIDE = 100
"""Most further profiles of a task."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a sample says, without its pixels."""

    id: str
    cluster: str
    target: Target
    fingerprint: str
    images: tuple[tuple[str, tuple[int, int]], ...]
    """Hash and size of each image."""

    @classmethod
    def of(cls, sample: Sample) -> Truth:
        """Keep what is needed of a sample."""
        images = tuple((i.hash, i.size_wh) for i in sample.images)
        return cls(sample.id, sample.cluster, sample.target, sample.target.fingerprint, images)


class Asked:
    """Which samples a run asks of a task. They are drawn when the first is looked for."""

    def __init__(self, info: TaskInfo, run: RunInfo, size: int | None) -> None:
        self._info, self._run, self._size = info, run, size
        self._indices: Sequence[int] | None = None
        self._order: dict[int, int] = {}
        whole = run.samples is None and (run.limit is None or (size is not None and run.limit >= size))
        if whole and size is not None:
            self._indices = range(size)

    def place(self, index: int) -> int | None:
        """Return which of the samples an index is, from 0; ``None`` if it is none.

        Raises:
            ValueError: The run's samples are none.
        """
        if isinstance(self._indices, range):
            return index if index in self._indices else None
        if self._indices is None:
            self._indices = self.draw()
            self._order = {one: place for place, one in enumerate(self._indices)}
        return self._order.get(index)

    def draw(self) -> Sequence[int]:
        """Return the samples in order.

        Raises:
            ValueError: The run's samples are none.
        """
        info, run = self._info, self._run
        return indices_of(
            info.name, info.split, info.level, size=self._size, samples=run.samples, limit=run.limit, seed=run.seed
        )


@dataclass(slots=True)
class TaskPlan:
    """One task of the run, what is known of it here, and how many of its records were checked how."""

    info: TaskInfo
    task: Task | None = None
    """``None`` when its targets cannot be made."""
    reason: str | None = None
    """Why answers cannot be scored again."""
    profile: Profile | None = None
    """``None`` when nobody here knows it, and before the first record when only its name can tell."""
    asked: Asked | None = None
    """The samples asked; ``None`` when the size of the split decides and is not known."""
    candidates: dict[str, Profile] = field(default_factory=dict)
    """Profiles by name, from which the first record's is taken when there is no task."""
    named: str | None = None
    """The profile that the first record names."""
    beside: tuple[Profile, ...] | None = None
    """The task's further profiles; ``None`` before the first scored record when only that can name them."""
    unknown: frozenset[str] = frozenset()
    """Those of them that nobody here knows."""
    rescored: int = 0
    derived: int = 0
    reaggregated: int = 0
    failed: int = 0
    different: int = 0
    _truths: dict[int, Truth] = field(default_factory=dict)
    _pictures: dict[int, tuple[Image, ...]] = field(default_factory=dict)

    def pictures(self, index: int) -> tuple[Image, ...]:
        """Return a sample's pictures; whatever its code raises."""
        if index not in self._pictures:
            self._make(index)
        return self._pictures[index]

    def truth(self, index: int) -> Truth:
        """Return what the task says of a sample; whatever its code raises."""
        if index not in self._truths:
            self._make(index)
        return self._truths[index]

    def _make(self, index: int) -> None:
        assert self.task is not None
        sample = self.task.sample(self.info.split, self.info.level, index)
        while len(self._truths) >= TRUTHS_KEPT:
            del self._truths[next(iter(self._truths))]
        while sum(_area(pictures) for pictures in self._pictures.values()) > PIXELS_KEPT:
            del self._pictures[next(iter(self._pictures))]
        self._truths[index] = Truth.of(sample)
        self._pictures[index] = sample.images

    def name_profile(self, name: str, found: Findings) -> None:
        """Take the profile that the first record names, where no task says it."""
        if self.named is not None:
            return
        self.named = name
        if self.task is None:
            self.profile = self.candidates.get(name)
        if self.profile is None:
            known = f"The profile {printable(name)} of {printable(self.info.name)} is not known here"
            found.note(f"{known}: of its numbers only the mean of the recorded scores was computed.")

    def name_beside(self, names: Collection[str], found: Findings) -> None:
        """Take the further profiles that the first scored record names, where no task says them."""
        if self.beside is not None:
            return
        taken = list(names)[:MAX_BESIDE]
        self.beside = tuple(self.candidates.get(name) or _stand_in(name) for name in taken)
        self.unknown = frozenset(name for name in taken if name not in self.candidates)
        if self.unknown:
            them = printable(", ".join(sorted(self.unknown)), 300)
            found.note(f"Beside the score of {printable(self.info.name)}, not known here and not computed: {them}.")

    @property
    def aggregating(self) -> Profile:
        """The profile, or a stand-in that has the mean of the recorded scores and no metrics."""
        return self.profile or _stand_in(self.named or "")

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profile and the further ones, as far as they are known."""
        return self.aggregating, *(self.beside or ())

    @property
    def check(self) -> TaskCheck:
        """What the result says of the task."""
        i = self.info
        return TaskCheck(
            task=i.name, version=i.version, split=i.split, level=i.level, rescored=self.rescored,
            derived=self.derived, reaggregated=self.reaggregated, failed=self.failed,
            different=self.different, reason=self.reason,
        )  # fmt: skip


def make_plan(info: TaskInfo, run: RunInfo, shelf: TaskShelf, found: Findings) -> TaskPlan:
    """Look for a task of the run here, and say which samples the run asks of it.

    Args:
        info: The task.
        run: Says which samples are asked.
        shelf: Where tasks come from.
        found: Gets what is wrong.
    """
    plan = TaskPlan(info=info, candidates=dict(PROFILES))
    size: int | None = None
    try:
        task = shelf.any(info.name)
        if isinstance(task, str):
            plan.reason = task
        else:
            profiles = profiles_of(task)
            plan.candidates |= {profile.name: profile for profile in profiles}
            if task.version == info.version:
                size = task.num_samples(info.split, info.level)
                plan.task, plan.profile, plan.beside = task, profiles[0], profiles[1:]
            else:
                plan.reason = f"version {printable(info.version)} was played, {task.version} is installed"
    except UnknownNameError as error:
        found.add("plan", "run.json", str(error))
        plan.reason = str(error)
    except Exception as error:  # a task's code or data: whatever is wrong there, its targets cannot be made
        plan.reason = printable(f"{type(error).__name__}: {error}", 300)
    plan.asked = _asked(plan, run, size, found)
    return plan


def _stand_in(name: str) -> Profile:
    """Return a profile that takes the recorded score as it is, and has no metrics."""
    return Profile(
        name=name, source="", row=lambda target, answer: {}, aggregate=lambda rows: {},
        primary=lambda row: float(row["score"]),
    )  # fmt: skip


def _asked(plan: TaskPlan, run: RunInfo, size: int | None, found: Findings) -> Asked | None:
    """Return which samples the run asks of a task; ``None`` when the size of the split decides and is not known."""
    info = plan.info
    where = f"run.json, task {printable(info.name)}"
    nothing = Asked(info, dataclasses.replace(run, samples=None, limit=None), 0)
    if not 0 <= info.num_samples <= MAX_SAMPLES:
        found.add("plan", where, f"num_samples is {short(info.num_samples)}")
        return nothing
    if plan.task is None and run.samples is None:
        if run.limit is not None and info.num_samples >= run.limit:
            if info.num_samples > run.limit:
                found.add("plan", where, f"{info.num_samples} samples, but the limit is {run.limit}")
            found.note(f"Which samples of {printable(info.name)} were asked was not checked.")
            return None
        size = info.num_samples
    if len(run.samples or ()) * len(run.tasks) > MAX_CHOSEN:
        found.add("plan", where, f"{len(run.samples or ())} chosen samples for {len(run.tasks)} tasks")
        return nothing
    asked = Asked(info, run, size)
    try:
        if run.samples is None:
            number = num_asked(size, run.limit, where=info.name)
        else:
            number = len(asked.draw())
    except ValueError as error:  # BadValueError, and numbers of too many digits
        found.add("plan", where, printable(str(error), 300))
        return nothing
    if number != info.num_samples:
        found.add("plan", where, f"{info.num_samples} samples, but its limit, samples and seed ask {number}")
    return nothing if number > MAX_SAMPLES else asked


def _area(pictures: Sequence[Image]) -> int:
    return sum(i.size_wh[0] * i.size_wh[1] for i in pictures)
