"""Where REFER's annotations and COCO's pictures may lie under the data root."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ANNOTATIONS", "PICTURES", "annotation_folder", "picture_folder"]

ANNOTATIONS = (".", "refer/data", "refer_seg")
"""REFER's own ``data`` folder as the data root, a checkout of REFER beside others, LISA's arrangement."""
PICTURES = (
    "images/mscoco/images/train2014",
    "refer/data/images/mscoco/images/train2014",
    "refer_seg/images/mscoco/images/train2014",
    "coco/train2014",
    "coco/images/train2014",
)
"""In these arrangements, and beside COCO's own; the first that exists is used."""


def annotation_folder(data: Path, name: str) -> Path:
    """Return the folder of one data set, ``refcoco`` say; where REFER puts it, when there is none."""
    folders = [data / place / name for place in ANNOTATIONS]
    return next((f for f in folders if f.is_dir()), data / name)


def picture_folder(data: Path) -> Path:
    """Return the folder of COCO's train2014 pictures; where REFER puts it, when there is none."""
    folders = [data / place for place in PICTURES]
    return next((f for f in folders if f.is_dir()), folders[0])
