"""HR-Bench: details in 4K and 8K pictures, each question in four orders of its options."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value, missing_data
from visenv.images import Image
from visenv.task import Profile

from .choices import ChoiceBenchmark, Question, letter_of, lettered
from .embedded import ParquetPictures, Place, decode_base64, decode_picture, read_rows
from .profiles import PROFILES
from .reading import text_of
from .tsv import Cell, read_tsv

__all__ = ["HRBench"]

LETTERS = ("A", "B", "C", "D")
TEXTS = ("index", "question", "answer", "category", *LETTERS, "cycle_category")
MAX_REFERENCE = 64
"""An image cell up to this length is the index of the row that has the picture, as in VLMEvalKit's files."""


@dataclass(frozen=True, slots=True)
class _Picture:
    digest: str
    """Of the base64 text: equal ones are one picture."""
    where: Cell | Place


class HRBench(ChoiceBenchmark):
    """Answer questions about details in pictures of about 8 or 33 million pixels.

    ## Description
    200 questions, 100 on a single object and 100 across objects, in four cyclic orders of their four options: 800 samples a
    split. Groups are ``category/order``, the orders numbered from 0 as their names sort. The 4K pictures are crops of the 8K ones. Read from ``HRBench/hr_bench_4k.tsv`` and ``hr_bench_8k.tsv``, or from the
    ``.parquet`` files of the same names; both forms give the same samples. The ``.tsv`` is preferred: it is read at the place of
    a picture, while a Parquet file's pictures must be held in memory as they are stored.

    ## Action Space
    Tool calls, ended by ``submit_choice`` with a letter.

    ## Observation Space
    The question with its four lettered options, and the picture.

    ## Starting State
    The whole picture is visible. The four orders of a question share one decoded picture.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    When a letter is submitted, or at the turn limit.

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``.

    ## Arguments
    ``split``: 4k, 8k. There is one level.

    ## Metrics
    ``hrbench/letter``: the mean over the four orders of the accuracy, in all and for each category; letters are read, no
    language model judges.

    ## References
    Wang et al., "Divide, Conquer and Combine: A Training-Free Framework for High-Resolution Image Perception", AAAI 2025.
    Source of the format: DreamMr/HR-Bench@b17b1998 hrbench/vlmeval/dataset/image_mcq.py and the data card.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "HRBench"
    splits: ClassVar[tuple[str, ...]] = ("4k", "8k")
    profile: ClassVar[Profile] = PROFILES["hrbench/letter"]
    folder: ClassVar[str] = "HRBench"
    published: ClassVar[str] = "https://huggingface.co/datasets/DreamMr/HR-Bench"
    licence: ClassVar[str] = "none stated by its authors"
    sizes: ClassVar[Mapping[str, int]] = {"4k": 800, "8k": 800}

    def __init__(self, root: str | Path | None = None) -> None:
        """See :class:`~visenv.tasks.benchmark.Benchmark`."""
        super().__init__(root)
        self._cells = ParquetPictures(("image",), shared=True)

    def read(self, split: str) -> Sequence[Question]:
        """Read the rows of a split; one pass over the file finds out which of them share a picture."""
        rows = list(self._rows(split))
        by_index = {row["index"]: picture for row, picture in rows if isinstance(picture, _Picture)}
        if len({row["index"] for row, _ in rows}) != len(rows):
            raise bad_value("index", f"{self.name}/{split}", expected="an index of its own for each row")
        cycles = sorted({row["cycle_category"] for row, _ in rows})
        return [
            _question(row, _resolved(picture, by_index, f"question {row['index']}"), cycles) for row, picture in rows
        ]

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Decode the picture, unless it is remembered from another order of the same question."""
        picture: _Picture = entry.pictures

        def load() -> Image:
            where = f"question {entry.name}"
            at = picture.where
            text = at.read() if isinstance(at, Cell) else self._cells.cell(at, "image")
            return decode_picture(decode_base64(text, where), where)

        return (self.remember(Path(picture.digest), load),)

    def _rows(self, split: str) -> Iterator[tuple[dict[str, str], _Picture | str]]:
        """Yield each row's texts, and its picture or the index of the row that has it."""
        table, parquet = (self.root / f"hr_bench_{split}.{end}" for end in ("tsv", "parquet"))
        if table.is_file():
            for where, row in read_tsv(table, (*TEXTS, "image"), large=("image",)):
                image = row["image"]
                yield _texts(row, where), _Picture(image.digest, image) if isinstance(image, Cell) else image
        elif parquet.is_file():
            for place, values in read_rows([parquet], TEXTS):
                image = self._cells.cell(place, "image")
                if not isinstance(image, str):
                    raise bad_value(f"image of {place}", image, expected="base64 text")
                digest = hashlib.sha256(image.encode()).hexdigest()
                yield _texts(values, str(place)), _Picture(digest, place) if len(image) > MAX_REFERENCE else image
        else:
            raise missing_data(
                self.name, f"there is neither {table.name} nor {parquet.name}", looked=str(self.root), published=self.published
            )  # fmt: skip


def _texts(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the cells as text; indices and orders are numbers in one form of the data and text in the other."""
    return {
        key: text_of(str(row[key]) if type(row[key]) is int else row[key], f"{key} of {where}").strip() for key in TEXTS
    }


def _resolved(picture: _Picture | str, by_index: Mapping[str, _Picture], where: str) -> _Picture:
    if isinstance(picture, _Picture):
        return picture
    if picture not in by_index:
        raise bad_value(f"image of {where}", picture, expected="base64 of a picture, or the index of a row that has it")
    return by_index[picture]


def _question(row: Mapping[str, str], picture: _Picture, cycles: Sequence[str]) -> Question:
    name = row["index"]
    cycle = cycles.index(row["cycle_category"])
    options = tuple(row[letter] for letter in LETTERS)
    question = row["question"]
    return Question(
        name=name, instruction=lettered(question, options), options=options,
        choice=letter_of(row["answer"], len(options), name), group=f"{row['category']}/{cycle}",
        pictures=picture, cluster=hashlib.sha256(f"{picture.digest}{question}".encode()).hexdigest()[:16],
        meta={"category": row["category"], "cycle": row["cycle_category"]},
    )  # fmt: skip
