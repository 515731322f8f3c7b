"""Giving pictures to the image processors of Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...images import Image

__all__ = ["prepare"]


def prepare(processor: Any, images: Sequence[Image]) -> Any:
    """Return what an image processor makes of pictures, as tensors.

    They are given with channels first, and it is told so: of a picture of 1 or 3 rows it would guess wrongly which axis is which.
    """
    import torch

    arrays = [torch.from_numpy(image.pixels.transpose(2, 0, 1).copy()) for image in images]
    return processor(arrays, return_tensors="pt", input_data_format="channels_first")
