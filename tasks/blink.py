"""BLINK: fourteen tasks of visual perception, one to four pictures a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value, missing_data
from visenv.images import Image
from visenv.task import Profile

from .benchmark import Finding
from .choices import ChoiceBenchmark, Question, Unusable, each_usable, letter_of, lettered
from .embedded import ParquetPictures, Place, decode_picture, picture_bytes, read_rows
from .mirrors import check_shards
from .profiles import PROFILES
from .reading import text_of, texts_of

__all__ = ["BLINK"]

PICTURES = ("image_1", "image_2", "image_3", "image_4")
TEXTS = ("idx", "sub_task", "question", "prompt", "choices", "answer")
SUB_TASKS: Mapping[str, int] = {
    "Art_Style": 117, "Counting": 120, "Forensic_Detection": 132, "Functional_Correspondence": 130, "IQ_Test": 150, "Jigsaw": 150,
    "Multi-view_Reasoning": 133, "Object_Localization": 122, "Relative_Depth": 124, "Relative_Reflectance": 134,
    "Semantic_Correspondence": 139, "Spatial_Relation": 143, "Visual_Correspondence": 172, "Visual_Similarity": 135,
}  # fmt: skip
"""How many questions of ``val`` each has."""


class BLINK(ChoiceBenchmark):
    """Answer questions that people answer at a glance: depth, correspondence, forensics, similarity and more.

    ## Description
    1,901 questions of 14 tasks over one to four pictures each, with lettered options. The test split's 1,907 answers are
    hidden (they are scored by the authors' server), so there is ``val`` only. Read from the Parquet files as published, one
    folder for each task: ``BLINK/<task>/val-*.parquet``.

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option.

    ## Observation Space
    The authors' ``prompt`` as the instruction (question and lettered options) and the pictures in their order.

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``question`` (its id in the data), ``group`` (the task), ``question_text``. Questions with the same first picture are
    one cluster.

    ## Arguments
    ``split``: val. There is one level. Option of the task: ``mirror``, ``BLINK-Benchmark/BLINK`` to fetch it from the Hugging
    Face hub, or the folder of a copy. A question that cannot be used keeps its place, and its sample says what is wrong.

    ## Metrics
    ``blink/official``: accuracy, the mean over the 14 tasks, and of each task; beside it ``blink/micro``, over all questions.

    ## References
    Fu et al., "BLINK: Multimodal Large Language Models Can See but Not Perceive", ECCV 2024.
    Source of the format: zeyofu/BLINK_Benchmark@2d6a779b eval/test_benchmark.py and the data card.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "BLINK"
    splits: ClassVar[tuple[str, ...]] = ("val",)
    profile: ClassVar[Profile] = PROFILES["blink/official"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["blink/micro"],)
    folder: ClassVar[str] = "BLINK"
    published: ClassVar[str] = "https://huggingface.co/datasets/BLINK-Benchmark/BLINK"
    licence: ClassVar[str] = "Apache-2.0; the pictures have terms of their own"
    sizes: ClassVar[Mapping[str, int]] = {"val": 1901}

    hub_id: ClassVar[str] = "BLINK-Benchmark/BLINK"
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"val": ("*/val-*.parquet",)}

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """See :class:`~visenv.tasks.choices.ChoiceBenchmark`."""
        super().__init__(root, mirror=mirror)
        self._cells = ParquetPictures(PICTURES)
        self._found: Counter[str] = Counter()

    def read(self, split: str) -> Sequence[Question | Unusable]:
        """Read the questions of all tasks, task by task."""
        self._found.clear()
        return each_usable(_question, self._rows(split))

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find tasks that have more or fewer questions than officially."""
        yield from super().audit_split(split)
        self.entries(split)
        other = [
            f"{name} {self._found[name]} of {size}" for name, size in SUB_TASKS.items() if self._found[name] != size
        ]
        if other:
            yield Finding(
                split=split, where=f"{self.name}/{split}", kind="size", what=f"questions by task: {', '.join(other)}"
            )

    def _rows(self, split: str) -> Iterator[tuple[Place, Mapping[str, Any], str]]:
        """Yield the rows of all tasks, and whose they are."""
        root = self.fetched(split)
        for sub_task in SUB_TASKS:
            files = sorted((root / sub_task).glob(f"{split}-*.parquet"))
            if not files:
                where = str(root / sub_task / f"{split}-*.parquet")
                raise missing_data(
                    self.name, f"task {sub_task!r} has no {split} file", looked=where, published=self.published
                )
            check_shards(self.name, files, self.published)
            for place, row in read_rows(files, TEXTS):
                self._found[sub_task] += 1
                yield place, row, sub_task

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open the pictures in the columns of a row; null where there are fewer than four."""
        found = []
        for column in PICTURES:
            where = f"{entry.pictures}, {column}"
            cell = self._cells.cell(entry.pictures, column)
            if cell is not None:
                key = entry.pictures.key / column
                found.append(self.remember(key, partial(_decoded, cell, where)))
        return tuple(found)


def _decoded(cell: object, where: str) -> Image:
    return decode_picture(picture_bytes(cell, where), where)


def _question(placed: tuple[Place, Mapping[str, Any], str]) -> Question:
    place, row, sub_task = placed
    where = str(place)
    name = text_of(row["idx"], f"idx of {where}")
    if row["sub_task"] != sub_task:
        raise bad_value(f"sub_task of {name}", row["sub_task"], expected=f"{sub_task!r}, as the folder says")
    options = texts_of(row["choices"], f"choices of {name}")
    choice = letter_of(row["answer"], len(options), name)
    prompt = text_of(row["prompt"], f"prompt of {name}", may_be_empty=True)
    if not prompt.strip():
        prompt = lettered(text_of(row["question"], f"question of {name}"), options)
    return Question(
        name=name, instruction=prompt, options=options, choice=choice, group=sub_task, pictures=place,
        meta={"question_text": row["question"]},
    )  # fmt: skip
