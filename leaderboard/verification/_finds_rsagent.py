"""The finds of ``rsagent``: one working mask, started by a box or a point and corrected by points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visenv.context import ToolContext, map_points
from visenv.memory import NamedImage
from visenv.objects import DetectedObject
from visenv.tools import ToolResult
from visenv.toolsets._shared import pixel_in
from visenv.toolsets.rsagent import _mask_of, _need_mask, _working

from ._finds import Made, Objects, Shown, near, need, need_inside, need_masked, need_numbered

__all__ = ["prompt_box", "prompt_point"]


def prompt_box(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check one mask without clicks, in the place of the one before it."""
    place = context.image(given["image"])
    context.box_in(place, *(given[name] for name in ("x1", "y1", "x2", "y2")))
    nothing = f"Nothing could be segmented in that box of {place.name}; the working mask is as before."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    new = _newest(context, place, table)
    need_inside(new, place)
    need(not new.points_xy, "clicks that no call made")
    return Made(_working(context, place, new, "box"))


def prompt_point(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check one mask with one click more than that in whose place it is."""
    place = context.image(given["image"])
    known = _mask_of(context, place)
    _need_mask(known, given["sign"])
    nothing = "That point would leave nothing; the working mask is as before."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    new = _newest(context, place, table)
    ((x, y),) = map_points([pixel_in(place, given["x"], given["y"])], place.to_source)
    clicks = (*(known.points_xy if known else ()), (float(x), float(y)))
    positive = (*(known.points_positive if known else ()), given["sign"] == "positive")
    need(new.points_positive == positive and near(new.points_xy, clicks), "another click than the call's")
    return Made(_working(context, place, new, f"{given['sign']} point"))


def _newest(context: ToolContext, place: NamedImage, table: Objects) -> DetectedObject:
    need(bool(table), "no working mask")
    need_numbered(table[-1:], context)
    need_masked(table[-1], place, "target")
    return table[-1]
