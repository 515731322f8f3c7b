"""How families of vision-language models are asked, and what their coordinates are relative to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .._protocol import Capability

__all__ = ["DIALECTS", "Dialect", "resized_wh"]

Form = Literal["tags", "triples", "json"]

FACTOR_PX = 28
SMALLEST_VIEW_PX = 56 * 56


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """One family's way to answer."""

    form: Form
    """How it writes points: ``<point x= y=>``, ``<points coords=>``, or JSON, which has boxes too."""
    extent: float | None
    """Coordinates of the right and bottom edges; ``None`` for pixels of the picture as the model resizes it."""
    prompts: Mapping[Capability, str]
    """What to ask; ``{phrase}`` stands for the phrase or the question."""

    def extent_wh(self, size_wh: tuple[int, int], view_pixels: int) -> tuple[float, float]:
        """Return the coordinates of the lower right corner of a picture of some size."""
        if self.extent is not None:
            return self.extent, self.extent
        width, height = resized_wh(size_wh, view_pixels)
        return float(width), float(height)


def resized_wh(size_wh: tuple[int, int], view_pixels: int) -> tuple[int, int]:
    """Return the size to which Qwen2.5-VL brings a picture: multiples of 28, of at most ``view_pixels`` together.

    Example:
        >>> resized_wh((640, 480), 12_845_056), resized_wh((640, 480), 100_000)
        ((644, 476), (364, 252))

    Source: what ``smart_resize`` of Qwen2-VL's processor in Transformers computes; it also refuses pictures more than 200 times as
    long as wide, which is left to the server.
    """
    width, height = size_wh
    sides = [round(side / FACTOR_PX) * FACTOR_PX for side in (width, height)]
    if sides[0] * sides[1] > view_pixels:
        shrink = math.sqrt(width * height / view_pixels)
        sides = [max(FACTOR_PX, math.floor(side / shrink / FACTOR_PX) * FACTOR_PX) for side in (width, height)]
    elif sides[0] * sides[1] < SMALLEST_VIEW_PX:
        grow = math.sqrt(SMALLEST_VIEW_PX / (width * height))
        sides = [math.ceil(side * grow / FACTOR_PX) * FACTOR_PX for side in (width, height)]
    return sides[0], sides[1]


READ_PLAIN: str = (
    "Read all the text in the image. Answer with the text alone, one line for each line of text, from top to bottom. "
    "If there is no text, answer NONE."
)
DESCRIBE: str = "Answer in one to five short sentences, from what is to be seen in the image alone: {phrase}"
TAGGED: Mapping[Capability, str] = {
    "point": "Point to {phrase} in the image.",
    "read": READ_PLAIN,
    "describe": DESCRIBE,
}
JSON: Mapping[Capability, str] = {
    "detect": (
        'Locate every instance of "{phrase}" in the image. Report the bounding boxes in JSON format, as '
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}]. If there is none, answer [].'
    ),
    "point": (
        'Point to every instance of "{phrase}" in the image. Report the points in JSON format, as '
        '[{"point_2d": [x, y], "label": "..."}]. If there is none, answer [].'
    ),
    "read": (
        "Spot all the text in the image, line by line, in reading order. Report it in JSON format, as "
        '[{"bbox_2d": [x1, y1, x2, y2], "text_content": "..."}]. If there is none, answer [].'
    ),
    "describe": DESCRIBE,
}
DIALECTS: Mapping[str, Dialect] = {
    "molmo": Dialect(form="tags", extent=100, prompts=TAGGED),
    "molmo2": Dialect(form="triples", extent=1000, prompts=TAGGED),
    "qwen2.5": Dialect(form="json", extent=None, prompts=JSON),
    "qwen3": Dialect(form="json", extent=1000, prompts=JSON),
}
"""By the name of the option ``style``."""
