"""What experts found, checked against what the agent was told of it: what the tools of several toolsets need for that.

For each tool that asks an expert for objects there is a function (``_finds_TOOLSET.py``) which returns the result that the tool
gives when the experts find the recorded objects, or raises :class:`FindsError` where no finds give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visenv.context import ToolContext, map_points
from visenv.memory import NamedImage
from visenv.objects import DetectedObject
from visenv.tools import ToolResult

__all__ = [
    "Derive",
    "FindsError",
    "Made",
    "Objects",
    "Shown",
    "near",
    "need",
    "need_inside",
    "need_masked",
    "need_numbered",
]

Objects = tuple[DetectedObject, ...]
CLICK_TOLERANCE = 1e-6
EDGE_PX = 1.0
"""How far a mask may reach out of the view that it was found in: it is resampled where the view is enlarged."""


class FindsError(Exception):
    """The recorded objects are not what the tool could have made, or not what the agent was told."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a call gave."""

    result: ToolResult
    drawn: bool = True
    """Whether its pictures are those of the episode."""


Shown = Mapping[str, Objects | None]
"""What a call put in view, each with the objects that it draws; ``None`` for a picture that draws none."""
Derive = Callable[[ToolContext, Mapping[str, Any], Objects, str, Shown], Made]
"""From the state before a call, its arguments, the objects after it, what was said and shown to what the call gave."""


def need(right: bool, otherwise: str) -> None:
    """Raise the words unless it is right.

    Raises:
        FindsError: It is not.
    """
    if not right:
        raise FindsError(otherwise)


def need_numbered(new: Sequence[DetectedObject], context: ToolContext) -> None:
    """Check that new objects have the next numbers.

    Raises:
        FindsError: They have not.
    """
    first = context.next_object_id
    need([o.id for o in new] == list(range(first, first + len(new))), "objects have other numbers than they get")


def need_masked(o: DetectedObject, place: NamedImage, label: str) -> None:
    """Check that an object is what a segmenter makes: a mask of some pixels with its own box, of this name and source.

    Raises:
        FindsError: It is not.
    """
    right = o.image == place.source and o.label == label
    need(right and o.mask is not None and o.mask.area_px > 0, f"object #{o.id} is not what the call asked for")
    need(o.mask is not None and tuple(o.box_xyxy) == o.mask.box_xyxy, f"object #{o.id} is not in its box")


def need_inside(o: DetectedObject, place: NamedImage) -> None:
    """Check that what was found in a view does not reach out of it.

    Raises:
        FindsError: It does.
    """
    width, height = place.size_wh
    corners = map_points([(0, 0), (width, 0), (0, height), (width, height)], place.to_source)
    low, high = corners.min(axis=0) - EDGE_PX, corners.max(axis=0) + EDGE_PX
    box = np.reshape(o.box_xyxy, (2, 2))
    need(bool((box >= low).all() and (box <= high).all()), f"object #{o.id} reaches out of {place.name}")


def near(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    """Whether two lists of points are equal but for rounding."""
    return len(some) == len(others) and bool(
        np.allclose(np.reshape(some, (-1, 2)), np.reshape(others, (-1, 2)), rtol=0, atol=CLICK_TOLERANCE)
    )
