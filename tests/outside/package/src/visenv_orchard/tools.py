"""A tool that knows when an apple is ripe, in a toolset beside tools that visenv ships."""

from __future__ import annotations

from visenv import Toolset, tool
from visenv.arguments import ImageName
from visenv.context import ToolContext
from visenv.experts import DetectRequest
from visenv.objects import DetectedObject, add_objects
from visenv.tools import ToolBody, ToolResult
from visenv.toolsets import FULL


@tool(requires=["detect"])
def pick_ripe(context: ToolContext, image: ImageName) -> ToolBody:
    """Find the ripe apples in an image and keep each as an object.

    Args:
        image: Name of the image, such as "img_0".
    """
    place = context.image(image)
    (apples,) = yield [DetectRequest(image=place.image, phrase="apple")]
    ripe = []
    for box, score in zip(apples.boxes_xyxy.tolist(), apples.scores.tolist(), strict=True):
        x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
        red, green, _ = map(int, place.image.pixels[min(y, place.size_wh[1] - 1), min(x, place.size_wh[0] - 1)])
        if red > green:
            source_box = context.box_to_source(place, box)  # objects live in pixels of the original image
            ripe.append(DetectedObject(id=0, image=place.source, label="ripe apple", score=score, box_xyxy=source_box))
    if not ripe:
        return ToolResult(text=f"No ripe apple in {image}.")
    table, touched = add_objects(context.objects, ripe, next_id=context.next_object_id)
    return ToolResult(
        text=f"{len(touched)} ripe apples:\n{context.describe(touched)}",
        new_images=(context.overlay(place, touched, "ripe apples"),),
        show=("view",),
        objects=table,
    )


ORCHARD = Toolset(
    name="orchard",
    tools=(
        pick_ripe,
        *(FULL[name] for name in ("crop", "view", "drop", "undo", "submit", "submit_none", "submit_count")),
    ),
    guidance="Pick the ripe apples, look at the picture, drop what is none, and submit.",
)
