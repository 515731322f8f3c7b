"""The ``rsagent`` toolset: one working mask, prompted by a box and signed points until it fits. In the style of RSAgent.

The grammar and tool names of RSAgent (arXiv 2512.24023) are not published; what is known is that it works in at most eight turns,
views the picture, prompts a segmenter, sees the mask drawn in, and refines it. The tools here are ours. As in its open relatives
(IBISAgent, MedSAM-Agent) there is a single working mask and a new box starts it anew; unlike there, coordinates are
0-1000 and "nothing matches" can be said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from ..arguments import ChoiceKind, ImageName, X, Y
from ..context import ToolContext, map_points
from ..experts import Segmentation, SegmentRequest
from ..memory import NamedImage
from ..objects import DetectedObject
from ..tools import CallError, ToolBody, ToolResult, Toolset, tool
from ._shared import found_object, pixel_in, submit, submit_choice, submit_count, submit_none
from .full import crop, view

__all__ = ["RSAGENT"]


@tool(requires=["segment"])
def prompt_box(context: ToolContext, image: ImageName, x1: X, y1: Y, x2: X, y2: Y) -> ToolBody:
    """Segment what is inside a box. The result is the working mask; an earlier one is gone.

    Args:
        image: Name of the image, such as "img_0".
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
    """
    place = context.image(image)
    box = context.box_in(place, x1, y1, x2, y2)
    (result,) = yield [SegmentRequest(image=place.image, box_xyxy=box)]
    assert isinstance(result, Segmentation)
    found = found_object(
        context, place, label="target", score=result.score, box_xyxy=box, mask=result.mask, prompt_box_xyxy=box
    )
    if found.mask is None or not found.mask.area_px:
        return ToolResult(text=f"Nothing could be segmented in that box of {image}; the working mask is as before.")
    return _working(context, place, found, "box")


@tool(requires=["segment"])
def prompt_point(
    context: ToolContext,
    image: ImageName,
    x: X,
    y: Y,
    sign: Annotated[str, ChoiceKind(("positive", "negative"))],
) -> ToolBody:
    """Correct the working mask by a point, or start one: positive adds what lies there, negative removes it.

    Args:
        image: Name of the image, such as "img_0", or of a view of it.
        x: Position.
        y: Position.
        sign: "positive" if the place belongs to the target, else "negative".
    """
    place = context.image(image)
    source = context.images[place.source]
    known = _mask_of(context, place)
    _need_mask(known, sign)
    ((px, py),) = map_points([pixel_in(place, x, y)], place.to_source)
    click = (float(px), float(py))
    points = (*(known.points_xy if known else ()), click)
    positive = (*(known.points_positive if known else ()), sign == "positive")
    box = known.prompt_box_xyxy if known else None
    (result,) = yield [
        SegmentRequest(
            image=source.image,
            box_xyxy=box,
            points_xy=points,
            points_positive=positive,
            previous=known.mask if known else None,
        )
    ]
    assert isinstance(result, Segmentation)
    if not result.mask.area_px:
        return ToolResult(text="That point would leave nothing; the working mask is as before.")
    clicks = [(*xy, p) for xy, p in zip(points, positive, strict=True)]
    found = found_object(
        context, source, label="target", score=result.score, mask=result.mask, points=clicks, prompt_box_xyxy=box
    )
    return _working(context, place, found, f"{sign} point")


RSAGENT = Toolset(
    name="rsagent",
    tools=(view, crop, prompt_box, prompt_point, submit, submit_none, submit_count, submit_choice),
    max_turns=8,
    guidance=(
        "Find the target, segment it with a box, "
        "look at the mask drawn in the picture, correct it with points where it is wrong, and submit as soon as it fits: "
        "further calls cost. It is possible that nothing matches the instruction."
    ),
)
"""One mask, refined by looking."""


def _mask_of(context: ToolContext, place: NamedImage) -> DetectedObject | None:
    return next((o for o in context.objects if o.image == place.source), None)


def _need_mask(known: DetectedObject | None, sign: str) -> None:
    if known is None and sign == "negative":
        raise CallError("no_mask", "There is no working mask to correct. Start one with a box or a positive point.")


def _working(context: ToolContext, place: NamedImage, found: DetectedObject, how: str) -> ToolResult:
    """Make a find the working mask of its source; those of other sources stay."""
    made = replace(found, id=context.next_object_id)
    others = tuple(o for o in context.objects if o.image != found.image)
    view_of = context.overlay(place, (made,), f"working mask after a {how}")
    width, height = context.images[made.image].size_wh
    share = 100 * made.area_px / (width * height)
    text = f"Working mask after a {how}: {made.area_px} px, {share:.1f} % of {made.image}, confidence {made.score:.2f}."
    return ToolResult(text=text, new_images=(view_of,), show=(view_of.name,), objects=(*others, made))
