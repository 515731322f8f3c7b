"""The pictures of a site: each content once, small enough to carry, nothing in them but pixels."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
from PIL import Image as PilImage

from visenv.errors import VisenvError
from visenv.images import Image

from ..records import ImageRecord
from ..safe_files import PICTURE_NAME, load_picture
from .folder import FORMAT, SiteFolder
from .shards import text_hash

__all__ = ["QUALITY", "SIDE_PX", "picture_file", "stored_picture", "to_jpeg"]

SIDE_PX = 1280
"""Longest side of a picture in the site."""
QUALITY = 88
"""Of the JPEG."""


def picture_file(content_hash: str) -> str:
    """Return where the site has the picture of a content."""
    return f"images/{text_hash('picture', str(FORMAT), content_hash)}.jpg"


def stored_picture(folder: SiteFolder, image: ImageRecord, run: Path) -> str | None:
    """Write a picture that a run stored, unless the site has it; return why there is none.

    Args:
        folder: The site's.
        image: What was recorded of it.
        run: The run directory, which may hold its file.
    """
    file = picture_file(image.hash)
    if folder.has(file):
        folder.keep(file)
        return None
    if image.file is None:
        return "it was not stored"
    try:
        if PICTURE_NAME.fullmatch(image.file) is None:  # it never leads out of the folder
            return "its file in the run is missing or damaged"
        found = load_picture(run / "images" / image.file)
    except (VisenvError, OSError):  # gone, damaged, too large, or no plain file
        return "its file in the run is missing or damaged"
    if found.hash != image.hash:
        return "its file in the run holds another picture"
    folder.put(file, to_jpeg(found), always=True)
    return None


def to_jpeg(image: Image) -> bytes:
    """Return a picture as the site has it."""
    width, height = image.size_wh
    scale = min(1.0, SIDE_PX / max(width, height))
    pixels = image.pixels
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
