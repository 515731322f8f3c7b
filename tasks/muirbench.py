"""MuirBench: twelve tasks over two to nine pictures, each answerable question with an unanswerable counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value, missing_data
from visenv.images import Image
from visenv.task import Profile

from .choices import ChoiceBenchmark, Question, Unusable, each_usable, letter_of, lettered
from .embedded import ParquetPictures, Place, decode_picture, picture_bytes, read_rows
from .mirrors import check_shards
from .profiles import PROFILES
from .profiles.muirbench_official import TASKS, is_task
from .reading import text_of, texts_of

__all__ = ["MuirBench", "named_pictures"]

COLUMNS = ("idx", "task", "image_relation", "image_type", "question", "options", "answer", "counterpart_idx")
TAG = "<image>"


class MuirBench(ChoiceBenchmark):
    """Answer questions that need several pictures, or see that none of the options is right.

    ## Description
    2,600 questions of 12 tasks and 10 relations between two to nine pictures. Each of the 1,300 answerable questions has an unanswerable
    counterpart, whose right option says so; the two are one ``cluster``. Read from ``MuirBench/data/test-*.parquet`` as
    published (or the same files right in ``MuirBench/``).

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option.

    ## Observation Space
    The question and its options as lines ``(A) …``. Where the data has ``<image>`` tags, there are the names of the
    pictures, ``<img_0>``, ``<img_1>`` …, first in the question, then in the options, which is the order of the pictures.

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``question`` (its id in the data), ``group`` (the task),
    ``image_relation``, ``image_type``, ``num_tags``.

    ## Arguments
    ``split``: test. There is one level. Option of the task: ``mirror``, ``MUIRBENCH/MUIRBENCH`` to fetch it from the Hugging
    Face hub, or the folder of a copy. A question that cannot be used keeps its place, and its sample says what is wrong.

    ## Metrics
    ``muirbench/official``: accuracy, in all and for each task, with the authors' parser of replies; where they would draw a letter
    at random, the reply is wrong.

    ## References
    Wang et al., "MuirBench: A Comprehensive Benchmark for Robust Multi-image Understanding", 2024.
    Source of the format: muirbench/MuirBench@840b85fe eval/utils/preprocess.py and the data card.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "MuirBench"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    profile: ClassVar[Profile] = PROFILES["muirbench/official"]
    folder: ClassVar[str] = "MuirBench"
    published: ClassVar[str] = "https://huggingface.co/datasets/MUIRBENCH/MUIRBENCH"
    licence: ClassVar[str] = "CC-BY-4.0"
    sizes: ClassVar[Mapping[str, int]] = {"test": 2600}
    hub_id: ClassVar[str] = "MUIRBENCH/MUIRBENCH"
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"test": ("data/test-*.parquet",)}

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """See :class:`~visenv.tasks.choices.ChoiceBenchmark`."""
        super().__init__(root, mirror=mirror)
        self._cells = ParquetPictures(("image_list",))

    def read(self, split: str) -> Sequence[Question | Unusable]:
        """Read the questions of the split's files, in the order of their names."""
        root, pattern = self.fetched(split), f"{split}-*.parquet"
        files = sorted((root / "data").glob(pattern)) or sorted(root.glob(pattern))
        if not files:
            where = str(root / "data" / pattern)
            raise missing_data(self.name, f"there is no {split} file", looked=where, published=self.published)
        check_shards(self.name, files, self.published)
        return each_usable(_question, read_rows(files, COLUMNS))

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open the pictures in the list of a row."""
        place: Place = entry.pictures
        cells = self._cells.cell(place, "image_list")
        if not isinstance(cells, list) or len(cells) < entry.meta["num_tags"]:
            raise bad_value(
                f"image_list of {entry.name}", f"{len(cells or ())} pictures", expected=f"one for each {TAG} of its text, {entry.meta['num_tags']}"
            )  # fmt: skip
        where = f"{place}, image_list"
        return tuple(
            self.remember(place.key / str(k), lambda cell=cell: decode_picture(picture_bytes(cell, where), where))  # type: ignore[misc]
            for k, cell in enumerate(cells)
        )


def named_pictures(text: str) -> str:
    """Replace each ``<image>`` tag by the name of the picture that it stands for, in order.

    Example:
        >>> named_pictures("Is <image> a part of <image>?")
        'Is <img_0> a part of <img_1>?'
    """
    numbers = iter(range(len(text)))
    return re.sub(re.escape(TAG), lambda _: f"<img_{next(numbers)}>", text)


def _question(placed: tuple[Place, Mapping[str, Any]]) -> Question:
    place, row = placed
    where = str(place)
    name = _name(row["idx"], f"idx of {where}")
    task = text_of(row["task"], f"task of {name}")
    if not is_task(task):  # it would count in no task's accuracy
        raise bad_value(f"task of {name}", task, expected=f"one of {', '.join(TASKS)}")
    options = texts_of(row["options"], f"options of {name}")
    choice = letter_of(row["answer"], len(options), name)
    shown = lettered(text_of(row["question"], f"question of {name}"), options)
    other = row["counterpart_idx"]
    pair = {name} if other in (None, "") else {name, _name(other, f"counterpart_idx of {name}")}
    meta = {"image_relation": row["image_relation"], "image_type": row["image_type"], "num_tags": shown.count(TAG)}
    return Question(
        name=name, instruction=named_pictures(shown), options=options, choice=choice, group=task,
        pictures=place, cluster="+".join(sorted(pair)), meta=meta,
    )  # fmt: skip


def _name(value: object, where: str) -> str:
    """Return an id, which is text in some versions of the data and a number in others."""
    return text_of(str(value) if type(value) is int else value, where)
