"""Checking what experts return: a result that does not fit its request is the expert's failure, never a score."""

from __future__ import annotations

import numpy as np

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
    match result:
        case Detections(boxes_xyxy=boxes, scores=scores, labels=labels):
            n = len(labels)
            if np.shape(boxes) != (n, 4) or np.shape(scores) != (n,):
                return f"boxes {np.shape(boxes)}, scores {np.shape(scores)} and {n} labels"
            if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
                return "boxes or scores that are not finite"
            if result.masks is not None and [m.size_hw for m in result.masks] != [(height, width)] * n:
                return "masks that do not fit the boxes or the image"
        case Segmentation(mask=mask, score=score):
            if mask.size_hw != (height, width) or not np.isfinite(score):
                return f"a mask of {mask.size_hw} for an image of {(height, width)}, score {score}"
        case Points(points_xy=points, scores=scores):
            if np.shape(points) != (len(scores), 2) or not np.isfinite(points).all():
                return f"points {np.shape(points)} for {len(scores)} scores"
        case Upscaled(image=image):
            assert isinstance(request, UpscaleRequest)
            if image.size_wh != (width * request.scale, height * request.scale):
                return f"an image of {image.size_wh} for {request.scale} times {(width, height)}"
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
