"""Merging what was found in an image and in patches of it, by VisHarness's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..answers import Box
from ..context import map_points
from ..masks import Mask, box_iou_matrix, mask_iou_matrix, union_masks
from ..memory import NamedImage
from ..objects import DetectedObject

__all__ = ["MergeRules", "merge_found"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeRules:
    """Thresholds of the merge. Source: VisHarness's server defaults."""

    same_iou: float = 0.8
    """Mask IoU from which two finds of different images are one object."""
    fragment_overlap: float = 0.2
    """Share of the smaller mask from which two cut-off finds belong together."""
    edge_margin: float = 0.03
    """How near a cut edge a mask must come, as a share of the patch's side (at least 2 px)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Find:
    object: DetectedObject
    mask: Mask
    image: str
    depth: int
    footprint: Box
    """The image's rectangle in its source."""
    is_cut: bool
    """Whether that is less than the whole source: the image is a patch, or was made of one."""


def merge_found(
    found: Mapping[str, Sequence[DetectedObject]], images: Mapping[str, NamedImage], *, rules: MergeRules | None = None
) -> list[DetectedObject]:
    """Merge finds of one source image made in different views of it.

    Deeper views win: of two finds of different images with mask IoU above ``same_iou`` the one from the deeper (then the
    larger) stays. Fragments that a patch border cut are joined when both views are parts of the source and their overlap lies at that
    border. Finds of the same image are never merged with each other, as in VisHarness.

    Args:
        found: Objects with masks, in pixels of the source, by the image they were found in.
        images: The episode's images.
        rules: Thresholds.

    Returns:
        The merged objects, deepest and largest first.
    """
    rules = rules or MergeRules()
    finds = [
        _Find(object=o, mask=o.mask, image=name, depth=images[name].depth, footprint=_footprint(images[name]),
              is_cut=_is_cut(images[name], o.mask.size_hw))
        for name, objects in found.items()
        for o in objects
        if o.mask is not None and o.mask.area_px
    ]  # fmt: skip
    finds.sort(key=lambda f: (-f.depth, -f.mask.area_px))
    if not finds:
        return []
    kept: list[_Find] = []
    iou = mask_iou_matrix([f.mask for f in finds], [f.mask for f in finds])
    places: list[int] = []
    for i, find in enumerate(finds):
        if all(finds[j].image == find.image or iou[i, j] <= rules.same_iou for j in places):
            places.append(i)
            kept.append(find)
    return [_join([kept[i].object for i in group]) for group in _groups(kept, rules)]


def _footprint(image: NamedImage) -> Box:
    width, height = image.size_wh
    (x1, y1), (x2, y2) = map_points([(0, 0), (width, height)], image.to_source)
    return float(x1), float(y1), float(x2), float(y2)


def _is_cut(image: NamedImage, source_hw: tuple[int, int]) -> bool:
    left, top, right, bottom = _footprint(image)
    return (
        max(left, top, source_hw[1] - right, source_hw[0] - bottom) > 0.5
    )  # pixels; enlarged views are off by rounding


def _groups(finds: Sequence[_Find], rules: MergeRules) -> list[list[int]]:
    """Join fragments by descending overlap, never two finds of one image into one group."""
    boxes = [f.mask.box_xyxy for f in finds]
    touching = np.argwhere(np.triu(box_iou_matrix(boxes, boxes) > 0, 1))
    edges = []
    for i, j in touching:
        a, b = finds[i], finds[j]
        if a.image == b.image or not (a.is_cut and b.is_cut) or a.footprint == b.footprint:
            continue
        overlap = a.mask.intersection_px(b.mask) / min(a.mask.area_px, b.mask.area_px)
        if overlap > rules.fragment_overlap and (_cut_by_border(a, b, rules) or _cut_by_border(b, a, rules)):
            edges.append((overlap, int(i), int(j)))
    group_of = list(range(len(finds)))
    members = {i: [i] for i in range(len(finds))}
    for _, i, j in sorted(edges, key=lambda e: -e[0]):
        a, b = group_of[i], group_of[j]
        if a == b or {finds[m].image for m in members[a]} & {finds[m].image for m in members[b]}:
            continue
        members[a] += members.pop(b)
        for m in members[a]:
            group_of[m] = a
    return [sorted(m) for _, m in sorted(members.items())]


def _cut_by_border(cut: _Find, other: _Find, rules: MergeRules) -> bool:
    """Whether a border of ``cut``'s view runs along its mask, where ``other``'s view goes on and overlaps it."""
    x1, y1, x2, y2 = cut.mask.box_xyxy
    ox1, oy1, ox2, oy2 = other.mask.box_xyxy
    left, top, right, bottom = cut.footprint
    margin_x = max(2.0, rules.edge_margin * (right - left))
    margin_y = max(2.0, rules.edge_margin * (bottom - top))
    oleft, otop, oright, obottom = other.footprint
    return bool(
        (x1 - left <= margin_x and oleft < left and ox2 >= left - margin_x and ox1 <= left + margin_x)
        or (right - x2 <= margin_x and oright > right and ox1 <= right + margin_x and ox2 >= right - margin_x)
        or (y1 - top <= margin_y and otop < top and oy2 >= top - margin_y and oy1 <= top + margin_y)
        or (bottom - y2 <= margin_y and obottom > bottom and oy1 <= bottom + margin_y and oy2 >= bottom - margin_y)
    )


def _join(objects: Sequence[DetectedObject]) -> DetectedObject:
    if len(objects) == 1:
        return objects[0]
    masks = [o.mask for o in objects if o.mask is not None]
    mask = union_masks(masks, masks[0].size_hw)
    best = max(objects, key=lambda o: o.score)
    return replace(best, mask=mask, box_xyxy=mask.box_xyxy)
