"""The pictures of a site: each content once, small enough to carry, nothing in them but pixels."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
from PIL import Image as PilImage

from visenv.errors import VisenvError
from visenv.images import Image, load_image

from ..records import ImageRecord
from ..rundir import ImageFiles
from .folder import FORMAT, SiteFolder
from .samples import Rebuilt
from .shards import text_hash

__all__ = ["QUALITY", "SIDE_PX", "put_picture"]

SIDE_PX = 1280
"""Longest side of a picture in the site."""
QUALITY = 88
"""Of the JPEG."""


def put_picture(folder: SiteFolder, image: ImageRecord, run: Path, rebuilt: Rebuilt | None) -> tuple[str | None, str]:
    """Write a picture unless it is there; return its name, or ``None`` and why there is none.

    Args:
        folder: The site's.
        image: What was recorded of it.
        run: The run directory, which may hold its file.
        rebuilt: The sample, which may make it again; ``None`` for a picture that no task can make.
    """
    name = text_hash("picture", str(FORMAT), image.hash)
    if folder.keep(f"images/{name}.jpg"):
        return name, ""
    found: Image | str = "it was not stored"
    if image.file is not None:
        found = _stored(run, image)
    if isinstance(found, str) and rebuilt is not None:
        why, found = found, rebuilt.image(image.hash)
        if isinstance(found, str) and image.file is not None:
            found = f"{why}; {found}"
    if isinstance(found, str):
        return None, found
    folder.put(f"images/{name}.jpg", _jpeg(found), always=True)
    return name, ""


def _stored(run: Path, image: ImageRecord) -> Image | str:
    try:
        found = load_image(ImageFiles(run / "images").path(image.file or ""))
    except (VisenvError, ValueError, Warning):  # gone, damaged, or so large that Pillow warns
        return "its file in the run is missing or damaged"
    return found if found.hash == image.hash else "its file in the run holds another picture"


def _jpeg(image: Image) -> bytes:
    width, height = image.size_wh
    scale = min(1.0, SIDE_PX / max(width, height))
    pixels = image.pixels
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
