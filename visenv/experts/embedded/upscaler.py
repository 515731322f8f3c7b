"""Enlarging pictures with Lanczos interpolation."""

from __future__ import annotations

import cv2
import numpy as np

from ...images import Image
from .._protocol import Capability, Request, Result, Upscaled, UpscaleRequest
from ._batch import BatchExpert

__all__ = ["LanczosUpscaler"]


class LanczosUpscaler(BatchExpert):
    """Enlarges by a whole factor with 8x8 Lanczos interpolation; adds no detail."""

    name = "embedded-upscaler"
    version = "1"
    capabilities: frozenset[Capability] = frozenset({"upscale"})

    def answer(self, request: Request) -> Result:
        """Enlarge one picture."""
        assert isinstance(request, UpscaleRequest)
        if request.scale == 1:
            return Upscaled(image=request.image)
        width, height = request.image.size_wh
        size_wh = (width * request.scale, height * request.scale)
        pixels = cv2.resize(request.image.pixels, size_wh, interpolation=cv2.INTER_LANCZOS4)
        return Upscaled(image=Image(np.asarray(pixels, np.uint8)))
