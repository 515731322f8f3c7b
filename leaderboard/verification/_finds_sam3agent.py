"""The finds of ``sam3agent``: all masks of a phrase, in the place of those before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visenv.context import ToolContext
from visenv.toolsets.sam3agent import _found, _need_unused

from ._finds import Made, Objects, Shown, need_inside, need_masked, need_numbered

__all__ = ["segment_phrase"]


def segment_phrase(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check that every object is a mask that the phrase can have given."""
    place = context.image(given.get("image", "img_0"))
    _need_unused(context, place, given["phrase"])
    need_numbered(table, context)
    for o in table:
        need_masked(o, place, given["phrase"])
        need_inside(o, place)
    return Made(_found(context, place, given["phrase"], table))
