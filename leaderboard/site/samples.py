"""Samples made again by their task: the question, the truth and the pictures, or why there are none."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

from visenv.errors import short
from visenv.task import Sample, Task

from ..shelf import TaskShelf
from .folder import SiteFolder
from .gathering import Place
from .pictures import picture_file, to_jpeg
from .shards import shard

__all__ = ["Known", "Samples", "question_data"]

CUT = 300
"""Characters of an instruction in a list."""
KEPT_BYTES = 2**28
"""Pixels of the samples that are held to be used again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the site has of a sample, as the task itself makes it."""

    id: str
    fingerprint: str
    """Of the truth."""
    file: str
    """Name of the shard of the question."""
    text: str
    """Beginning of the instruction."""
    sizes_wh: dict[str, tuple[int, int]]
    """Size of each image by its hash; all are in the site's folder."""


class Samples:
    """The samples of a site. Each is made as seldom as can be, and what the site needs of it written at once.

    Args:
        folder: The site's.
        shelf: Where tasks come from.
    """

    def __init__(self, folder: SiteFolder, shelf: TaskShelf) -> None:
        self._folder = folder
        self._shelf = shelf
        self._known: dict[tuple[Place, int], Known | str] = {}
        self._held: OrderedDict[tuple[Place, int], Sample] = OrderedDict()
        self._held_bytes = 0

    def watched(self, name: str) -> Task | None:
        """Return a task whose samples the site takes notice of, for whoever checks a run; ``None`` if there is none."""
        task = self._shelf.any(name)
        return None if isinstance(task, str) else cast(Task, _Watched(name, task, self))

    def known(self, place: Place, index: int) -> Known | str:
        """Return what is known of a sample, or why it cannot be made again."""
        if (place, index) not in self._known:
            task = self._shelf.get(*place[:2])
            try:
                if isinstance(task, str):
                    self._known[place, index] = task
                else:
                    self.make(place[0], task, *place[2:], index)
            except Exception as error:  # a task's code or data, on a machine that may lack them: the page does without
                self._known[place, index] = f"the task cannot make it again ({short(str(error), 160)[1:-1]})"
        return self._known[place, index]

    def make(self, name: str, task: Task, split: str, level: int, index: int) -> Sample:
        """Return a sample of a task, by its name with options; whatever the task's code raises."""
        key = (name, task.version, split, level), index
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        sample = task.sample(split, level, index)
        self._take(key, sample)
        self._held[key] = sample
        self._held_bytes += _num_bytes(sample)
        while self._held_bytes > KEPT_BYTES:
            self._held_bytes -= _num_bytes(self._held.popitem(last=False)[1])
        return sample

    def _take(self, key: tuple[Place, int], sample: Sample) -> None:
        """Write question and pictures."""
        if key in self._known:
            return
        name, script = shard(question_data(sample))
        self._folder.put(f"data/{name}.js", script)
        for image in sample.images:
            file = picture_file(image.hash)
            if not self._folder.has(file):
                self._folder.put(file, to_jpeg(image), keep=False)  # kept when a record shows it
        self._known[key] = Known(
            id=sample.id, fingerprint=sample.target.fingerprint, file=name, text=sample.instruction[:CUT],
            sizes_wh={image.hash: image.size_wh for image in sample.images},
        )  # fmt: skip


class _Watched:
    """A task that hands its samples out through :class:`Samples`."""

    def __init__(self, name: str, task: Task, samples: Samples) -> None:
        self._name = name
        self._task = task
        self._samples = samples

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def sample(self, split: str, level: int, index: int) -> Sample:
        return self._samples.make(self._name, self._task, split, level, index)


def _num_bytes(sample: Sample) -> int:
    return sum(image.pixels.nbytes for image in sample.images)


def question_data(sample: Sample) -> dict[str, Any]:
    """Return what a replay shows of a sample: the question, and the truth as far as it is known."""
    target = sample.target
    return {
        "id": sample.id,
        "instruction": sample.instruction,
        "kind": target.kind.value,
        "size": [target.size_hw[1], target.size_hw[0]],
        "masks": [m.to_json() for m in target.masks],
        "boxes": [list(map(float, b)) for b in target.boxes_xyxy],
        "labels": list(target.labels),
        "choice": target.choice,
        "no_target": target.no_target,
        "known": target.known,
    }
