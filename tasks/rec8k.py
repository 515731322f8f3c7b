"""REC-8K: count the objects that a phrase describes, in pictures from nine collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value
from visenv.images import Image
from visenv.task import Profile, Sample

from .benchmark import Benchmark, Finding, inside
from .profiles import PROFILES
from .reading import field_of, number_of, read_json, text_of

__all__ = ["REC8K"]

MAX_SIDE_PX = 8192
"""Pictures with a longer side are shrunk to it, points and all; the metric divides by width and height."""
MAX_POINTS = 100_000
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    image: str
    caption: str
    points_xy: Points
    kind: str
    """Of the attribute that the phrase goes by."""


class REC8K(Benchmark[_Entry]):
    """Count the objects that a phrase describes, better with a box around each.

    ## Description
    17,122 pairs of a picture and a phrase (train 10,555, val 3,336, test 3,231), with a point in each object meant; up to
    1,004 of them. Read from ``REC8K/anno/annotations.json``, ``REC8K/anno/splits.json`` and the pictures in
    ``REC8K/rec-8k/``, which the authors' script gathers from nine other data sets.

    ## Action Space
    Tool calls, ended by ``submit`` (the objects found), ``submit_count`` (a number) or ``submit_none``.

    ## Observation Space
    The phrase in a request to count, and the picture.

    ## Starting State
    The whole picture is visible; there are no objects.

    ## Rewards
    Primary score: 1 - min(1, |count - truth| / max(1, truth)).

    ## Episode End
    When an answer is submitted, or at the turn limit.

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``.

    ## Arguments
    ``split``: train, val, test. There is one level.

    ## Metrics
    ``rec8k/official``: MAE and RMSE; precision, recall and F1 where boxes are submitted: its limit comes from the predicted
    boxes, so a bare number or points have none.

    ## References
    Dai, Liu and Cheung, "Referring Expression Counting", CVPR 2024.
    Source of the format: sydai/referring-expression-counting@e8f5a54f data_preprocess.py, utils/processor.py.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "REC8K"
    kind: ClassVar[AnswerKind] = AnswerKind.COUNT
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    profile: ClassVar[Profile] = PROFILES["rec8k/official"]
    folder: ClassVar[str] = "REC8K"
    published: ClassVar[str] = "https://github.com/sydai/referring-expression-counting"
    licence: ClassVar[str] = "code MIT; the pictures are under the terms of their nine sources"
    sizes: ClassVar[Mapping[str, int]] = {"train": 10_555, "val": 3_336, "test": 3_231}

    def read(self, split: str) -> Sequence[_Entry]:
        """Read the pairs of a split, in the order of the authors' list."""
        listed, found = read_json(self.need("anno/splits.json")), read_json(self.need("anno/annotations.json"))
        if not isinstance(listed, dict) or not isinstance(found, dict):
            raise bad_value("annotations", type(listed).__name__, expected="JSON objects in anno/")
        pairs = field_of(listed, split, "splits.json")
        if not isinstance(pairs, list):
            raise bad_value(f"{split} of splits.json", pairs, expected="a list of pairs")
        return [self._entry(pair, found, f"{split}[{k}] of splits.json") for k, pair in enumerate(pairs)]

    def make(self, split: str, index: int, entry: _Entry) -> Sample:
        """Make the sample of a pair."""
        path = self.need(f"rec-8k/{entry.image}")
        image = self.picture(path)
        scale = min(1.0, MAX_SIDE_PX / max(image.size_wh))
        points = entry.points_xy
        if scale < 1:
            image = _shrunk(image, scale)
            points = tuple((x * scale, y * scale) for x, y in points)
        target = Target(kind=self.kind, size_hw=image.size_wh[::-1], points_xy=points)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, images=(image,),
            instruction=f"Count the objects that this phrase describes: {entry.caption}", target=target, cluster=entry.image,
            files=(path if scale == 1 else None,),
            meta={"caption": entry.caption, "type": entry.kind, "source": _source(entry.image)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: _Entry) -> Iterator[Finding]:
        """Find, beside what keeps the sample from being made, points outside of the picture."""
        found = list(super().audit_entry(split, index, entry))
        yield from found
        if not found:
            height, width = (sample := self.make(split, index, entry)).target.size_hw
            outside = sum(not (0 <= x <= width and 0 <= y <= height) for x, y in sample.target.points_xy)
            if outside:
                yield Finding(
                    split=split, where=sample.id, kind="outside", what=f"{outside} points outside of {width} x {height} px"
                )  # fmt: skip

    def _entry(self, pair: object, found: Mapping[str, Any], where: str) -> _Entry:
        if not isinstance(pair, list) or len(pair) != 2:
            raise bad_value(where, pair, expected="an image id and a caption")
        image, caption = (text_of(part, where) for part in pair)
        inside(self.root, f"rec-8k/{image}")
        about = field_of(_object(field_of(found, image, "annotations.json"), image), caption, image)
        about = _object(about, f"{image}: {caption}")
        return _Entry(
            image=image, caption=caption, points_xy=_points(field_of(about, "points", image), f"points of {image}"),
            kind=text_of(about.get("type") or "", f"type of {image}", may_be_empty=True),
        )  # fmt: skip


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_value(where, value, expected="a JSON object")
    return value


def _points(values: object, where: str) -> Points:
    if not isinstance(values, list) or len(values) > MAX_POINTS:
        raise bad_value(where, values, expected=f"a list of at most {MAX_POINTS} points")
    for value in values:
        if not isinstance(value, list) or len(value) != 2:
            raise bad_value(where, value, expected="x and y in pixels")
    return tuple((number_of(x, where), number_of(y, where)) for x, y in values)


def _shrunk(image: Image, scale: float) -> Image:
    width, height = (max(1, min(MAX_SIDE_PX, round(side * scale))) for side in image.size_wh)
    return Image(cv2.resize(image.pixels, (width, height), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]


def _source(image: str) -> str:
    """Return the collection that a picture is from: its id is ``number-source-path``."""
    parts = image.split("-")
    return parts[1] if len(parts) > 2 else ""
