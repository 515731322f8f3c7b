"""Where REFER's annotations and COCO's pictures may lie under the data root."""

from __future__ import annotations

from pathlib import Path

from ..benchmark import inside, plain_name

__all__ = ["ANNOTATIONS", "PICTURES", "annotation_folder", "picture_path"]

ANNOTATIONS = (".", "refer/data", "refer_seg")
"""REFER's own ``data`` folder as the data root, a checkout of REFER beside others, LISA's arrangement."""
PICTURES = (
    "images/mscoco/images/train2014",
    "refer/data/images/mscoco/images/train2014",
    "refer_seg/images/mscoco/images/train2014",
    "images/train2014",
    "coco/train2014",
    "coco/images/train2014",
)
"""In these arrangements, in ReLA's, and beside COCO's own."""


def annotation_folder(data: Path, name: str) -> Path:
    """Return the folder of one data set, ``refcoco`` say; where REFER puts it, when there is none."""
    folders = [data / place / name for place in ANNOTATIONS]
    return next((f for f in folders if f.is_dir()), data / name)


def picture_path(data: Path, name: str) -> Path:
    """Return the path of a picture of COCO's train2014: in the first folder that has it, else where it should be.

    One folder may hold a part of them only, as when two data sets were unpacked side by side.

    Raises:
        BadValueError: The name leads out of the folder.
    """
    parts = plain_name(name)
    folders = [data / place for place in PICTURES]
    found = next((f for f in folders if (f / parts).is_file()), None)
    return inside(found or next((f for f in folders if f.is_dir()), folders[0]), name)
