"""The ``imagent`` toolset: several images, put back in view whole or in part before answering. In the style of IMAgent.

IMAgent (arXiv 2512.08980) has two tools, visual reflection and visual confirmation, which bring image content back before the model;
their exact form is not published. Here ``review`` shows a whole image again and ``confirm`` a region of it.
"""

from __future__ import annotations

from typing import Annotated

from ..arguments import ImageName, TextKind, X, Y
from ..context import ToolContext
from ..tools import ToolBody, ToolResult, Toolset, tool
from ._shared import cut_region, submit, submit_choice, submit_count, submit_none
from .full import draw_box

__all__ = ["IMAGENT"]


@tool()
def review(context: ToolContext, image: ImageName) -> ToolBody:
    """Look at a whole image again.

    Args:
        image: Name of the image, such as "img_0".
    """
    yield from ()
    if image not in context.images:
        context.image(image)
    return ToolResult(text=f"{image} once more.", show=(image,))


@tool()
def confirm(
    context: ToolContext,
    image: ImageName,
    x1: X,
    y1: Y,
    x2: X,
    y2: Y,
    claim: Annotated[str, TextKind(200, ("the cup is red",), one_line=True)],
) -> ToolBody:
    """Look at the region of an image that decides whether something is true.

    Args:
        image: Name of the image, such as "img_0".
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
        claim: What the region should confirm, such as "the cup is red".
    """
    yield from ()
    place = context.image(image)
    cut = cut_region(context, place, context.box_in(place, x1, y1, x2, y2), name=f"part_{context.turn}")
    return ToolResult(text=f"{cut.name} of {image}. Does it confirm: {claim}?", new_images=(cut,), show=(cut.name,))


IMAGENT = Toolset(
    name="imagent",
    tools=(review, confirm, draw_box, submit, submit_none, submit_count, submit_choice),
    guidance=(
        "Look at the images again, whole or in "
        "part, before you answer. Where objects are asked for, mark each with draw_box and submit."
    ),
)
"""Looking again at several images."""
