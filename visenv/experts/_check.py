"""Checking what experts return: a result that does not fit its request is the expert's failure, never a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..masks import Mask
from ..rle import measure
from ._protocol import (
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Request,
    Result,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)

__all__ = ["find_problem", "num_bytes"]

NO_NUMBERS = np.zeros(0)
EXPECTED: dict[type, type] = {
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
    width, height = request.image.size_wh
    for name in ("boxes_xyxy", "points_xy", "scores"):
        if not isinstance(getattr(result, name, NO_NUMBERS), np.ndarray):
            return f"{name} that are no array"
    match result:
        case Detections(boxes_xyxy=boxes, scores=scores, labels=labels):
            n = len(labels)
            if np.shape(boxes) != (n, 4) or np.shape(scores) != (n,):
                return f"boxes {np.shape(boxes)}, scores {np.shape(scores)} and {n} labels"
            if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
                return "boxes or scores that are not finite"
            if result.masks is not None:
                if len(result.masks) != n:
                    return f"{len(result.masks)} masks for {n} boxes"
                problem = _find_mask_problem(result.masks, (height, width))
                if problem:
                    return problem
            if not all(isinstance(label, str) for label in labels):
                return "labels that are not text"
        case Segmentation(mask=mask, score=score):
            return _find_mask_problem([mask], (height, width)) or (
                None if np.isfinite(score) else f"a score of {score}"
            )
        case Points(points_xy=points, scores=scores):
            if np.shape(points) != (len(scores), 2):
                return f"points {np.shape(points)} for {len(scores)} scores"
            if not (np.isfinite(points).all() and np.isfinite(scores).all()):
                return "points or scores that are not finite"
        case TextLines(lines=lines, boxes_xyxy=boxes):
            if np.shape(boxes) != (len(lines), 4) or not np.isfinite(boxes).all():
                return f"boxes {np.shape(boxes)} for {len(lines)} lines of text"
        case Upscaled(image=image):
            assert isinstance(request, UpscaleRequest)
            if image.size_wh != (width * request.scale, height * request.scale):
                return f"an image of {image.size_wh} for {request.scale} times {(width, height)}"
    return None


def _find_mask_problem(masks: Sequence[Mask], size_hw: tuple[int, int]) -> str | None:
    """Say what is wrong with masks. Only one code of each is let through, so that equal masks are equal wherever they have been."""
    for mask in masks:
        if mask.size_hw != size_hw:
            return f"a mask of {mask.size_hw} for an image of {size_hw}"
    found = measure([mask.counts for mask in masks])
    if any(total != size_hw[0] * size_hw[1] for total in found.total_px):
        return "a mask whose runs do not fill the image"
    if not all(found.is_plain):
        return "a mask that is not coded as `Mask.from_dense` does it (`Mask.from_json` mends that)"
    return None


def num_bytes(result: Result) -> int:
    """Estimate what a result holds in memory."""
    match result:
        case Upscaled(image=image):
            return image.pixels.nbytes
        case Segmentation(mask=mask):
            return len(mask.counts) + 200
        case Detections(boxes_xyxy=boxes, masks=masks):
            return int(boxes.nbytes) * 3 + sum(len(m.counts) for m in masks or ()) + 500
    return 1000
