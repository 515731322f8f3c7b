"""The ``zoom`` toolset: look closer, turn, answer; no experts. In the style of DeepEyes and Mini-o3.

Source: the tools of ``Visual-Agent/DeepEyes`` (``image_zoom_in_tool``, ``image_rotate_tool``; semantics only). As there, a
region with a side below ``MIN_SIDE_PX`` is refused; as in Mini-o3 any earlier view can be zoomed into. Different here: theirs allow at
most six zooms, here the turns are what is limited; a region is enlarged by a whole factor, so that small things cost tokens enough to be seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np

from ..arguments import ChoiceKind, ImageName, X, Y
from ..context import ToolContext
from ..images import Image
from ..tools import CallError, NewImage, ToolBody, ToolResult, Toolset, tool
from ._shared import cut_region, submit, submit_choice, submit_count, submit_none
from .full import draw_box, view

__all__ = ["ZOOM", "rotate", "zoom"]

MIN_SIDE_PX = 30
"""Least side of a region before it is enlarged."""
GOAL_PX, MOST = 768, 4
"""A region is enlarged by the largest whole factor up to ``MOST`` that keeps its longer side within ``GOAL_PX``."""


@tool()
def zoom(context: ToolContext, image: ImageName, x1: X, y1: Y, x2: X, y2: Y) -> ToolBody:
    """Look closer at a region of an image; it becomes a new image.

    Args:
        image: Name of the image, such as "img_0", or of an earlier view.
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
    """
    yield from ()
    place = context.image(image)
    cut = cut_region(context, place, context.box_in(place, x1, y1, x2, y2), name=f"zoom_{context.turn}")
    width, height = cut.image.size_wh
    if min(width, height) < MIN_SIDE_PX:
        raise CallError(
            "too_small",
            f"That region of {image!r} has {width} x {height} px. Expected sides of at least {MIN_SIDE_PX} px. Take a larger one.",
        )
    factor = max(1, min(MOST, GOAL_PX // max(width, height)))
    if factor > 1:
        size_wh = (width * factor, height * factor)
        pixels = cv2.resize(cut.image.pixels, size_wh, interpolation=cv2.INTER_CUBIC)
        assert cut.to_parent is not None
        scale = np.array([[1 / factor, 1 / factor, 1], [1 / factor, 1 / factor, 1]])
        cut = replace(cut, image=Image(np.asarray(pixels, np.uint8)), to_parent=cut.to_parent * scale)
    how = f", enlarged {factor} times" if factor > 1 else ""
    text = f"{cut.name}: {context.write_size(cut.image.size_wh)} of {image}{how}."
    return ToolResult(text=text, new_images=(cut,), show=(cut.name,))


@tool()
def rotate(context: ToolContext, image: ImageName, angle: Annotated[str, ChoiceKind(("90", "180", "270"))]) -> ToolBody:
    """Turn an image clockwise; it becomes a new image.

    Args:
        image: Name of the image, such as "img_0".
        angle: By how many degrees.
    """
    yield from ()
    place = context.image(image)
    width, height = place.size_wh
    quarters = int(angle) // 90
    to_parent = {
        1: np.array([[0.0, 1, 0], [-1, 0, height]]),
        2: np.array([[-1.0, 0, width], [0, -1, height]]),
        3: np.array([[0.0, -1, width], [1, 0, 0]]),
    }[quarters]
    turned = NewImage(
        name=context.free_name(f"turned_{context.turn}"), parent=image, to_parent=to_parent,
        image=Image(np.ascontiguousarray(np.rot90(place.image.pixels, -quarters))), origin=f"{image} turned by {angle} degrees",
    )  # fmt: skip
    return ToolResult(
        text=f"{turned.name}: {image} turned by {angle} degrees.", new_images=(turned,), show=(turned.name,)
    )


ZOOM = Toolset(
    name="zoom",
    tools=(zoom, rotate, view, draw_box, submit, submit_none, submit_count, submit_choice),
    guidance=(
        "Zoom into what is too small to be sure "
        "of before you answer. Where objects are asked for, mark each with draw_box and submit; where a mask is wanted, a box "
        "counts with all its pixels. It is possible that nothing matches."
    ),
)
"""Looking closer, without experts."""
