"""Annotation files in JSON, read strictly, and COCO's form of them, kept compactly.

A file is read once. A damaged record does not spoil the others: it is kept as :class:`Damaged`, and whoever uses it is told.
"""

from __future__ import annotations

import gc
import json
import math
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools import mask as coco

from visenv.answers import Box
from visenv.errors import bad_value
from visenv.images import Image
from visenv.masks import Mask

from . import rasters

__all__ = [
    "Annotation",
    "CocoFile",
    "Damaged",
    "Picture",
    "box_of",
    "check_size",
    "collection_paused",
    "integer",
    "labels_of",
    "load_json",
    "mask_of",
    "read_coco",
]

LIMIT_BYTES = 4 * 2**30
"""Larger files are refused; COCO's own largest has half a gigabyte."""
MAX_PX = 2**28
"""Largest picture, in pixels."""
SLACK_PX = 1.0
"""How far coordinates may lie outside their picture (rounding); they are clipped."""
POLYGONS = re.compile(r'("segmentation"\s*:\s*)(\[[-+0-9.eE,\[\]\s]*\])')
"""Lists of numbers after the key ``segmentation``: nine tenths of a file, of which most are never asked for."""
Hook = Callable[[dict[str, Any]], Any]


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


def load_json(
    path: Path,
    *,
    hook: Hook | None = None,
    encodings: Sequence[str] = ("utf-8-sig",),
    unread: re.Pattern[str] | None = None,
) -> Any:
    """Read a JSON file; ``NaN`` and infinities are refused.

    Args:
        path: The file.
        hook: Replaces every JSON object as soon as it is read, so that a large file never lies in memory as it is.
        encodings: Tried in turn; a file that can be decoded but not parsed goes on to the next one, too.
        unread: What follows a match of its first group and is its second group becomes text instead of being read; it must
            not hold quotes or backslashes.

    Raises:
        BadValueError: It is no JSON, or larger than ``LIMIT_BYTES``.
    """
    if path.stat().st_size > LIMIT_BYTES:
        raise bad_value("file", path.name, expected=f"at most {LIMIT_BYTES} bytes")
    raw = path.read_bytes()
    problem: Exception | None = None
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
            text = text if unread is None else unread.sub(r'\1"\2"', text)
            with collection_paused():
                return json.loads(text, object_hook=hook, parse_constant=_no_constant, strict=unread is None)
        except (ValueError, RecursionError) as error:
            problem = problem or error
    what = f"JSON in {' or '.join(e.removesuffix('-sig') for e in encodings)} ({problem})"
    raise bad_value("file", path.name, expected=what, remedy=f"It is {path}.") from problem


def read_coco(path: Path, *, wanted: Collection[int] | None = None) -> CocoFile:
    """Read a file of COCO's form: images, annotations, categories.

    Args:
        path: The file.
        wanted: Ids of the annotations to keep; all by default.

    Raises:
        BadValueError: Not that form.
    """
    held = load_json(path, hook=_hook(wanted), unread=POLYGONS)
    if not isinstance(held, dict) or not all(isinstance(held.get(k), list) for k in ("images", "annotations")):
        raise bad_value("file", path.name, expected="COCO's form: an object with the lists `images` and `annotations`")
    found = CocoFile()
    for record in held["images"]:
        if not isinstance(record, _Numbered) or not isinstance(record.content, Picture):
            why = record.content.why if isinstance(record, _Numbered) and isinstance(record.content, Damaged) else ""
            raise bad_value("images", record, expected=f"id, file_name, height and width of each; in {path.name} {why}")
        if record.number in found.pictures:
            raise bad_value("image id", record.number, expected=f"each once in {path.name}")
        found.pictures[record.number] = record.content
    for record in held["annotations"]:
        if record is _UNWANTED:
            continue
        if not isinstance(record, _Numbered) or isinstance(record.content, Picture):
            raise bad_value("annotations", record, expected=f"an integer id and segmentation of each, in {path.name}")
        twice = record.number in found.annotations
        found.annotations[record.number] = Damaged("two have this id") if twice else record.content
    for record in held.get("categories") or ():
        if not isinstance(record, dict) or type(record.get("id")) is not int or not isinstance(record.get("name"), str):
            raise bad_value("categories", record, expected=f"id and name of each, in {path.name}")
        found.categories[record["id"]] = record["name"]
    return found


def mask_of(annotation: Annotation, size_hw: tuple[int, int]) -> tuple[Mask, Mask | None]:
    """Return an annotation's pixels, and those that several of its parts cover (``None`` where none are).

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
            remedy="A picture that was scaled, or turned by an EXIF tag, does not fit them: take the original.",
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
    if type(value) is not int:
        raise ValueError(f"`{key}` is {value!r:.40}, not an integer")
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
        except (TypeError, ValueError, OverflowError) as error:
            return _Numbered(number, Damaged(str(error)[:200]))

    return compact


def _picture(record: dict[str, Any]) -> Picture:
    size_hw = integer(record, "height"), integer(record, "width")
    if not isinstance(record["file_name"], str) or min(size_hw) < 1 or size_hw[0] * size_hw[1] > MAX_PX:
        raise ValueError(f"no name, or a size that is not of 1 to {MAX_PX} pixels")
    return Picture(record["file_name"], size_hw)


def _annotation(record: dict[str, Any]) -> Annotation:
    crowd = record.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"`iscrowd` is {crowd!r:.40}, not 0 or 1")
    box = None
    if record.get("bbox") is not None:
        box = array("d", record["bbox"])
        if len(box) != 4 or not math.isfinite(sum(box)) or min(box[2:]) < 0:
            raise ValueError("`bbox` is not x, y, width, height")
    category = integer(record, "category_id")
    return Annotation(integer(record, "image_id"), category, box, _shape(record.get("segmentation", [])), bool(crowd))


def _shape(held: Any) -> str | list[Any] | Mask:
    if isinstance(held, dict):
        return _decoded(held)
    if not isinstance(held, (str, list)):
        raise ValueError("`segmentation` is neither a list of polygons nor a run-length code")
    return held


def _polygons(held: list[Any]) -> list[list[float]]:
    """Return the polygons of a shape.

    Raises:
        ValueError: There is none, or one is not made of three points or more.
    """
    polygons = [array("d", polygon).tolist() for polygon in held]
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
    code = coco.frPyObjects({"size": [height, width], "counts": held["counts"]}, height, width)
    return Mask((height, width), code["counts"])


def _check_inside(what: str, xs: Sequence[float], ys: Sequence[float], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    if min(xs) < -SLACK_PX or min(ys) < -SLACK_PX or max(xs) > width + SLACK_PX or max(ys) > height + SLACK_PX:
        spans = f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
        raise bad_value(what, spans, expected=f"to lie inside the picture of {width} x {height} px")


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the collector of garbage from walking over millions of objects again and again while they are being made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
