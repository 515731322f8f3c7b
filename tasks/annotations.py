"""Annotation files of COCO's form, read strictly and kept compactly.

A file is read once. A damaged record does not spoil the others: it is kept as :class:`Damaged`, and whoever uses it is told.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visenv.answers import Box
from visenv.errors import BadValueError, bad_value, short
from visenv.images import Image
from visenv.masks import Mask
from visenv.rle import to_code

from . import rasters
from .reading import Hook, Unread, read_json

__all__ = [
    "Annotation",
    "CocoFile",
    "Damaged",
    "Picture",
    "box_around",
    "box_of",
    "check_size",
    "coco_of",
    "integer",
    "labels_of",
    "mask_of",
    "read_coco",
]

LIMIT_BYTES = 4 * 2**30
"""Larger files are refused; COCO's own largest has half a gigabyte."""
MAX_PX = 2**28
"""Largest picture, in pixels."""
MAX_INTEGER = 2**63
"""Ids and sizes are smaller."""
SLACK_PX = 1.0
"""How far coordinates may lie outside their picture (rounding); they are clipped."""
POLYGONS = re.compile(r'("segmentation"\s*:\s*)(\[[-+0-9.eE,\[\]\s]*\])')
"""Lists of numbers after the key ``segmentation``: nine tenths of a file, of which most are never asked for."""


class Picture(NamedTuple):
    """A picture that an annotation file lists."""

    name: str
    size_hw: tuple[int, int]


class Annotation(NamedTuple):
    """One annotated object. Its shape is polygons as they stand in the file, or a mask; :func:`mask_of` reads it."""

    image_id: int
    category_id: int
    box_xywh: array[float] | None
    shape: str | list[Any] | Mask
    crowd: bool


class Damaged(NamedTuple):
    """A record that cannot be used."""

    why: str
    pairs: tuple[tuple[int, int], ...] = ()
    """Image and category that it is about, two where two records have one id; none where that cannot be read."""


@dataclass(slots=True)
class CocoFile:
    """What COCO's form holds, by id."""

    pictures: dict[int, Picture] = field(default_factory=dict)
    annotations: dict[int, Annotation | Damaged] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)

    def annotation(self, number: int) -> Annotation:
        """Return an annotation that can be used.

        Raises:
            BadValueError: It is not there, or is damaged.
        """
        found = self.annotations.get(number, Damaged("it is not in the file"))
        if isinstance(found, Damaged):
            raise bad_value("annotation", number, expected=f"one that can be used ({found.why})")
        return found


def read_coco(path: Path, *, wanted: Collection[int] | None = None) -> CocoFile:
    """Read a file of COCO's form: images, annotations, categories.

    Args:
        path: The file.
        wanted: Ids of the annotations to keep; all by default.

    Raises:
        BadValueError: Not that form.
    """
    held = read_json(path, hook=_hook(wanted), unread=POLYGONS, limit_bytes=LIMIT_BYTES)
    if not isinstance(held, dict) or not all(isinstance(held.get(k), list) for k in ("images", "annotations")):
        raise bad_value("file", path.name, expected="COCO's form: an object with the lists `images` and `annotations`")
    categories = [] if held.get("categories") is None else held["categories"]
    if not isinstance(categories, list):
        raise bad_value("categories", categories, expected=f"a list, in {path.name}")
    return _collect(held["images"], held["annotations"], categories, path.name)


def coco_of(
    images: Iterable[dict[str, Any]], annotations: Iterable[dict[str, Any]], categories: Iterable[Any], where: str
) -> CocoFile:
    """Collect records of COCO's form that another kind of file held.

    Raises:
        BadValueError: Not that form.
    """
    compact = _hook(None)
    return _collect(map(compact, images), map(compact, annotations), categories, where)


def mask_of(annotation: Annotation, size_hw: tuple[int, int]) -> tuple[Mask, Mask | None]:
    """Return an annotation's pixels, and those that several of its parts cover (``None`` where none are).

    A part of one or two points beside others has no pixel, with pycocotools as with detectron2, and is left out.

    Raises:
        BadValueError: It does not fit the picture.
    """
    if isinstance(annotation.shape, Mask):
        if annotation.shape.size_hw != size_hw:
            raise bad_value("mask", annotation.shape, expected=f"the picture's size, {size_hw} (height, width)")
        return annotation.shape, None
    try:
        polygons = _polygons(json.loads(annotation.shape) if isinstance(annotation.shape, str) else annotation.shape)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"polygons [[x, y, x, y, …], …] ({error})"
        raise bad_value("segmentation", annotation.shape, expected=what) from error
    for points in polygons:
        _check_inside("polygon", points[::2], points[1::2], size_hw)
    covered, overlap = rasters.coco_mask(polygons, size_hw)
    return covered, overlap if overlap.area_px else None


def box_of(annotation: Annotation, size_hw: tuple[int, int]) -> Box:
    """Return an annotation's box, ``x1, y1, x2, y2`` in pixels, half-open, clipped to the picture.

    Raises:
        BadValueError: There is none, it does not fit the picture, or it has no area.
    """
    if annotation.box_xywh is None:
        raise bad_value("bbox", None, expected="x, y, width, height")
    x, y, width, height = annotation.box_xywh
    box = (x, y, x + width, y + height)
    _check_inside("bbox", box[::2], box[1::2], size_hw)
    x1, y1, x2, y2 = max(0.0, x), max(0.0, y), min(size_hw[1], box[2]), min(size_hw[0], box[3])
    if x1 >= x2 or y1 >= y2:
        raise bad_value("bbox", list(annotation.box_xywh), expected="a width and a height above 0, in the picture")
    return x1, y1, float(x2), float(y2)


def box_around(annotation: Annotation, size_hw: tuple[int, int]) -> Box:
    """Return an annotation's box, or that of its pixels where it cannot be used: for what does not hang on boxes.

    Raises:
        BadValueError: It has no pixel either.
    """
    try:
        return box_of(annotation, size_hw)
    except BadValueError as error:
        try:
            mask, _ = mask_of(annotation, size_hw)
        except BadValueError:
            raise error from None
        if not mask.area_px:
            raise
    x1, y1, x2, y2 = mask.box_xyxy
    return float(x1), float(y1), float(x2), float(y2)


def check_size(image: Image, listed: Picture) -> None:
    """Refuse a picture of another size than its annotations were made for.

    Raises:
        BadValueError: It is one.
    """
    if image.size_wh != listed.size_hw[::-1]:
        wide, high = image.size_wh
        raise bad_value(
            "picture",
            f"{listed.name}, {wide} x {high}",
            expected=f"{listed.size_hw[1]} x {listed.size_hw[0]} px, as its annotations say",
            remedy="A picture that was scaled or turned does not fit them: take the original.",
        )


def labels_of(annotations: Sequence[Annotation], names: Mapping[int, str]) -> tuple[str, ...]:
    """Return the category of each annotation; nothing when one has no name."""
    found = tuple(names.get(a.category_id, "") for a in annotations)
    return found if all(found) else ()


def integer(record: dict[str, Any], key: str) -> int:
    """Return an integer of a record.

    Raises:
        ValueError: It is not there, or is something else.
    """
    value = record.get(key)
    if type(value) is not int or abs(value) >= MAX_INTEGER:
        raise ValueError(f"`{key}` is {short(value, 40)}, not an integer of 64 bits")
    return value


class _Numbered(NamedTuple):
    number: int
    content: Picture | Annotation | Damaged


_UNWANTED = object()


def _hook(wanted: Collection[int] | None) -> Hook:
    """Turn what is an annotation or a picture into its compact form; leave the rest alone."""

    def compact(record: dict[str, Any]) -> Any:
        shaped = "segmentation" in record or ("bbox" in record and "image_id" in record)
        number = record.get("id")
        if type(number) is not int or not (shaped or "file_name" in record):
            return record
        if shaped and wanted is not None and number not in wanted:
            return _UNWANTED
        try:
            return _Numbered(number, _annotation(record) if shaped else _picture(record))
        except (TypeError, ValueError, OverflowError, LookupError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            return _Numbered(number, Damaged(why[:200], _pair_of(record)))

    return compact


def _pair_of(record: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    try:
        return ((integer(record, "image_id"), integer(record, "category_id")),)
    except ValueError:
        return ()


def _collect(images: Iterable[Any], annotations: Iterable[Any], categories: Iterable[Any], where: str) -> CocoFile:
    """Sort compact records by their ids."""
    found = CocoFile()
    for record in images:
        if not isinstance(record, _Numbered) or not isinstance(record.content, Picture):
            raise bad_value("images", _said(record), expected=f"id, file_name, height and width of each, in {where}")
        if record.number in found.pictures:
            raise bad_value("image id", record.number, expected=f"each once in {where}")
        found.pictures[record.number] = record.content
    for record in annotations:
        if record is _UNWANTED:
            continue
        if not isinstance(record, _Numbered) or isinstance(record.content, Picture):
            raise bad_value(
                "annotations", _said(record), expected=f"an integer id and segmentation of each, in {where}"
            )
        before = found.annotations.get(record.number)
        found.annotations[record.number] = record.content if before is None else _twice(before, record.content)
    for record in categories:
        if not isinstance(record, dict) or type(record.get("id")) is not int or not isinstance(record.get("name"), str):
            raise bad_value("categories", _said(record), expected=f"id and name of each, in {where}")
        if record["id"] in found.categories:
            raise bad_value("category id", record["id"], expected=f"each once in {where}")
        found.categories[record["id"]] = record["name"]
    return found


def _twice(one: Annotation | Damaged, other: Annotation | Damaged) -> Damaged:
    """Return what stands for two annotations of one id: it spoils what either is about."""
    pairs = [a.pairs if isinstance(a, Damaged) else ((a.image_id, a.category_id),) for a in (one, other)]
    return Damaged("two have this id", tuple({*pairs[0], *pairs[1]}) if all(pairs) else ())


def _said(record: Any) -> Any:
    """Return what a record was in the file, for a message."""
    if not isinstance(record, _Numbered):
        return record
    content = record.content
    said = content.why if isinstance(content, Damaged) else f"one of the {type(content).__name__.lower()}s"
    return f"id {short(record.number, 20)}: {said}"


def _picture(record: dict[str, Any]) -> Picture:
    size_hw = integer(record, "height"), integer(record, "width")
    if not isinstance(record["file_name"], str) or min(size_hw) < 1 or size_hw[0] * size_hw[1] > MAX_PX:
        raise ValueError(f"no name, or a size that is not of 1 to {MAX_PX} pixels")
    return Picture(record["file_name"], size_hw)


def _annotation(record: dict[str, Any]) -> Annotation:
    crowd = 0 if record.get("iscrowd") is None else record["iscrowd"]
    if crowd not in (0, 1):
        raise ValueError(f"`iscrowd` is {crowd!r:.40}, not 0 or 1")
    box = None
    if record.get("bbox") is not None:
        box = array("d", record["bbox"])
        if len(box) != 4 or not math.isfinite(sum(box)) or min(box[2:]) < 0:
            raise ValueError("`bbox` is not x, y, width, height")
    category = integer(record, "category_id")
    shape = [] if record.get("segmentation") is None else record["segmentation"]
    return Annotation(integer(record, "image_id"), category, box, _shape(shape), bool(crowd))


def _shape(held: Any) -> str | list[Any] | Mask:
    if isinstance(held, dict):
        return _decoded(held)
    if not isinstance(held, (Unread, list)):
        raise ValueError("`segmentation` is neither a list of polygons nor a run-length code")
    return held if isinstance(held, list) else held.text


def _polygons(held: list[Any]) -> list[list[float]]:
    """Return the polygons of a shape.

    Raises:
        ValueError: There is none of three points or more, or one has half a point.
    """
    parts = [array("d", polygon).tolist() for polygon in held]
    polygons = [points for points in parts if len(points) not in (2, 4)] or parts
    for points in polygons:
        if len(points) < 6 or len(points) % 2:
            raise ValueError(f"a polygon of {len(points)} numbers, not of three points or more")
        if not math.isfinite(sum(points)):
            raise ValueError("a polygon with a coordinate that is not finite")
    if not polygons:
        raise ValueError("no polygon at all")
    return polygons


def _decoded(held: dict[str, Any]) -> Mask:
    """Read a run-length code, compressed (text) or not (a list of runs)."""
    if not isinstance(held.get("counts"), list):
        return Mask.from_json(held)
    height, width = held["size"]
    if not all(type(v) is int and v >= 0 for v in (height, width, *held["counts"])):
        raise ValueError("a run-length code with something else than integers of at least 0")
    if not 0 < height * width <= MAX_PX or sum(held["counts"]) != height * width:
        raise ValueError("runs that do not add up to height x width")
    # Written anew: a run without length inside stops pycocotools before the end when two masks are joined.
    return Mask((height, width), to_code(np.cumsum(held["counts"], dtype=np.int64)[:-1], (height, width)))


def _check_inside(what: str, xs: Sequence[float], ys: Sequence[float], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    if min(xs) < -SLACK_PX or min(ys) < -SLACK_PX or max(xs) > width + SLACK_PX or max(ys) > height + SLACK_PX:
        spans = f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
        raise bad_value(what, spans, expected=f"to lie inside the picture of {width} x {height} px")
