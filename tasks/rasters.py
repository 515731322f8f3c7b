"""Polygons to masks exactly as the benchmarks' own code draws them; each convention gives other pixels.

Two rasterisers are in use. OpenCV's (ReasonSeg) truncates points and paints the boundary; pycocotools' (the RefCOCO family)
does neither and its masks are thinner: for a disc of 8 px radius the two overlap by an IoU of 0.82 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from pycocotools import mask as coco

from visenv.errors import bad_value
from visenv.masks import Mask, union_masks

__all__ = ["coco_mask", "coco_mask_at", "lisa_masks", "nearest"]

IGNORED, TARGET = 255, 1
MAX_SIDE_PX = 8192
"""Of a picture that polygons are drawn on; larger ones are not opened either."""
MAX_OUTLINE = 100
"""Longest outline of an object of COCO's, all parts, in widths plus heights of its picture. pycocotools allocates by that length, and
does not look whether it was given the memory."""
MAX_OUTLINE_ALL = 1000
"""The same of all shapes of a ReasonSeg annotation."""
MAX_PARTS = 5000
"""Most parts of an object."""
MAX_SHAPES, MAX_POINTS = 500, 5000
"""Most shapes of a ReasonSeg annotation, and most points of one: OpenCV takes more than quadratic time in them."""
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def lisa_masks(shapes: Iterable[Mapping[str, Any]], size_hw: tuple[int, int]) -> tuple[Mask, Mask]:
    """Return the target's pixels and the ignored ones of a ReasonSeg annotation.

    Larger shapes are painted first, so that smaller ones stay on top; among equal areas NumPy's default sort decides, as it
    does for the authors. Labels that contain "ignore" are ignored regions, "flag" is skipped, all others are the target, in any
    case of letters.

    Args:
        shapes: ``{"label": text, "points": [[x, y], …]}`` in pixels, as in the files.
        size_hw: Size of the upright picture.

    Raises:
        BadValueError: A shape is not of that form, or has a point that is not a finite number near the picture; or there is far more
            to draw than anybody annotates.

    Source: get_mask_from_json in utils/data_processing.py of dvlab-research/LISA@3cb2d430. Gives its pixels with OpenCV 4.11
    to 5.0; before that OpenCV drew crossing edges and points outside the picture differently.
    """
    drawn: list[tuple[int, Ints, int]] = []
    read = [_shape(shape, size_hw) for shape in shapes]
    read = [(label, points) for label, points in read if label != "flag"]
    if len(read) > MAX_SHAPES or any(len(points) > MAX_POINTS for _, points in read):
        counts = [len(points) for _, points in read]
        raise bad_value("points of shapes", counts, expected=f"{MAX_SHAPES} shapes of {MAX_POINTS} points at most")
    _check_outline([points.astype(np.float64) for _, points in read], size_hw, MAX_OUTLINE_ALL)
    for label, points in read:
        drawn.append((IGNORED if "ignore" in label else TARGET, points, _painted_px(points, size_hw)))
    canvas = np.zeros(size_hw, np.uint8)
    for index in np.argsort([area for _, _, area in drawn])[::-1]:
        value, points, _ = drawn[index]
        _paint(canvas, points, value)
    return Mask.from_dense(canvas == TARGET), Mask.from_dense(canvas == IGNORED)


def coco_mask(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> tuple[Mask, Mask]:
    """Return the pixels that any part of an object covers, and those that two parts or more cover.

    Args:
        polygons: The parts of one object, each ``[x0, y0, x1, y1, …]`` in pixels; none gives empty masks.
        size_hw: Size of the picture.

    Raises:
        BadValueError: A polygon is not a flat list of at least three points, or a point is not a finite number near the
            picture; or there is far more to draw than anybody annotates.

    Source: pycocotools' polygons to RLE, part by part, as getMask in refer/refer.py of yz93/LAVT-RIS@1da0af9f (which sums the
    parts) and _merge_masks of henghuiding/ReLA@3ca95519 (which joins them with "any").
    """
    parts = _rles([_polygon(p, size_hw) for p in polygons], size_hw)
    covered = twice = None
    for part in parts:
        if covered is None:
            covered = part
            continue
        both = coco.merge([covered, part], intersect=True)
        twice = both if twice is None else coco.merge([twice, both])
        covered = coco.merge([covered, part])
    return _mask(covered, size_hw), _mask(twice, size_hw)


def coco_mask_at(
    objects: Iterable[Sequence[Sequence[float]]], size_hw: tuple[int, int], to_hw: tuple[int, int] = (480, 480)
) -> Mask:
    """Return all pixels of several objects on a canvas of another size, their points scaled before anything is drawn.

    Not the same as resizing a mask: ReLA evaluates on this one, 480 x 480.

    Source: the resize of points by detectron2 (each coordinate times new / old side) and convert_coco_poly_to_mask in
    gres_model/data/dataset_mappers/refcoco_mapper.py of henghuiding/ReLA@3ca95519.
    """
    scale = np.array([to_hw[1] / size_hw[1], to_hw[0] / size_hw[0]])
    masks = []
    for polygons in objects:
        scaled = [(_polygon(p, size_hw).reshape(-1, 2) * scale).ravel() for p in polygons]
        masks += [_mask(code, to_hw) for code in _rles(scaled, to_hw)]
    return union_masks(masks, to_hw)


def nearest(mask: Mask, size_hw: tuple[int, int] = (480, 480)) -> Mask:
    """Resize a mask by Pillow's nearest neighbour, which decides some pixels otherwise than a formula would."""
    if mask.size_hw == size_hw:
        return mask
    if 0 in mask.size_hw or not mask.area_px:
        return Mask.empty(size_hw)
    return mask.take(*(_picked(side, to) for side, to in zip(mask.size_hw, size_hw, strict=True)))


@lru_cache(maxsize=4096)
def _picked(length: int, to: int) -> Ints:
    """Return the rows, or columns, that Pillow takes when it resizes ``length`` of them to ``to``."""
    places = Pillow.fromarray(np.arange(length, dtype=np.int32)[None])
    picked: Ints = np.asarray(places.resize((to, 1), Pillow.Resampling.NEAREST), np.int32)[0]
    return picked


def _shape(shape: Mapping[str, Any], size_hw: tuple[int, int]) -> tuple[str, Ints]:
    """Read one shape: its label in small letters and its points, truncated towards zero."""
    try:
        label, points = shape["label"], np.asarray(shape["points"], np.float64)
        if not isinstance(label, str) or points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise TypeError("of another form")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise bad_value("shape", shape, expected='{"label": text, "points": [[x, y], …]}') from error
    _check_near(points, size_hw, "points")
    return label.lower(), points.astype(np.int32)


def _polygon(values: Sequence[float], size_hw: tuple[int, int]) -> Floats:
    """Read one polygon as a flat array; pycocotools would take four numbers for a box and trusts the rest."""
    try:
        flat = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_value("polygon", values, expected="a flat list of numbers") from error
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2:
        raise bad_value("polygon", values, expected="[x0, y0, x1, y1, …] with three points at least")
    _check_near(flat.reshape(-1, 2), size_hw, "polygon")
    return flat


def _check_near(points: Floats, size_hw: tuple[int, int], name: str) -> None:
    """Refuse what would make a rasteriser overflow, or draw a line of a million pixels."""
    limit = 10 * max(size_hw) + 1000
    if not (np.isfinite(points).all() and (np.abs(points) <= limit).all()):
        worst = points[~(np.abs(points) <= limit).all(1)][0].tolist()
        raise bad_value(
            name, worst, expected=f"finite pixels, at most {limit} away from a picture of {size_hw[1]} x {size_hw[0]}"
        )


def _paint(canvas: npt.NDArray[np.uint8], points: Ints, value: int) -> None:
    cv2.polylines(canvas, [points], True, value, 1)
    cv2.fillPoly(canvas, [points], value)


def _painted_px(points: Ints, size_hw: tuple[int, int]) -> int:
    """Count the pixels a shape covers when it is drawn alone: only its own box is looked at."""
    x, y, width, height = cv2.boundingRect(points)
    left, top = max(0, x), max(0, y)
    right, bottom = min(size_hw[1], x + width), min(size_hw[0], y + height)
    if left >= right or top >= bottom:
        return 0
    canvas = np.zeros(size_hw, np.uint8)  # of full size: OpenCV clips lines at the border of its canvas
    _paint(canvas, points, 1)
    return int(cv2.countNonZero(canvas[top:bottom, left:right]))


def _rles(polygons: Sequence[Floats], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the code of each part of an object, drawn by pycocotools."""
    if len(polygons) > MAX_PARTS:
        raise bad_value("number of polygons", len(polygons), expected=f"{MAX_PARTS} at most")
    _check_outline([p.reshape(-1, 2) for p in polygons], size_hw, MAX_OUTLINE)
    return [coco.frPyObjects([polygon.tolist()], *size_hw)[0] for polygon in polygons]


def _check_outline(shapes: Iterable[Floats], size_hw: tuple[int, int], limit: int) -> None:
    """Refuse what would fill the memory or take hours to draw, and is no outline of anything."""
    if max(size_hw) > MAX_SIDE_PX:
        raise bad_value("size", size_hw, expected=f"sides of at most {MAX_SIDE_PX} px")
    length = sum(float(np.abs(points - np.roll(points, 1, 0)).max(1).sum()) + len(points) for points in shapes)
    if length > limit * sum(size_hw):
        raise bad_value(
            "length of outlines", round(length), expected=f"at most {limit} times width plus height of {size_hw[1]} x {size_hw[0]} px"
        )  # fmt: skip


def _mask(code: dict[str, Any] | None, size_hw: tuple[int, int]) -> Mask:
    return Mask.empty(size_hw) if code is None else Mask(size_hw, code["counts"])
