"""What benchmarks of multiple-choice questions share: one entry, its letters and options, its sample."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value
from visenv.images import Image
from visenv.task import Sample

from .benchmark import Benchmark
from .mirrors import Mirror, find_mirror
from .unusable import Unusable, each_usable

__all__ = ["LETTERS", "ChoiceBenchmark", "Question", "Unusable", "each_usable", "letter_of", "lettered"]

LETTERS = ascii_uppercase
MAX_PICTURES = 64
"""Most pictures of one question."""
IN_BRACKETS = re.compile(r"\(([A-Z])\)|([A-Z])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question as the annotations have it, no picture opened."""

    name: str
    """Its id in the data."""
    instruction: str
    """What is shown: the question with its lettered options."""
    options: tuple[str, ...]
    choice: str
    """The right letter."""
    group: str
    """What per-task averages go by."""
    pictures: Any
    """Where the pictures are; the benchmark's own :meth:`ChoiceBenchmark.images` knows what that means."""
    cluster: str | None = None
    """``None``: the first picture."""
    meta: Mapping[str, Any] = field(default_factory=dict)


class ChoiceBenchmark(Benchmark[Question | Unusable]):
    """A benchmark of questions over pictures with lettered options.

    Targets carry the letter, the option texts, and in ``labels`` the one group that per-task averages go by.
    """

    kind: ClassVar[AnswerKind] = AnswerKind.CHOICE
    max_turns: ClassVar[int] = 8
    takes_turned: ClassVar[bool] = True
    hub_id: ClassVar[str] = ""
    """Its id on the Hugging Face hub, where its authors publish it there."""
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By split: the files of that repository which are read; ``*`` stands for any text."""

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says.

        Args:
            root: The data root.
            mirror: The benchmark's id on the hub, to fetch it from there, or the folder of a copy.

        Raises:
            BadValueError: The mirror is another one.
        """
        super().__init__(root)
        self._mirror: Mirror | None = None
        self._copy = mirror
        if mirror is not None:
            self._mirror = find_mirror(self.name, mirror, known={self.hub_id: None}, of=self.name, published=self.published, root=root, folder=self.folder)  # fmt: skip

    @property
    def root(self) -> Path:
        """The benchmark's own folder, or that of its copy."""
        if self._mirror is None:
            return super().root
        return self._mirror.folder or self.fetched(self.splits[0])

    def fetched(self, split: str) -> Path:
        """Return the folder with the files of a split, fetched from the hub first if that is where they are.

        Raises:
            MissingDataError: They can neither be fetched nor found in the hub's cache, or no data root is known.
        """
        return self.root if self._mirror is None else self._mirror.fetch(*self.hub_files[split])

    @abstractmethod
    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open a question's pictures, in the order shown.

        Raises:
            MissingDataError: One is missing.
            BadValueError: One cannot be read.
        """

    def make(self, split: str, index: int, entry: Question | Unusable) -> Sample:
        """Make the sample of a question."""
        if isinstance(entry, Unusable):
            entry.fail()
        images = self.images(entry)
        if not 1 <= len(images) <= MAX_PICTURES:
            raise bad_value(f"number of pictures of {entry.name}", len(images), expected=f"1 to {MAX_PICTURES}")
        target = Target(
            kind=self.kind, size_hw=images[0].size_wh[::-1], labels=(entry.group,), options=entry.options, choice=entry.choice
        )  # fmt: skip
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index,
            instruction=entry.instruction, images=images, target=target, cluster=entry.cluster or images[0].hash[:16],
            meta={"question": entry.name, "group": entry.group, **entry.meta},
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "mirror": self._copy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"], mirror=state["mirror"])  # type: ignore[misc]


def letter_of(answer: object, num_options: int, where: str) -> str:
    """Return the letter in ``B`` or ``(B)``.

    Raises:
        BadValueError: It is no letter of an option, or there are not 2 to 26 options.
    """
    if not 2 <= num_options <= len(LETTERS):
        raise bad_value(f"options of {where}", num_options, expected=f"2 to {len(LETTERS)}")
    found = IN_BRACKETS.fullmatch(answer.strip()) if isinstance(answer, str) else None
    letter = (found[1] or found[2]) if found else None
    if letter is None or LETTERS.index(letter) >= num_options:
        raise bad_value(f"answer of {where}", answer, expected=f"a letter from A to {LETTERS[num_options - 1]}")
    return letter


def lettered(question: str, options: Sequence[str]) -> str:
    """Return the question with a line for each option.

    Example:
        >>> print(lettered("What is it?", ["a cat", "a dog"]))
        What is it?
        (A) a cat
        (B) a dog
    """
    return "\n".join([question, *(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))])
