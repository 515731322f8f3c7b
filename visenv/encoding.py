"""Pictures as text, losslessly."""

from __future__ import annotations

import base64

import numpy as np
from PIL import Image as PilImage

from .images import Image

__all__ = ["resize_image", "to_data_url"]


def resize_image(image: Image, size_wh: tuple[int, int]) -> Image:
    """Return a picture in another size, itself if it has that; bicubic, as the processors of vision-language models do it."""
    if image.size_wh == size_wh:
        return image
    resized = PilImage.fromarray(image.pixels).resize(size_wh, PilImage.Resampling.BICUBIC)
    return Image(np.array(resized))


def to_data_url(image: Image) -> str:
    """Return a picture as the data URL of a PNG file, as OpenAI-compatible endpoints take it."""
    return f"data:image/png;base64,{base64.b64encode(image.to_png()).decode('ascii')}"
