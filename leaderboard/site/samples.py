"""Samples made again by their task: the question, the truth and the pictures, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visenv.errors import short
from visenv.images import Image
from visenv.task import Sample

from ..records import EpisodeRecord
from .folder import FORMAT, SiteFolder
from .gathering import TaskShelf
from .shards import named_shard, parse_shard, text_hash

__all__ = ["Rebuilt"]


class Rebuilt:
    """One sample of a run, made again only if something of it is not in the site yet.

    Args:
        records: Every episode of the sample.
        shelf: Where its task comes from.
    """

    def __init__(self, records: Sequence[EpisodeRecord], shelf: TaskShelf) -> None:
        self._record = records[0]
        self._targets = list(dict.fromkeys(r.target for r in records if r.target))
        self._shelf = shelf
        self._made: Sample | str | None = None

    @property
    def target(self) -> str:
        """Fingerprint of the truth that the records agree on; of the first, if they do not."""
        return self._targets[0] if self._targets else ""

    def sample(self) -> Sample | str:
        """Return the sample, or why it cannot be made again as it was."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def image(self, content_hash: str) -> Image | str:
        """Return one of its pictures by content, or why it is not to be had."""
        sample = self.sample()
        if isinstance(sample, str):
            return sample
        return next((i for i in sample.images if i.hash == content_hash), "the task makes another picture now")

    def put_question(self, folder: SiteFolder) -> dict[str, Any]:
        """Write the question with its truth as a shard; return its file (if there is one), its text, or why not.

        The shard is named by what it is of, so one that is there is read instead of made again.
        """
        r = self._record
        name = text_hash(str(FORMAT), r.task, r.task_version, r.split, str(r.level), str(r.index), self.target)
        file = f"data/{name}.js"
        if present := folder.keep(file):
            try:
                return {"file": name, "text": parse_shard(present.read_bytes())["instruction"], "why": None}
            except (ValueError, KeyError, TypeError):  # damaged: make it again
                pass
        sample = self.sample()
        if isinstance(sample, str):
            return {"file": None, "text": None, "why": sample}
        folder.put(file, named_shard(name, _question(sample)), always=True)
        return {"file": name, "text": sample.instruction, "why": None}

    def _make(self) -> Sample | str:
        r = self._record
        if not self._targets:
            return "no episode got as far as its truth"
        task = self._shelf.get(r.task, r.task_version)
        if isinstance(task, str):
            return task
        try:
            sample = task.sample(r.split, r.level, r.index)
        except Exception as error:  # a task's code or data, on a machine that may lack them: the page does without
            return f"the task cannot make it again ({short(str(error), 160)[1:-1]})"
        if sample.target.fingerprint != self.target:
            return "the task makes another sample now than the one that was played"
        return sample


def _question(sample: Sample) -> dict[str, Any]:
    target = sample.target
    return {
        "instruction": sample.instruction,
        "kind": target.kind.value,
        "size": [target.size_hw[1], target.size_hw[0]],
        "masks": [m.to_json() for m in target.masks],
        "boxes": [list(map(float, b)) for b in target.boxes_xyxy],
        "labels": list(target.labels),
        "choice": target.choice,
        "no_target": target.no_target,
    }
