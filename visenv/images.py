"""Images that know their content hash, and a store that keeps each content once."""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from .errors import BadValueError, bad_value

__all__ = ["FORMATS", "Image", "ImageStore", "Pixels", "begin_hash", "decode_image", "load_image"]

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats whose decoders Pillow has built in. By itself it would hand a PostScript file named ``.jpg`` to another program."""
MAX_BYTES = 2**28
"""Largest file of a picture that is read."""
MAX_PX = 2**27
"""Most pixels of a picture that is decoded."""
_warnings_lock = threading.Lock()
"""Which warnings are told is of the whole process."""


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

    @classmethod
    def with_hash(cls, pixels: Pixels, hash: str) -> Image:
        """Take over pixels whose hash was computed on the way; see :func:`begin_hash`."""
        image = cls(pixels)
        image._hash = hash
        return image

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the shape and the pixels; the picture's identity everywhere."""
        if self._hash is None:
            digest = begin_hash(self.pixels.shape[:2])
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


def begin_hash(size_hw: Sequence[int]) -> hashlib._Hash:
    """Return the digest of a picture of a size, to be updated with its pixels row by row."""
    return hashlib.sha256(f"{size_hw[0]}x{size_hw[1]}x3:".encode())


def load_image(path: str | Path, *, max_bytes: int = MAX_BYTES, max_side_px: int | None = None) -> Image:
    """Read a picture file, EXIF orientation applied, as RGB; what is decoded is decided by its content, not by its name.

    Args:
        path: What to read.
        max_bytes: Largest file that is read.
        max_side_px: Largest width or height; any by default.

    Raises:
        BadValueError: The file is not a readable picture in one of :data:`FORMATS`, or is too large.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise bad_value("path", str(path), expected="a file that holds a picture")
        if found.st_size > max_bytes:
            raise bad_value("path", str(path), expected=f"a picture of at most {max_bytes} bytes")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte; our own error passes
        if isinstance(error, BadValueError):
            raise
        raise bad_value("path", str(path), expected=f"a readable picture ({error})") from error
    return decode_image(data, where=str(path), max_bytes=max_bytes, max_side_px=max_side_px)


def decode_image(
    data: bytes,
    *,
    where: str,
    formats: tuple[str, ...] = FORMATS,
    max_bytes: int = MAX_BYTES,
    max_side_px: int | None = None,
) -> Image:
    """Decode a picture's bytes, EXIF orientation applied, as RGB.

    Transparency is left out, the colour below it shows; values of 16 bits are cut to their upper 8.

    Args:
        data: A file's content.
        where: Where it is from, for the message.
        formats: Those of :data:`FORMATS` that are decoded.
        max_bytes: Longest ``data``.
        max_side_px: Largest width or height; any by default.

    Raises:
        BadValueError: It is not a readable picture in one of ``formats``, or is too large.
    """
    if len(data) > max_bytes:
        raise bad_value("picture", f"{len(data)} bytes", expected=f"at most {max_bytes} bytes in {where}")
    try:
        with _opened(data, formats) as file:
            if max_side_px is not None and max(file.size) > max_side_px:  # known before a pixel is decoded
                raise bad_value("picture", file.size, expected=f"sides of at most {max_side_px} px in {where}")
            if file.width * file.height > MAX_PX:
                raise bad_value("picture", file.size, expected=f"at most {MAX_PX} pixels in {where}")
            upright = ImageOps.exif_transpose(file)
            return Image(_rgb(file if upright is None else upright))
    except BadValueError:
        raise
    except PilImage.DecompressionBombError:
        raise bad_value("picture", data[:16], expected=f"at most {MAX_PX} pixels in {where}") from None
    except Exception as error:  # the boundary to decoders, which raise nearly anything on damaged bytes
        unknown = isinstance(error, UnidentifiedImageError)  # whose text names an address in memory
        why = f"it is none of {', '.join(formats)}" if unknown else error
        raise bad_value("picture", data[:16], expected=f"a readable picture in {where} ({why})") from error


def _opened(data: bytes, formats: tuple[str, ...]) -> PilImage.Image:
    """Read a picture's header, without Pillow's warning of large ones: how many pixels there may be is for us to say."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", PilImage.DecompressionBombWarning)
        return PilImage.open(io.BytesIO(data), formats=formats)


def _rgb(file: PilImage.Image) -> Pixels:
    """Return the pixels as RGB of 8 bits; Pillow would clip deeper ones to white, and warn of a palette's transparency."""
    if file.mode.startswith("I;16"):
        return np.repeat((np.asarray(file) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if file.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {file.mode}, of 32 bits; expected 8 or 16")
    if file.mode in ("P", "PA") and "transparency" in file.info:
        file = file.convert("RGBA")
    return np.array(file.convert("RGB"))
