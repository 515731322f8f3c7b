"""A tool run again without experts: what they could have said stands in for what they said where only its form matters."""

from __future__ import annotations

import numpy as np

from visenv.experts import (
    DescribeRequest,
    Description,
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
)
from visenv.images import Image
from visenv.masks import Mask
from visenv.tools import ToolBody, ToolResult

from ..records import TurnRecord

__all__ = ["run_again"]


def run_again(body: ToolBody, turn: TurnRecord) -> tuple[ToolResult, bool, bool]:
    """Return what a tool gives, and whether its text and its pictures are those of the episode."""
    said = drawn = True
    try:
        requests = next(body)
        while True:
            drawn = drawn and not requests
            said = said and all(q.capability == "upscale" for q in requests)
            requests = body.send([_stand_in(q, turn) for q in requests])
    except StopIteration as end:
        result: ToolResult = end.value
    return result, said, drawn


def _stand_in(request: Request, turn: TurnRecord) -> Result:
    """Return what an expert could have said where only its form matters: sizes, and whether something was shown."""
    if isinstance(request, DetectRequest):
        return Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
    if isinstance(request, SegmentRequest):
        width, height = request.image.size_wh
        return Segmentation(mask=Mask.from_box((0, 0, 0, 0), (height, width)), score=0.0)
    if isinstance(request, PointRequest):
        number = 1 if turn.shown else 0
        return Points(points_xy=np.zeros((number, 2)), scores=np.zeros(number))
    if isinstance(request, ReadRequest):
        return TextLines(lines=(), boxes_xyxy=np.zeros((0, 4)))
    if isinstance(request, DescribeRequest):
        return Description(text="-")
    width, height = request.image.size_wh
    return Upscaled(image=Image(np.zeros((height * request.scale, width * request.scale, 3), np.uint8)))
