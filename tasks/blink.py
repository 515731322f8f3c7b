"""BLINK: fourteen tasks of visual perception, one to four pictures a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value, missing_data
from visenv.images import Image
from visenv.task import Profile

from .choices import ChoiceBenchmark, Question, letter_of, lettered
from .embedded import ParquetPictures, Place, decode_picture, picture_bytes, read_rows
from .profiles import PROFILES
from .reading import text_of, texts_of

__all__ = ["BLINK"]

PICTURES = ("image_1", "image_2", "image_3", "image_4")
TEXTS = ("idx", "sub_task", "question", "prompt", "choices", "answer")
SUB_TASKS = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw", "Multi-view_Reasoning",
    "Object_Localization", "Relative_Depth", "Relative_Reflectance", "Semantic_Correspondence", "Spatial_Relation",
    "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip


class BLINK(ChoiceBenchmark):
    """Answer questions that people answer at a glance: depth, correspondence, forensics, similarity and more.

    ## Description
    1,901 questions of 14 tasks over one to four pictures each, with two to five options. The test split's answers are
    hidden (they are scored by the authors' server), so there is ``val`` only. Read from the Parquet files as published, one
    folder for each task: ``BLINK/<task>/val-*.parquet``.

    ## Action Space
    Tool calls, ended by ``submit_choice`` with a letter.

    ## Observation Space
    The authors' ``prompt`` as the instruction (question and lettered options) and the pictures in their order.

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    When a letter is submitted, or at the turn limit.

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``.

    ## Arguments
    ``split``: val. There is one level.

    ## Metrics
    ``blink/official``: accuracy, the mean over the 14 tasks; beside it ``blink/micro``, over all questions.

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

    def __init__(self, root: str | Path | None = None) -> None:
        """See :class:`~visenv.tasks.benchmark.Benchmark`."""
        super().__init__(root)
        self._cells = ParquetPictures(PICTURES)

    def read(self, split: str) -> Sequence[Question]:
        """Read the questions of all tasks whose folder is there, task by task."""
        questions: list[Question] = []
        for sub_task in SUB_TASKS:
            files = sorted((self.root / sub_task).glob(f"{split}-*.parquet"))
            if not files:
                where = str(self.root / sub_task / f"{split}-*.parquet")
                raise missing_data(
                    self.name, f"task {sub_task!r} has no {split} file", looked=where, published=self.published
                )
            questions += [_question(place, row, sub_task) for place, row in read_rows(files, TEXTS)]
        return questions

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


def _question(place: Place, row: Mapping[str, Any], sub_task: str) -> Question:
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
