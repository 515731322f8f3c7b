"""Checking what experts return: a result that does not fit its request is the expert's failure, never a score."""

from __future__ import annotations

import sys

import numpy as np

from ..errors import short
from ..images import Image
from ..masks import Mask
from ..rle import measure
from ._protocol import (
    MAX_DESCRIPTION,
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Request,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)

__all__ = ["find_problem", "num_bytes"]

SLACK_PX = 0.5
"""How far a box or a point may lie outside its picture: no more than rounding does."""
EXPECTED: dict[type, type] = {
    DescribeRequest: Description,
    DetectRequest: Detections,
    PointRequest: Points,
    ReadRequest: TextLines,
    SegmentRequest: Segmentation,
    UpscaleRequest: Upscaled,
}


def find_problem(request: Request, result: object) -> str | None:
    """Say what is wrong with a result, in a few words; ``None`` when it fits its request."""
    wanted = EXPECTED[type(request)]
    if not isinstance(result, wanted):
        return f"a {type(result).__name__} where {wanted.__name__} was expected"
    image = request.image
    match result:
        case Detections(boxes_xyxy=boxes, scores=scores, labels=labels, masks=masks):
            return (
                _find_text_problem("labels", labels, least=1)
                or _find_box_problem(boxes, len(labels), image)
                or _find_score_problem(scores, len(labels))
                or (None if masks is None else _find_mask_problem(masks, len(labels), image))
            )
        case Segmentation(mask=mask, score=score):
            if not (isinstance(score, (int, float)) and 0 <= score <= 1):
                return f"a score of {score!r} where a number from 0 to 1 was expected"
            return _find_mask_problem((mask,), 1, image)
        case Points(points_xy=points, scores=scores):
            number = len(points) if np.ndim(points) else 0
            return _find_place_problem("points", points, (number, 2), image) or _find_score_problem(scores, number)
        case TextLines(lines=lines, boxes_xyxy=boxes):
            return _find_text_problem("lines", lines) or _find_box_problem(boxes, len(lines), image)
        case Description(text=text):
            if not isinstance(text, str) or not text.strip() or len(text) > MAX_DESCRIPTION:
                return f"{short(text)} where 1 to {MAX_DESCRIPTION} characters were expected"
        case Upscaled(image=enlarged):
            assert isinstance(request, UpscaleRequest)
            width, height = (side * request.scale for side in image.size_wh)
            if not isinstance(enlarged, Image) or enlarged.size_wh != (width, height):
                return f"{short(enlarged)} where an image of {width} x {height} px was expected"
    return None


def _find_text_problem(what: str, texts: object, *, least: int = 0) -> str | None:
    if isinstance(texts, tuple) and all(isinstance(text, str) and len(text) >= least for text in texts):
        return None
    return f"{what} {short(texts)} where a tuple of {'non-empty ' * least}texts was expected"


def _find_box_problem(boxes: object, number: int, image: Image) -> str | None:
    problem = _find_place_problem("boxes", boxes, (number, 4), image)
    if problem is None:
        assert isinstance(boxes, np.ndarray)
        turned = boxes[:, 2:] < boxes[:, :2]
        if turned.any():
            return f"boxes that end before they begin, such as {boxes[turned.any(1)][0].tolist()}"
    return problem


def _find_place_problem(what: str, places: object, shape: tuple[int, ...], image: Image) -> str | None:
    """Say what is wrong with boxes or points: x and y in turn, in pixels of the image."""
    if problem := _find_array_problem(what, places, shape):
        return problem
    assert isinstance(places, np.ndarray)
    width, height = image.size_wh
    low, high = -SLACK_PX, np.array([width, height] * (shape[1] // 2)) + SLACK_PX
    inside = (places >= low) & (places <= high)
    if inside.all():
        return None
    return f"{what} outside the {width} x {height} px of the picture, such as {places[~inside.all(1)][0].tolist()}"


def _find_score_problem(scores: object, number: int) -> str | None:
    if problem := _find_array_problem("scores", scores, (number,)):
        return problem
    assert isinstance(scores, np.ndarray)
    inside = (scores >= 0) & (scores <= 1)
    if not inside.all():
        return f"scores outside [0, 1], such as {scores[~inside][0]}"
    return "scores that do not descend" if (scores[1:] > scores[:-1]).any() else None


def _find_array_problem(what: str, array: object, shape: tuple[int, ...]) -> str | None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        return f"{what} as {getattr(array, 'dtype', type(array).__name__)} where a float64 array was expected"
    return None if array.shape == shape else f"{what} of shape {array.shape} where {shape} was expected"


def _find_mask_problem(masks: object, number: int, image: Image) -> str | None:
    """Say what is wrong with masks. Only one code of each is let through, so that equal masks are equal wherever they have been."""
    if not isinstance(masks, tuple) or len(masks) != number or not all(isinstance(mask, Mask) for mask in masks):
        return f"{short(masks)} where {number} masks were expected"
    width, height = image.size_wh
    for mask in masks:
        if mask.size_hw != (height, width):
            return f"a mask of {mask.size_hw} for an image of {(height, width)}"
    found = measure([mask.counts for mask in masks])
    if any(total != height * width for total in found.total_px):
        return "a mask whose runs do not fill the image"
    if not all(found.is_plain):
        return "a mask that is not coded as `Mask.from_dense` does it (`Mask.from_json` mends that)"
    return None


def num_bytes(value: object) -> int:
    """Return what a result, or what it is found by, holds in memory; of a mask also the crop that drawing it leaves there."""
    own = sys.getsizeof(value)
    match value:
        case np.ndarray():
            return max(own, value.nbytes)
        case tuple():
            return own + sum(map(num_bytes, value))
        case Mask():
            x1, y1, x2, y2 = value.box_xyxy
            return own + len(value.counts) + (x2 - x1) * (y2 - y1)
        case Image():
            return own + value.pixels.nbytes
    return own + sum(num_bytes(getattr(value, name)) for name in getattr(value, "__dataclass_fields__", ()))
