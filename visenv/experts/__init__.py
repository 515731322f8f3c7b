"""Visual experts: what they are asked, what they answer, and sets of them."""

from ._protocol import (
    Capability,
    Detections,
    DetectRequest,
    Expert,
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
from ._set import ROLES, ExpertSet, make_experts

__all__ = [
    "ROLES",
    "Capability",
    "DetectRequest",
    "Detections",
    "Expert",
    "ExpertSet",
    "PointRequest",
    "Points",
    "ReadRequest",
    "Request",
    "Result",
    "SegmentRequest",
    "Segmentation",
    "TextLines",
    "UpscaleRequest",
    "Upscaled",
    "make_experts",
]
