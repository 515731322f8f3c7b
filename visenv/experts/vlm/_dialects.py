"""How families of vision-language models are asked, and what their coordinates are relative to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...vision import smart_resize
from .._protocol import Capability

__all__ = ["DIALECTS", "Dialect"]

Form = Literal["tags", "triples", "json"]


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
        width, height = smart_resize(size_wh, factor_px=28, min_pixels=56 * 56, max_pixels=view_pixels)
        return float(width), float(height)


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
