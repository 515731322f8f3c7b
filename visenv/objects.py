"""Objects found in an episode, with ids that an agent can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .answers import Box
from .coordinates import THOUSANDTHS, Coordinates
from .masks import Mask, box_iou_matrix

__all__ = ["DetectedObject", "add_objects", "describe_objects"]

NEUTRAL = frozenset({"object", "target"})
"""Labels that say nothing: what they name may be an object of any other label."""
LISTED = 40
"""How many objects are listed one by one in text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectedObject:
    """One object, in pixels of a source image whatever view it was found in."""

    id: int
    image: str
    """Name of the source image."""
    label: str
    score: float
    box_xyxy: Box
    mask: Mask | None = None
    """``None`` until segmented."""
    points_xy: tuple[tuple[float, float], ...] = ()
    """Clicks so far, pixels of the source image."""
    points_positive: tuple[bool, ...] = ()
    prompt_box_xyxy: Box | None = None
    """The box the mask was asked with."""

    @property
    def area_px(self) -> int:
        """Mask pixels, or the box's area when there is no mask."""
        if self.mask is not None:
            return self.mask.area_px
        x1, y1, x2, y2 = self.box_xyxy
        return round((x2 - x1) * (y2 - y1))

    def to_observation(self) -> dict[str, Any]:
        """Return the entry of the observation's ``objects``."""
        return {
            "id": self.id,
            "label": self.label,
            "score": np.array([self.score], np.float32),
            "box": np.array(self.box_xyxy, np.float32),
            "area": self.area_px,
            "image": self.image,
        }


def add_objects(
    table: Sequence[DetectedObject],
    found: Sequence[DetectedObject],
    *,
    next_id: int,
    same_iou: float = 0.7,
) -> tuple[tuple[DetectedObject, ...], list[DetectedObject]]:
    """Add finds to an object table, numbering them; a find that overlaps a known object is that object.

    Args:
        table: The objects so far.
        found: Finds, ids ignored, best first.
        next_id: The first free id; ids are never used twice in an episode.
        same_iou: Box IoU on one source image from which a find of the same label is the known object; above 1 every find
            is new. A known object keeps its id and its mask, and takes a better box.

    Returns:
        The new table, and the object (old or new) of every distinct find in order of ``found``.
    """
    objects = list(table)
    boxes = np.array([o.box_xyxy for o in (*table, *found)], np.float64).reshape(-1, 4)
    iou = box_iou_matrix(boxes[len(objects) :], boxes)
    columns = list(range(len(objects)))  # columns[i]: where objects[i] stands in `iou`
    touched: dict[int, None] = {}
    for row, find in enumerate(found):
        overlap = np.where([_may_be_one(o, find) for o in objects], iou[row, columns], 0.0)
        index = int(overlap.argmax()) if objects else -1
        if objects and overlap[index] >= same_iou:
            known = objects[index]
            label = find.label if known.label in NEUTRAL else known.label
            if known.mask is None and (find.mask is not None or find.score > known.score):
                objects[index] = replace(find, id=known.id, label=label)
            else:
                objects[index] = replace(known, label=label)
        else:
            index = len(objects)
            objects.append(replace(find, id=next_id))
            columns.append(len(table) + row)
            next_id += 1
        touched[objects[index].id] = None
    by_id = {o.id: o for o in objects}
    return tuple(objects), [by_id[i] for i in touched]


def _may_be_one(known: DetectedObject, find: DetectedObject) -> bool:
    return known.image == find.image and (
        known.label == find.label or not NEUTRAL.isdisjoint((known.label, find.label))
    )


def describe_objects(
    objects: Sequence[DetectedObject], sizes_wh: Mapping[str, tuple[int, int]], coordinates: Coordinates = THOUSANDTHS
) -> str:
    """List objects for an agent, one line each: id, label, score, box, source image."""
    lines = []
    for o in objects[:LISTED]:
        kind = "mask" if o.mask is not None else "box"
        box = coordinates.write(o.box_xyxy, sizes_wh[o.image])
        lines.append(f"#{o.id} {o.label} {o.score:.2f} {kind} {box} in {o.image}")
    if len(objects) > LISTED:
        rest = objects[LISTED:]
        lines.append(f"… and {len(rest)} more, #{rest[0].id} to #{rest[-1].id}")
    return "\n".join(lines)
