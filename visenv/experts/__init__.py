"""Visual experts: what they are asked, what they answer, and sets of them."""

from ._protocol import (
    Capability,
    DescribeRequest,
    Description,
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
from ._set import ExpertSet, make_experts
from ._spec import ROLES, ExpertsSpec
from .store import ResultStore

__all__ = [
    "ROLES",
    "Capability",
    "DescribeRequest",
    "Description",
    "DetectRequest",
    "Detections",
    "Expert",
    "ExpertSet",
    "ExpertsSpec",
    "PointRequest",
    "Points",
    "ReadRequest",
    "Request",
    "Result",
    "ResultStore",
    "SegmentRequest",
    "Segmentation",
    "TextLines",
    "UpscaleRequest",
    "Upscaled",
    "make_experts",
]
