"""HR-Bench: details in 4K and 8K pictures, each question in four orders of its options."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value, missing_data
from visenv.images import Image
from visenv.task import Profile

from .choices import ChoiceBenchmark, Question, Unusable, each_usable, letter_of, lettered
from .embedded import ParquetPictures, Place, decode_base64, decode_picture, read_rows
from .profiles import PROFILES
from .reading import text_of
from .tsv import Cell, read_tsv

__all__ = ["HRBench"]

LETTERS = ("A", "B", "C", "D")
TEXTS = ("index", "question", "answer", "category", *LETTERS, "cycle_category")
NUM_ORDERS = 4
MAX_REFERENCE = 64
"""An image cell up to this length is the index of the row that has the picture, as in VLMEvalKit's files."""


@dataclass(frozen=True, slots=True)
class _Picture:
    digest: str
    """Of the base64 text: equal ones are one picture."""
    where: Cell | Place


_Row = tuple[dict[str, str], _Picture | str]
"""A row's texts, and its picture or the index of the row that has it."""


class HRBench(ChoiceBenchmark):
    """Answer questions about details in pictures of about 8 or 33 million pixels.

    ## Description
    200 questions, 100 on a single object and 100 across objects, in four cyclic orders of their four options: 800 samples a
    split. A table without four orders of one size is refused. Groups are ``category/order``, the orders numbered from 0 as their names sort. The 4K pictures are crops of the 8K ones.
    Read from ``HRBench/hr_bench_4k.tsv`` and ``hr_bench_8k.tsv``, or from the ``.parquet`` files of the same names; both forms
    give the same samples. The ``.tsv`` is preferred: it is read at the place of a picture, while a Parquet file's pictures must be
    held in memory as they are stored.

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option.

    ## Observation Space
    The question with its four lettered options, and the picture.

    ## Starting State
    The whole picture is visible. The four orders of a question share one decoded picture.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``question`` (its id in the data), ``group`` (``category/order``),
    ``category``, ``cycle``. The four orders of a question are one cluster.

    ## Arguments
    ``split``: 4k, 8k. There is one level. Option of the task: ``mirror``, ``DreamMr/HR-Bench`` to fetch the ``.tsv`` of a split
    from the Hugging Face hub, or the folder of a copy. A question that cannot be used keeps its place, and its sample says
    what is wrong.

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

    hub_id: ClassVar[str] = "DreamMr/HR-Bench"
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"4k": ("hr_bench_4k.tsv",), "8k": ("hr_bench_8k.tsv",)}

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """See :class:`~visenv.tasks.choices.ChoiceBenchmark`."""
        super().__init__(root, mirror=mirror)
        self._cells = ParquetPictures(("image",), shared=True)

    def read(self, split: str) -> Sequence[Question | Unusable]:
        """Read the rows of a split; one pass over the file finds out which of them share a picture."""
        found = each_usable(self._row, self._raw(split))
        rows = [one for one in found if not isinstance(one, Unusable)]
        by_index = {row["index"]: picture for row, picture in rows if isinstance(picture, _Picture)}
        if len({row["index"] for row, _ in rows}) != len(rows):
            raise bad_value("index", f"{self.name}/{split}", expected="an index of its own for each row")
        cycles = _orders(rows, len(found) - len(rows), f"{self.name}/{split}")
        return each_usable(lambda one: _question(one, by_index, cycles), found)

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Decode the picture, unless it is remembered from another order of the same question."""
        picture: _Picture = entry.pictures

        def load() -> Image:
            where = f"question {entry.name}"
            at = picture.where
            text = at.read() if isinstance(at, Cell) else self._cells.cell(at, "image")
            return decode_picture(decode_base64(text, where), where)

        return (self.remember(Path(picture.digest), load),)

    def _raw(self, split: str) -> Iterator[tuple[str, Mapping[str, Any], Cell | Place | str]]:
        """Yield where a row is, its cells, and where its picture is (or the short text in its place)."""
        root = self.fetched(split)
        table, parquet = (root / f"hr_bench_{split}.{end}" for end in ("tsv", "parquet"))
        if table.is_file():
            for where, row in read_tsv(table, (*TEXTS, "image"), large=("image",)):
                yield where, row, row["image"]
        elif parquet.is_file():
            for place, values in read_rows([parquet], TEXTS):
                yield str(place), values, place
        else:
            raise missing_data(
                self.name, f"there is neither {table.name} nor {parquet.name}", looked=str(root), published=self.published
            )  # fmt: skip

    def _row(self, raw: tuple[str, Mapping[str, Any], Cell | Place | str]) -> _Row:
        """Return a row's texts, and its picture or the index of the row that has it."""
        where, cells, at = raw
        if isinstance(at, Place):
            image = self._cells.cell(at, "image")
            if not isinstance(image, str):
                raise bad_value(f"image of {where}", image, expected="base64 text")
            digest = hashlib.sha256(image.encode()).hexdigest()
            return _texts(cells, where), _Picture(digest, at) if len(image) > MAX_REFERENCE else image
        return _texts(cells, where), _Picture(at.digest, at) if isinstance(at, Cell) else at


def _texts(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the cells as text; indices and orders are numbers in one form of the data and text in the other."""
    return {
        key: text_of(str(row[key]) if type(row[key]) is int else row[key], f"{key} of {where}").strip() for key in TEXTS
    }


def _orders(rows: Sequence[_Row], num_unusable: int, where: str) -> list[str]:
    """Return the names of the four orders, sorted; each has as many rows as the others, but for those that cannot be used.

    Raises:
        BadValueError: There are not four, or they are not of one size: the mean over them would be another one.
    """
    counts = Counter(row["cycle_category"] for row, _ in rows)
    lacking = sum(max(counts.values()) - count for count in counts.values())
    if len(counts) != NUM_ORDERS or lacking > num_unusable:
        shown = dict(counts.most_common(8))
        raise bad_value("cycle_category", shown, expected=f"{NUM_ORDERS} orders of equally many rows in {where}")
    return sorted(counts)


def _resolved(picture: _Picture | str, by_index: Mapping[str, _Picture], where: str) -> _Picture:
    if isinstance(picture, _Picture):
        return picture
    if picture not in by_index:
        raise bad_value(f"image of {where}", picture, expected="base64 of a picture, or the index of a row that has it")
    return by_index[picture]


def _question(read: _Row | Unusable, by_index: Mapping[str, _Picture], cycles: Sequence[str]) -> Question:
    if isinstance(read, Unusable):
        read.fail()
    row, name = read[0], read[0]["index"]
    picture = _resolved(read[1], by_index, f"question {name}")
    cycle = cycles.index(row["cycle_category"])
    options = tuple(row[letter] for letter in LETTERS)
    question = row["question"]
    return Question(
        name=name, instruction=lettered(question, options), options=options,
        choice=letter_of(row["answer"], len(options), name), group=f"{row['category']}/{cycle}",
        pictures=picture, cluster=hashlib.sha256(f"{picture.digest}{question}".encode()).hexdigest()[:16],
        meta={"category": row["category"], "cycle": row["cycle_category"]},
    )  # fmt: skip
