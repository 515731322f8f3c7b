"""How an agent writes places in an image: integers 0-1000, pixels, or fractions. Calls always hold 0-1000 in the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from .arguments import ArgumentError, IntegerKind
from .errors import unknown_name
from .vision import ESTIMATE, Vision

__all__ = ["COORDINATES", "THOUSANDTHS", "Axis", "Coordinates", "make_coordinates"]

Axis = Literal["width", "height"]


class Coordinates(ABC):
    """One way of writing how far right or down a place is, from an image's top left corner."""

    name: ClassVar[str]
    sentence: ClassVar[str]
    """For the prompt."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of one number."""

    @abstractmethod
    def words(self, axis: Axis) -> str:
        """Return what the number means, in a few words."""

    @abstractmethod
    def to_1000(self, value: object, side_px: int) -> int:
        """Return a number that was written as 0-1000.

        Args:
            value: Anything.
            side_px: The image's width or height, as the agent is shown it.

        Raises:
            ArgumentError: It is no such number, or outside the image.
        """

    @abstractmethod
    def from_share(self, share: float, side_px: int) -> int | float:
        """Write a share of a side, 0 to 1."""

    def seen_by(self, vision: Vision) -> Coordinates:
        """Return these coordinates for a model that sees pictures in its own size: only pixels are then others."""
        return self

    def seen_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height in which an image of this size is spoken of."""
        return size_wh

    def write(self, values: tuple[float, ...], size_wh: tuple[int, int]) -> str:
        """Write a point or a box in pixels of an image of this size."""
        shares = (min(1.0, max(0.0, v / side)) for v, side in zip(values, size_wh * (len(values) // 2), strict=True))
        sides = self.seen_wh(size_wh) * (len(values) // 2)
        return f"({', '.join(str(self.from_share(share, side)) for share, side in zip(shares, sides, strict=True))})"

    def __repr__(self) -> str:
        return f"Coordinates({self.name!r})"


class _Thousandths(Coordinates):
    """0-1000 of the image's width and height, the form of calls."""

    name = "thousandths"
    sentence = "Coordinates are integers 0-1000 of the named image, from its top left corner."

    def schema(self) -> dict[str, Any]:
        return IntegerKind(0, 1000).schema()

    def words(self, axis: Axis) -> str:
        return f"0-1000 of the image's {axis}"

    def to_1000(self, value: object, side_px: int) -> int:
        return IntegerKind(0, 1000).check(value)

    def from_share(self, share: float, side_px: int) -> int:
        return round(share * 1000)


class _Pixels(Coordinates):
    """Whole pixels of the image as the model sees it, as Qwen2.5-VL and others were trained."""

    name = "pixels"
    sentence = "Coordinates are whole pixels of the named image, from its top left corner."

    def __init__(self, vision: Vision = ESTIMATE) -> None:
        self._vision = vision

    def seen_by(self, vision: Vision) -> Coordinates:
        return _Pixels(vision)

    def seen_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        return self._vision.resized_wh(size_wh)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0}

    def words(self, axis: Axis) -> str:
        return f"in pixels of the image's {axis}"

    def to_1000(self, value: object, side_px: int) -> int:
        return round(IntegerKind(0, side_px).check(value) * 1000 / side_px)

    def from_share(self, share: float, side_px: int) -> int:
        return round(share * side_px)


class _Fractions(Coordinates):
    """0 to 1 of the image's width and height."""

    name = "fractions"
    sentence = "Coordinates are numbers from 0 to 1 of the named image's width and height, from its top left corner."

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "maximum": 1}

    def words(self, axis: Axis) -> str:
        return f"0 to 1 of the image's {axis}"

    def to_1000(self, value: object, side_px: int) -> int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ArgumentError("wrong_type", "a number from 0 to 1")
        if not 0 <= value <= 1:  # NaN neither; `math` cannot take integers of any size
            raise ArgumentError("out_of_range", "a number from 0 to 1")
        return round(float(value) * 1000)

    def from_share(self, share: float, side_px: int) -> float:
        return round(share, 3)


THOUSANDTHS: Coordinates = _Thousandths()
COORDINATES: dict[str, Coordinates] = {c.name: c for c in (THOUSANDTHS, _Pixels(), _Fractions())}
"""The ways of writing places, by name."""


def make_coordinates(name: str | Coordinates) -> Coordinates:
    """Return a way of writing places by name; one is returned as it is.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if isinstance(name, Coordinates):
        return name
    if name not in COORDINATES:
        raise unknown_name("coordinates", name, COORDINATES, remedy="Use one of these.")
    return COORDINATES[name]
