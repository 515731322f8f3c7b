"""Drawing results on pictures: boxes, masks and ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from .images import Image, Pixels
from .memory import Matrix
from .objects import DetectedObject

__all__ = ["COLOURS", "colour_of", "draw_objects", "draw_patch_grid", "draw_points"]

COLOURS = (
    (230, 25, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (0, 150, 110), (240, 50, 230),
    (128, 100, 0), (0, 0, 160), (170, 20, 20), (0, 110, 110),
)  # fmt: skip
"""RGB colours for objects by id, told apart also on dark pictures by their white rim."""

FONT = cv2.FONT_HERSHEY_SIMPLEX


def colour_of(object_id: int) -> tuple[int, int, int]:
    """Return an object's colour, RGB."""
    return COLOURS[object_id % len(COLOURS)]


def draw_objects(
    image: Image, objects: Sequence[DetectedObject], *, from_source: Matrix | None = None, alpha: float = 0.35
) -> Image:
    """Draw masks (tinted, outlined) or boxes, each with its id, on a copy of a picture.

    Args:
        image: The picture.
        objects: Objects in pixels of the source image.
        from_source: 2x3 map from source pixels to the picture's; ``None`` when the picture is the source.
        alpha: Strength of the tint inside masks, 0 to 1.
    """
    canvas = image.pixels.copy()
    unit = max(1, round(min(image.size_wh) / 400))
    tags = []
    for o in objects:
        colour = colour_of(o.id)
        corners = _mapped(np.array(o.box_xyxy, np.float64).reshape(2, 2), from_source)
        x1, y1, x2, y2 = (
            int(v) for v in np.round([*corners.min(axis=0), *corners.max(axis=0)])
        )  # of a turned view too
        if o.mask is not None:
            outline = _contours(o, from_source)
            _tint(canvas, outline, colour, alpha)
            cv2.drawContours(canvas, outline, -1, colour, unit, cv2.LINE_8)
        else:
            cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), (255, 255, 255), unit + 2)
            cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, unit)
        tags.append((str(o.id), x1, y1, colour))
    for text, x, y, colour in tags:
        _tag(canvas, text, x, y, colour, unit)
    return Image(canvas)


def draw_patch_grid(image: Image, cells: Sequence[tuple[str, tuple[int, int, int, int]]]) -> Image:
    """Draw named cells (pixel boxes) on a copy of a picture: red outlines, yellow names."""
    canvas = image.pixels.copy()
    width = image.size_wh[0]
    line = max(2, width // 200)
    scale = max(0.35, width / 1200)
    for name, (x1, y1, x2, y2) in cells:
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), (255, 0, 0), line)
        place = (x1 + 2 * line, y1 + 2 * line + round(22 * scale))
        cv2.putText(canvas, name, place, FONT, scale, (0, 0, 0), 2 * line + 1, cv2.LINE_AA)
        cv2.putText(canvas, name, place, FONT, scale, (255, 230, 0), line, cv2.LINE_AA)
    return Image(canvas)


def _mapped(points_xy: np.ndarray, matrix: Matrix | None) -> np.ndarray:
    return points_xy if matrix is None else points_xy @ matrix[:, :2].T + matrix[:, 2]


def _contours(o: DetectedObject, matrix: Matrix | None) -> list[np.ndarray]:
    assert o.mask is not None
    x1, y1, _, _ = o.mask.box_xyxy
    crop = o.mask.crop_hw
    if not crop.size:
        return []
    found, _ = cv2.findContours(
        crop.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE if matrix is None else cv2.CHAIN_APPROX_SIMPLE,
        offset=(x1, y1),
    )  # fmt: skip
    if matrix is None:
        return list(found)
    return [np.round(_mapped(c.reshape(-1, 2) + 0.5, matrix)).astype(np.int32).reshape(-1, 1, 2) for c in found]


def _tint(canvas: Pixels, contours: list[np.ndarray], colour: tuple[int, int, int], alpha: float) -> None:
    if not contours:
        return
    x, y, w, h = cv2.boundingRect(np.concatenate(contours))
    x2, y2 = min(canvas.shape[1], x + w), min(canvas.shape[0], y + h)
    x, y = max(0, x), max(0, y)
    if x >= x2 or y >= y2:
        return
    region = canvas[y:y2, x:x2]
    inside = np.zeros(region.shape[:2], np.uint8)
    cv2.drawContours(inside, contours, -1, 255, cv2.FILLED, offset=(-x, -y))
    cv2.copyTo(cv2.LUT(region, _tint_table(colour, alpha)), inside, region)


@lru_cache(maxsize=64)
def _tint_table(colour: tuple[int, int, int], alpha: float) -> np.ndarray:
    """What each value of each channel becomes under a tint, ``uint8 (1, 256, 3)``."""
    values = np.arange(256)[:, None] * (1 - alpha) + np.array(colour) * alpha
    return np.rint(values).astype(np.uint8)[None]


def _tag(canvas: Pixels, text: str, x: int, y: int, colour: tuple[int, int, int], unit: int) -> None:
    scale = 0.4 * unit
    (w, h), _ = cv2.getTextSize(text, FONT, scale, unit)
    x = min(max(0, x), max(0, canvas.shape[1] - w - 4))
    y = min(max(0, y), max(0, canvas.shape[0] - h - 4))
    cv2.rectangle(canvas, (x, y), (x + w + 3, y + h + 3), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x + 2, y + h + 2), FONT, scale, (255, 255, 255), unit, cv2.LINE_AA)


def draw_points(image: Image, points_xy: np.ndarray) -> Image:
    """Draw points as pink dots with a white rim on a copy of a picture."""
    canvas = image.pixels.copy()
    radius = max(3, round(min(image.size_wh) / 160))
    for x, y in np.round(points_xy).astype(int):
        cv2.circle(canvas, (int(x), int(y)), radius + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, (int(x), int(y)), radius, (255, 20, 147), cv2.FILLED, cv2.LINE_AA)
    return Image(canvas)
