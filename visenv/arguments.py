"""Kinds of tool arguments: each gives the JSON schema, the check, the sampler and the words for one argument.

A tool annotates its parameters with these (``Annotated`` aliases such as :data:`ImageName`); everything that describes the
tool is derived from them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

__all__ = [
    "MAX_IMAGES",
    "MAX_LIST",
    "MAX_NAME",
    "NO_LINE",
    "ArgumentError",
    "ArgumentKind",
    "ChoiceKind",
    "CoordinateKind",
    "ImageName",
    "ImageNameKind",
    "ImageNames",
    "IntegerKind",
    "ListKind",
    "ObjectIds",
    "Phrase",
    "TextKind",
    "X",
    "Y",
]

MAX_LIST = 1024
"""Longest list of ids that a call may hold."""
MAX_IMAGES = 64
"""Longest list of image names that a call may hold."""
MAX_NAME = 64
"""Longest name of an image."""
NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a line cannot hold: line breaks and control characters."""


class ArgumentError(ValueError):
    """A value does not fit its argument; the message says what was expected, for a model to read."""

    def __init__(self, code: str, expected: str) -> None:
        super().__init__(expected)
        self.code = code


class ArgumentKind(ABC):
    """One kind of argument."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema, without a description."""

    @abstractmethod
    def check(self, value: object) -> Any:
        """Return the value in canonical Python types.

        Raises:
            ArgumentError: Wrong type or out of range.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a valid value."""

    @abstractmethod
    def words(self) -> str:
        """Return the kind in a few words, for prompts and errors."""


@dataclass(frozen=True, slots=True)
class IntegerKind(ArgumentKind):
    """A whole number in a range, both ends included. Booleans and fractions are refused."""

    low: int
    high: int

    def schema(self) -> dict[str, Any]:  # noqa: D102 - documented on the base class
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def check(self, value: object) -> int:  # noqa: D102
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise ArgumentError("wrong_type", self.words())
        if not self.low <= value <= self.high:
            raise ArgumentError("out_of_range", self.words())
        return int(value)

    def sample(self, rng: np.random.Generator) -> int:  # noqa: D102
        return int(rng.integers(self.low, self.high + 1))

    def words(self) -> str:  # noqa: D102
        return f"an integer from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class TextKind(ArgumentKind):
    """Text of bounded length."""

    max_length: int = 400
    examples: tuple[str, ...] = ("apple", "red car", "dogs")
    min_length: int = 1
    one_line: bool = False
    """Whether it is told back inside a line, which it must not end: what follows would pass for the tool's own words."""

    def schema(self) -> dict[str, Any]:  # noqa: D102
        schema = {"type": "string", "minLength": self.min_length, "maxLength": self.max_length}
        return {**schema, "pattern": r"\S"} if self.min_length else schema

    def check(self, value: object) -> str:  # noqa: D102
        if not isinstance(value, str):
            raise ArgumentError("wrong_type", self.words())
        if not self.min_length <= len(value) <= self.max_length or (self.min_length and not value.strip()):
            raise ArgumentError("out_of_range", self.words())
        if any("\ud800" <= c <= "\udfff" for c in value):  # half a character: cannot be written to any file
            raise ArgumentError("out_of_range", f"{self.words()}, valid Unicode")
        if self.one_line and NO_LINE.search(value):
            raise ArgumentError("out_of_range", f"{self.words()}, on one line, without control characters")
        return value

    def sample(self, rng: np.random.Generator) -> str:  # noqa: D102
        return self.examples[int(rng.integers(len(self.examples)))]

    def words(self) -> str:  # noqa: D102
        return (
            f"text of {self.min_length} to {self.max_length} characters{', not only spaces' if self.min_length else ''}"
        )


@dataclass(frozen=True, slots=True)
class ChoiceKind(ArgumentKind):
    """One of a few words."""

    options: tuple[str, ...]

    def schema(self) -> dict[str, Any]:  # noqa: D102
        return {"type": "string", "enum": list(self.options)}

    def check(self, value: object) -> str:  # noqa: D102
        if not isinstance(value, str):
            raise ArgumentError("wrong_type", self.words())
        if value not in self.options:
            raise ArgumentError("out_of_range", self.words())
        return value

    def sample(self, rng: np.random.Generator) -> str:  # noqa: D102
        return self.options[int(rng.integers(len(self.options)))]

    def words(self) -> str:  # noqa: D102
        return "one of " + ", ".join(f'"{o}"' for o in self.options)


@dataclass(frozen=True, slots=True)
class ImageNameKind(ArgumentKind):
    """The name of an image of the episode. Whether it exists is only known during the episode."""

    def schema(self) -> dict[str, Any]:  # noqa: D102
        return {"type": "string", "minLength": 1, "maxLength": MAX_NAME}

    def check(self, value: object) -> str:  # noqa: D102
        if not isinstance(value, str):
            raise ArgumentError("wrong_type", self.words())
        if not 1 <= len(value) <= MAX_NAME:
            raise ArgumentError("out_of_range", self.words())
        return value

    def sample(self, rng: np.random.Generator) -> str:  # noqa: D102
        return f"img_{int(rng.integers(2))}"

    def words(self) -> str:  # noqa: D102
        return 'the name of an image, such as "img_0"'


@dataclass(frozen=True, slots=True)
class CoordinateKind(IntegerKind):
    """How far right or down a place is, as 0-1000. How an agent writes it is its grammar's :class:`~visenv.coordinates.Coordinates`."""

    low: int = field(default=0, init=False)
    high: int = field(default=1000, init=False)
    axis: Literal["width", "height"]

    def side_of(self, size_wh: tuple[int, int]) -> int:
        """Return the side that it is measured along."""
        return size_wh[self.axis == "height"]


@dataclass(frozen=True, slots=True)
class ListKind(ArgumentKind):
    """A list of another kind, not empty; repetitions are dropped."""

    item: ArgumentKind
    max_items: int = MAX_LIST

    def schema(self) -> dict[str, Any]:  # noqa: D102
        return {"type": "array", "items": self.item.schema(), "minItems": 1, "maxItems": self.max_items}

    def check(self, value: object) -> list[Any]:  # noqa: D102
        if not isinstance(value, (list, tuple)):
            raise ArgumentError("wrong_type", self.words())
        if not 1 <= len(value) <= self.max_items:
            raise ArgumentError("out_of_range", self.words())
        return list(dict.fromkeys(self.item.check(v) for v in value))

    def sample(self, rng: np.random.Generator) -> list[Any]:  # noqa: D102
        return list(dict.fromkeys(self.item.sample(rng) for _ in range(int(rng.integers(1, 4)))))

    def words(self) -> str:  # noqa: D102
        return f"a list of 1 to {self.max_items} items, each {self.item.words()}"


ImageName = Annotated[str, ImageNameKind()]
"""The name of an image."""
ImageNames = Annotated[list[str], ListKind(ImageNameKind(), MAX_IMAGES)]
"""Names of images."""
ObjectIds = Annotated[list[int], ListKind(IntegerKind(0, 9999))]
"""Ids of objects."""
Phrase = Annotated[str, TextKind(200, one_line=True)]
"""A short noun phrase."""
X = Annotated[int, CoordinateKind("width")]
"""How far right a place is, in the image that the argument ``image`` names; 0-1000 in the call."""
Y = Annotated[int, CoordinateKind("height")]
"""How far down a place is."""
