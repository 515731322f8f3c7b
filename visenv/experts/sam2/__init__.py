"""SAM 2 through the ``sam2`` package: boxes, signed points and masks to masks."""

from ._expert import Sam2Segmenter
from ._loading import Sam2

__all__ = ["Sam2", "Sam2Segmenter"]
