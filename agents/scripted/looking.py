"""Choosing among found objects by their pixels, sizes and places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visenv import VisenvError

from .reading import Reading

__all__ = ["choose"]

Found = dict[str, Any]
"""An entry of the observation's ``objects``."""
STEPS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
ENDS = {"leftmost": (-1, 0), "rightmost": (1, 0), "topmost": (0, -1), "bottommost": (0, 1)}


def choose(
    objects: Sequence[Found], reading: Reading, anchor: Found | None, pixels: npt.NDArray[np.uint8]
) -> list[Found]:
    """Return the objects that fit the look, the relation and the extreme of a reading.

    Args:
        objects: Candidates of the right kind, in one image.
        reading: What is asked for.
        anchor: The object that the relation is to.
        pixels: That image, ``uint8 (H, W, 3)``.
    """
    chosen = [o for o in objects if anchor is None or o["id"] != anchor["id"]]
    if reading.look is not None:
        chosen = _looking(chosen, reading.look, pixels)
    if reading.relation is not None and anchor is not None:
        chosen = _related(chosen, reading.relation, anchor)
    if reading.extreme in ENDS:
        step = ENDS[reading.extreme]
        chosen = sorted(chosen, key=lambda o: -_along(_centre(o), step))[:1]
    elif reading.extreme is not None:
        sign = 1 if reading.extreme == "smallest" else -1
        chosen = sorted(chosen, key=lambda o: sign * _extent(o))[:1]
    return chosen


def _centre(o: Found) -> tuple[float, float]:
    x1, y1, x2, y2 = (float(v) for v in o["box"])
    return (x1 + x2) / 2, (y1 + y2) / 2


def _extent(o: Found) -> float:
    x1, y1, x2, y2 = (float(v) for v in o["box"])
    return math.sqrt(max(1.0, (x2 - x1) * (y2 - y1)))


def _along(point: tuple[float, float], step: tuple[int, int]) -> float:
    return point[0] * step[0] + point[1] * step[1]


def _related(objects: list[Found], relation: str, anchor: Found) -> list[Found]:
    ax, ay = _centre(anchor)
    if relation == "nearest":
        return sorted(objects, key=lambda o: math.dist(_centre(o), (ax, ay)))[:1]
    direct = relation.startswith("directly_")
    step = STEPS[relation.removeprefix("directly_")]
    ahead = [(_along((x - ax, y - ay), step), _along((abs(x - ax), abs(y - ay)), (abs(step[1]), abs(step[0]))), o)
             for o in objects for x, y in [_centre(o)]]  # fmt: skip
    if direct:
        line = sorted(((a, k) for k, (a, aside, _) in enumerate(ahead) if a > 0 and aside <= 0.5 * a))
        return [ahead[line[0][1]][2]] if line else []
    return [o for a, _, o in ahead if a > 0]


def _looking(objects: list[Found], look: str, pixels: npt.NDArray[np.uint8]) -> list[Found]:
    if look in ("small", "large"):
        return _by_size(objects, look)
    if look == "grey":
        return [o for o in objects if _colourfulness(_inside(o, pixels)) < 14]
    if look == "blurry":
        sharp = [_sharpness(_inside(o, pixels)) for o in objects]
        return [o for o, s in zip(objects, sharp, strict=True) if s < 0.3 * float(np.median(sharp))] or (
            [objects[int(np.argmin(sharp))]] if len(objects) > 1 else []
        )
    if look == "upside_down":  # no way to tell without knowing what the thing looks like
        return objects
    raise VisenvError(f"Unknown look {look!r}. Expected one that read_instruction gives.")


def _by_size(objects: list[Found], look: str) -> list[Found]:
    order = sorted(objects, key=_extent)
    ratios = [_extent(b) / _extent(a) for a, b in pairwise(order)]
    if not ratios or max(ratios) < 1.25:
        return order if look == "large" else []
    cut = ratios.index(max(ratios)) + 1
    return order[:cut] if look == "small" else order[cut:]


def _inside(o: Found, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle of an object's box, where little background shows."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = (float(v) for v in o["box"])
    dx, dy = 0.2 * (x2 - x1), 0.2 * (y2 - y1)
    left, top = min(width - 1, max(0, int(x1 + dx))), min(height - 1, max(0, int(y1 + dy)))
    return pixels[top : max(top + 1, int(y2 - dy)), left : max(left + 1, int(x2 - dx))]


def _colourfulness(patch: npt.NDArray[np.uint8]) -> float:
    """High end of the spread between colour channels, noise smoothed away."""
    smooth = cv2.blur(patch, (5, 5)).astype(np.int16)
    return float(np.percentile(smooth.max(2) - smooth.min(2), 80))


def _sharpness(patch: npt.NDArray[np.uint8]) -> float:
    """Strongest edges, relative to the contrast of the patch."""
    grey = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return float(np.percentile(edges, 98)) / (float(np.ptp(grey)) + 20.0)
