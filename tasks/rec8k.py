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

from .benchmark import Benchmark, Finding, plain_name
from .dense200 import turned_findings
from .orientation import Points, orientation_of, upright_points
from .profiles import PROFILES
from .reading import field_of, number_of, read_json, text_of
from .unusable import Unusable, each_usable

__all__ = ["REC8K"]

MAX_SIDE_PX = 8192
"""Pictures with a longer side are shrunk to it, points and all; the metric divides by width and height."""
MAX_GIVEN_PX = 32_768
"""Longest side of a picture that is opened to be shrunk."""
MAX_POINTS = 100_000
FOLDER = "rec-8k"
"""Of the pictures."""


@dataclass(frozen=True, slots=True)
class _Entry:
    image: str
    caption: str
    points_xy: Points
    kind: str
    """Of the attribute that the phrase goes by."""


class REC8K(Benchmark[_Entry | Unusable]):
    """Count the objects that a phrase describes, better with a box around each.

    ## Description
    17,122 pairs of a picture and a phrase (train 10,555, val 3,336, test 3,231), with a point in each object meant; up to
    1,004 of them. Read from ``REC8K/anno/annotations.json``, ``REC8K/anno/splits.json`` and the pictures in
    ``REC8K/rec-8k/``, which the authors' script gathers from nine other data sets.

    ## Action Space
    Calls of the toolset's tools; the answer is the objects found, a number, or that there is none.

    ## Observation Space
    The phrase in a request to count, and the picture, upright; the points, which are those of the stored picture, are turned with it
    where its EXIF tag turns it. A side of more than 8,192 px is shrunk to that.

    ## Starting State
    The whole picture is visible; there are no objects.

    ## Rewards
    Primary score: 1 - min(1, |count - truth| / max(1, truth)).

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``caption``, ``type`` (of the attribute that the phrase goes by), ``source`` (which of the nine sets). Phrases on one picture are
    one cluster.

    ## Arguments
    ``split``: train, val, test. There is one level. A pair that cannot be used keeps its place, and its sample says what is wrong.

    ## Metrics
    ``rec8k/official``: MAE and RMSE; precision, recall and F1 where boxes are submitted: its limit comes from the predicted
    boxes, so a bare number or points have none. The authors count a picture without objects as one with one; ``MAE_true`` and
    ``RMSE_true`` do not.

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
    takes_turned: ClassVar[bool] = True

    def read(self, split: str) -> Sequence[_Entry | Unusable]:
        """Read the pairs of a split, in the order of the authors' list."""
        listed, found = read_json(self.need("anno/splits.json")), read_json(self.need("anno/annotations.json"))
        if not isinstance(listed, dict) or not isinstance(found, dict):
            raise bad_value("annotations", type(listed).__name__, expected="JSON objects in anno/")
        pairs = field_of(listed, split, "splits.json")
        if not isinstance(pairs, list):
            raise bad_value(f"{split} of splits.json", pairs, expected="a list of pairs")
        return each_usable(lambda at: _entry(at[1], found, f"{split}[{at[0]}] of splits.json"), enumerate(pairs))

    def make(self, split: str, index: int, entry: _Entry | Unusable) -> Sample:
        """Make the sample of a pair."""
        if isinstance(entry, Unusable):
            entry.fail()
        path = self.find(self.root / FOLDER, entry.image)
        given = self.picture(path, max_side_px=MAX_GIVEN_PX)
        points = upright_points(entry.points_xy, orientation_of(path), given.size_wh)
        image = given if max(given.size_wh) <= MAX_SIDE_PX else _shrunk(given)
        if image is not given:
            across, down = (new / old for new, old in zip(image.size_wh, given.size_wh, strict=True))
            points = tuple((x * across, y * down) for x, y in points)
        target = Target(kind=self.kind, size_hw=image.size_wh[::-1], points_xy=points)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, images=(image,),
            instruction=f"Count the objects that this phrase describes: {entry.caption}", target=target, cluster=entry.image,
            files=(path if image is given else None,),
            meta={"caption": entry.caption, "type": entry.kind, "source": _source(entry.image)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: _Entry | Unusable) -> Iterator[Finding]:
        """Find, beside what keeps the sample from being made, points outside of the picture and a turned picture."""
        found = list(super().audit_entry(split, index, entry))
        yield from found
        if found or isinstance(entry, Unusable):
            return
        height, width = (sample := self.make(split, index, entry)).target.size_hw
        outside = sum(not (0 <= x <= width and 0 <= y <= height) for x, y in sample.target.points_xy)
        if outside:
            what = f"{outside} points outside of {width} x {height} px"
            yield Finding(split=split, where=sample.id, kind="outside", what=what)
        yield from turned_findings(sample, self.find(self.root / FOLDER, entry.image))


def _entry(pair: object, found: Mapping[str, Any], where: str) -> _Entry:
    if not isinstance(pair, list) or len(pair) != 2:
        raise bad_value(where, pair, expected="an image id and a caption")
    image, caption = (text_of(part, where) for part in pair)
    plain_name(image)
    about = field_of(_object(field_of(found, image, "annotations.json"), image), caption, image)
    about = _object(about, f"{image}: {caption}")
    kind = about.get("type")
    return _Entry(
        image=image, caption=caption, points_xy=_points(field_of(about, "points", image), f"points of {image}"),
        kind=text_of(kind, f"type of {image}", may_be_empty=True) if isinstance(kind, str) else "",  # of no score: analysis only
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


def _shrunk(image: Image) -> Image:
    scale = MAX_SIDE_PX / max(image.size_wh)
    width, height = (max(1, min(MAX_SIDE_PX, round(side * scale))) for side in image.size_wh)
    return Image(cv2.resize(image.pixels, (width, height), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]


def _source(image: str) -> str:
    """Return the collection that a picture is from: its id is ``number-source-path``."""
    parts = image.split("-")
    return parts[1] if len(parts) > 2 else ""
