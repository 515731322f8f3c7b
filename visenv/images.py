"""Images that know their content hash, and a store that keeps each content once."""

from __future__ import annotations

import hashlib
import io
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageOps

from .errors import bad_value

__all__ = ["Image", "ImageStore", "Pixels", "load_image", "visual_tokens"]

Pixels = npt.NDArray[np.uint8]


class Image:
    """An immutable picture, ``uint8 (H, W, 3)`` RGB, with a content hash.

    Two images are equal when their pixels are. The array is read-only; copy it to change it.
    """

    __slots__ = ("__weakref__", "_hash", "pixels")

    pixels: Pixels

    def __init__(self, pixels: Pixels) -> None:
        """Take over ``pixels``, made read-only; a view of another array, or one that is not contiguous, is copied.

        Raises:
            BadValueError: Not ``uint8 (H, W, 3)`` with at least one pixel.
        """
        if not (
            isinstance(pixels, np.ndarray)
            and pixels.dtype == np.uint8
            and pixels.ndim == 3
            and pixels.shape[2] == 3
            and pixels.size
        ):
            got = (getattr(pixels, "shape", None), str(getattr(pixels, "dtype", type(pixels))))
            raise bad_value("pixels", got, expected="a uint8 array of shape (H, W, 3), RGB")
        # A view would change with the array it looks into, under a hash that is already known.
        pixels = np.ascontiguousarray(pixels) if pixels.base is None else pixels.copy()
        pixels.flags.writeable = False
        self.pixels = pixels
        self._hash: str | None = None

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the shape and the pixels; the picture's identity everywhere."""
        if self._hash is None:
            height, width = self.pixels.shape[:2]
            digest = hashlib.sha256(f"{height}x{width}x3:".encode())
            digest.update(self.pixels.data)
            self._hash = digest.hexdigest()
        return self._hash

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def to_png(self) -> bytes:
        """Encode losslessly as PNG."""
        buffer = io.BytesIO()
        PilImage.fromarray(self.pixels).save(buffer, "PNG", compress_level=3)
        return buffer.getvalue()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and (self is other or self.hash == other.hash)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Image({self.size_wh[0]}x{self.size_wh[1]}, {self.hash[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Image, (np.array(self.pixels),)


class ImageStore:
    """Keeps one copy of each picture content while anybody holds it.

    Thread-safe. Episodes over the same picture share its array through ``intern``.
    """

    def __init__(self) -> None:
        self._images: weakref.WeakValueDictionary[str, Image] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def intern(self, image: Image) -> Image:
        """Return the stored image with the same content, storing this one if there is none."""
        with self._lock:
            return self._images.setdefault(image.hash, image)

    def __len__(self) -> int:
        return len(self._images)


def load_image(path: str | Path) -> Image:
    """Read a picture file, EXIF orientation applied, as RGB.

    Raises:
        BadValueError: The file is not a readable picture.
    """
    try:
        with PilImage.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            return Image(np.array((upright or file).convert("RGB")))
    except (OSError, SyntaxError, PilImage.DecompressionBombError) as error:
        raise bad_value("path", str(path), expected=f"a readable picture ({error})") from error


def visual_tokens(size_wh: tuple[int, int], *, token_side_px: int = 32) -> int:
    """Return how many visual tokens a picture costs, one per ``token_side_px`` square, at least 4.

    Source: patch 16 and merge 2 of Qwen3-VL (32-px tokens); Qwen2.5-VL has 28. Sides are rounded to the
    nearest multiple, as its processor's resize does, without that processor's pixel limits.
    """
    across, down = (max(1, round(side / token_side_px)) for side in size_wh)
    return max(4, across * down)
