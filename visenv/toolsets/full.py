"""The ``full`` toolset: detect, segment, refine, split, zoom and recall, with object ids that can be kept, dropped and undone.

What it has beyond the published harnesses, VisHarness's first of all (``visharness`` keeps it as it is):

- Objects have ids and say how sure the expert was; each can be segmented, refined, kept or dropped alone, and every change undone.
- Finds of one name that overlap on a source are one object, whatever views they were found in: there is no merge to call or to forget.
  Objects live in pixels of their source.
- ``view`` recalls any image. What comes back without a picture leaves the one before it in view, unless the memory is told otherwise.
- What is submitted is what is left in the end; that nothing matches is an answer of its own, also after something was found.
- A mistake is an observation. No tool makes more than 64 patches or images beyond a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from ..answers import Box
from ..arguments import ChoiceKind, ImageName, ImageNames, IntegerKind, ObjectIds, Phrase, TextKind, X, Y
from ..context import ToolContext, invert_matrix, map_points
from ..drawing import draw_patch_grid, draw_points
from ..experts import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)
from ..memory import NamedImage
from ..objects import DetectedObject, add_objects
from ..tools import CallError, NewImage, ToolBody, ToolResult, Toolset, tool
from ._shared import (
    PatchSize,
    check_enlarged,
    check_patches,
    cut_patches,
    cut_region,
    found_object,
    pixel_in,
    submit,
    submit_choice,
    submit_count,
    submit_none,
)

__all__ = ["FULL"]

SHOWN = 4
"""Most pictures that one call puts before the agent, ``view`` apart."""
SAME_IOU = 0.7
"""Box IoU from which a detection is a known object of the same name."""
Label = Annotated[str, TextKind(80, ("target",), one_line=True)]
QUESTIONS = ("What is in the picture?", "What colour is the car?")


@tool(requires=["detect"])
def detect(context: ToolContext, images: ImageNames, phrase: Phrase) -> ToolBody:
    """Find every object that a phrase names in one or more images, and keep each as an object with an id and a box.

    Args:
        images: Names of the images to search, such as ["img_0"].
        phrase: A noun, or a colour and a noun, such as "apples" or "red car". One kind of thing per call; "object" finds everything.
    """
    places = [context.image(name) for name in images]
    results = yield [DetectRequest(image=p.image, phrase=phrase) for p in places]
    found: list[DetectedObject] = []
    for place, result in zip(places, results, strict=True):
        assert isinstance(result, Detections)
        found += [
            found_object(context, place, label=label, score=score, box_xyxy=box)
            for box, score, label in zip(result.boxes_xyxy, result.scores, result.labels, strict=True)
        ]
    if not found:
        return ToolResult(text=f"Nothing found for {phrase!r} in {', '.join(images)}.")
    return _with_new(context, places, found, f"{phrase!r}")


@tool(requires=["point"])
def point(context: ToolContext, image: ImageName, phrase: Phrase) -> ToolBody:
    """Point at every object that a phrase names. Makes no objects: pass a point to segment_point.

    Args:
        image: Name of the image, such as "img_0".
        phrase: What to point at, such as "apples".
    """
    place = context.image(image)
    (result,) = yield [PointRequest(image=place.image, phrase=phrase)]
    assert isinstance(result, Points)
    if not len(result.points_xy):
        return ToolResult(text=f"Nothing to point at for {phrase!r} in {image}.")
    listed = ", ".join(context.write(place, x, y) for x, y in result.points_xy[:60])
    more = len(result.points_xy) - 60
    drawn = NewImage(
        name="view", image=draw_points(place.image, result.points_xy), parent=image, origin=f"points for {phrase!r}"
    )
    text = f"{len(result.points_xy)} points for {phrase!r}: {listed}{f' and {more} more' if more > 0 else ''}."
    return ToolResult(text=text, new_images=(drawn,), show=("view",))


@tool(requires=["segment"])
def segment(context: ToolContext, objects: ObjectIds) -> ToolBody:
    """Make a mask for objects that so far have only a box.

    Args:
        objects: Ids of the objects, such as [0, 2].
    """
    chosen = context.objects_by_id(objects)
    results = yield [SegmentRequest(image=context.images[o.image].image, box_xyxy=o.box_xyxy) for o in chosen]
    changed = []
    for o, result in zip(chosen, results, strict=True):
        assert isinstance(result, Segmentation)
        if result.mask.area_px:  # else the object stays the box that it was
            changed.append(replace(o, mask=result.mask, prompt_box_xyxy=o.box_xyxy, box_xyxy=result.mask.box_xyxy))
    if not changed:
        return ToolResult(text="Nothing could be segmented in these boxes; the objects stay as they were.")
    return _changed(context, changed, "segmented")


@tool(requires=["segment"])
def segment_box(
    context: ToolContext,
    image: ImageName,
    x1: X,
    y1: Y,
    x2: X,
    y2: Y,
    label: Label = "target",
) -> ToolBody:
    """Segment the object inside a box and keep it as a new object with a mask.

    Args:
        image: Name of the image, such as "img_0".
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
        label: What the object is, in a few words.
    """
    place = context.image(image)
    box = context.box_in(place, x1, y1, x2, y2)
    (result,) = yield [SegmentRequest(image=place.image, box_xyxy=box)]
    assert isinstance(result, Segmentation)
    found = found_object(
        context, place, label=label, score=result.score, box_xyxy=box, mask=result.mask, prompt_box_xyxy=box
    )
    if found.mask is None or not found.mask.area_px:
        return ToolResult(text=f"Nothing could be segmented in that box of {image}.")
    return _with_new(context, [place], [found], "box", distinct=True)


@tool(requires=["segment"])
def segment_point(context: ToolContext, image: ImageName, x: X, y: Y, label: Label = "target") -> ToolBody:
    """Segment the object under a point and keep it as a new object with a mask.

    Args:
        image: Name of the image, such as "img_0".
        x: Position.
        y: Position.
        label: What the object is, in a few words.
    """
    place = context.image(image)
    click = pixel_in(place, x, y)
    (result,) = yield [SegmentRequest(image=place.image, points_xy=(click,), points_positive=(True,))]
    assert isinstance(result, Segmentation)
    found = found_object(context, place, label=label, score=result.score, mask=result.mask, points=[(*click, True)])
    if not found.area_px:
        return ToolResult(text=f"Nothing could be segmented at {context.write(place, *click)} of {image}.")
    return _with_new(context, [place], [found], "point", distinct=True)


@tool(requires=["segment"])
def refine(
    context: ToolContext,
    object: Annotated[int, IntegerKind(0, 9999)],
    image: ImageName,
    x: X,
    y: Y,
    sign: Annotated[str, ChoiceKind(("positive", "negative"))],
) -> ToolBody:
    """Correct an object's mask by a click: positive adds what lies there, negative removes it.

    Args:
        object: Id of the object.
        image: Name of the image in which the click is given: the object's own image or a view of it.
        x: Position.
        y: Position.
        sign: "positive" if the place belongs to the object, else "negative".
    """
    place = context.image(image)
    (known,) = context.objects_by_id([object])
    if known.image != place.source:
        raise CallError(
            "wrong_image",
            f"Object #{object} is in {known.image!r}, not in {image!r}. Click in an image of {known.image!r}.",
        )
    ((cx, cy),) = map_points([pixel_in(place, x, y)], place.to_source)
    points = (*known.points_xy, (float(cx), float(cy)))
    positive = (*known.points_positive, sign == "positive")
    (result,) = yield [
        SegmentRequest(
            image=context.images[known.image].image, box_xyxy=known.prompt_box_xyxy or known.box_xyxy, points_xy=points,
            points_positive=positive, previous=known.mask,
        )
    ]  # fmt: skip
    assert isinstance(result, Segmentation)
    if not result.mask.area_px:
        return ToolResult(text=f"That click would leave nothing of #{object}; it stays as it was.")
    box: Box = result.mask.box_xyxy
    changed = replace(
        known, mask=result.mask, box_xyxy=box, points_xy=points, points_positive=positive,
        prompt_box_xyxy=known.prompt_box_xyxy or known.box_xyxy,
    )  # fmt: skip
    return _changed(context, [changed], f"refined by a {sign} click")


@tool()
def draw_box(
    context: ToolContext,
    image: ImageName,
    x1: X,
    y1: Y,
    x2: X,
    y2: Y,
    label: Label = "target",
) -> ToolBody:
    """Keep a box of your own as a new object, without asking an expert.

    Args:
        image: Name of the image, such as "img_0".
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
        label: What the object is, in a few words.
    """
    yield from ()
    place = context.image(image)
    box = context.box_in(place, x1, y1, x2, y2)
    return _with_new(
        context, [place], [found_object(context, place, label=label, score=1.0, box_xyxy=box)], "own box", distinct=True
    )


@tool()
def crop(context: ToolContext, image: ImageName, x1: X, y1: Y, x2: X, y2: Y) -> ToolBody:
    """Cut a region out as a new image, to look closer or to pass it to other tools.

    Args:
        image: Name of the image, such as "img_0".
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.
    """
    yield from ()
    place = context.image(image)
    box = context.box_in(place, x1, y1, x2, y2)
    made = cut_region(context, place, box, name=f"crop_{context.turn}")
    size = context.write_size(made.image.size_wh)
    return ToolResult(text=f"{made.name}: {size} of {image}.", new_images=(made,), show=(made.name,))


@tool()
def split(context: ToolContext, images: ImageNames, patch_size: PatchSize) -> ToolBody:
    """Cut images into overlapping patches, for scenes with many small objects. Detect on the patches afterwards.

    Args:
        images: Names of the images to cut, such as ["img_0"].
        patch_size: Side of a patch in pixels.
    """
    yield from ()
    check_patches([context.image(name) for name in images], patch_size)
    made: list[NewImage] = []
    show: list[str] = []
    lines = []
    for name in images:
        place = context.image(name)
        cut = cut_patches(context, place, patch_size)
        made += [patch for patch, _ in cut]
        grid = f"{name}_grid"
        overview = draw_patch_grid(place.image, [(p.name.removeprefix(f"{name}_"), cell) for p, cell in cut])
        made.append(NewImage(name=grid, image=overview, parent=name, origin=f"patches of {name}"))
        show.append(grid)
        lines.append(f"{name}: {len(cut)} patches: {', '.join(p.name for p, _ in cut)}.")
    return ToolResult(text="\n".join(lines), new_images=tuple(made), show=tuple(show[:SHOWN]))


@tool(requires=["upscale"])
def upscale(context: ToolContext, image: ImageName, factor: Annotated[int, IntegerKind(2, 4)] = 2) -> ToolBody:
    """Enlarge an image, to see or detect small things.

    Args:
        image: Name of the image, such as "crop_1".
        factor: How many times larger, 2 to 4.
    """
    place = context.image(image)
    check_enlarged(place, factor)
    (result,) = yield [UpscaleRequest(image=place.image, scale=factor)]
    assert isinstance(result, Upscaled)
    name = context.free_name(f"{image}_x{factor}")
    made = NewImage(
        name=name, image=result.image, parent=image, to_parent=np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]]),
        origin=f"{image} enlarged {factor} times",
    )  # fmt: skip
    return ToolResult(text=f"{name}: {context.write_size(result.image.size_wh)}.", new_images=(made,), show=(name,))


@tool(requires=["read"])
def read(context: ToolContext, image: ImageName) -> ToolBody:
    """Read the text in an image.

    Args:
        image: Name of the image, such as "img_0".
    """
    place = context.image(image)
    (result,) = yield [ReadRequest(image=place.image)]
    assert isinstance(result, TextLines)
    return ToolResult(text="\n".join(result.lines) if result.lines else f"No text found in {image}.")


@tool(requires=["describe"])
def describe(context: ToolContext, image: ImageName, question: Annotated[str, TextKind(400, QUESTIONS)]) -> ToolBody:
    """Ask an expert about an image; it answers in words and may be wrong.

    Args:
        image: Name of the image, such as "img_0".
        question: What to answer, such as "What is the man holding?".
    """
    place = context.image(image)
    (result,) = yield [DescribeRequest(image=place.image, question=question)]
    assert isinstance(result, Description)
    return ToolResult(text=result.text)


@tool()
def view(context: ToolContext, images: ImageNames) -> ToolBody:
    """Bring images back into view, also archived ones.

    Args:
        images: Names of the images, such as ["img_0"].
    """
    yield from ()
    if len(images) > 16:
        raise CallError("too_many_images", f"{len(images)} images asked for. Expected at most 16 at a time.")
    for name in images:
        if name not in context.images:
            context.image(name)
    return ToolResult(text=f"In view: {', '.join(images)}.", show=tuple(images))


@tool()
def keep(context: ToolContext, objects: ObjectIds) -> ToolBody:
    """Keep these objects and drop all others.

    Args:
        objects: Ids of the objects to keep, such as [0, 2].
    """
    yield from ()
    kept = {o.id for o in context.objects_by_id(objects)}
    return _remaining(context, tuple(o for o in context.objects if o.id in kept))


@tool()
def drop(context: ToolContext, objects: ObjectIds) -> ToolBody:
    """Drop objects that do not belong to the answer.

    Args:
        objects: Ids of the objects to drop, such as [1].
    """
    yield from ()
    gone = {o.id for o in context.objects_by_id(objects)}
    return _remaining(context, tuple(o for o in context.objects if o.id not in gone))


@tool()
def undo(context: ToolContext) -> ToolBody:
    """Take back the last change of the objects."""
    yield from ()
    if not context.history:
        raise CallError("nothing_to_undo", "The objects have not changed yet, so there is nothing to take back.")
    return replace(_remaining(context, context.history[-1]), undo=True)


FULL = Toolset(
    name="full",
    tools=(
        detect, point, segment, segment_box, segment_point, refine, draw_box, crop, split, upscale, read, describe, view, keep, drop,
        undo, submit, submit_none, submit_count, submit_choice,
    ),
    guidance=(
        "Objects have ids; what you submit is "
        "all objects that are left, so drop those that do not belong to the answer. It is possible that nothing matches the "
        "instruction. Images that are out of view can be passed to tools by name and brought back with view."
    ),
)  # fmt: skip
"""Everything, with object ids."""


def _with_new(
    context: ToolContext,
    places: Sequence[NamedImage],
    found: Sequence[DetectedObject],
    origin: str,
    *,
    distinct: bool = False,
) -> ToolResult:
    """Add finds to the table and show them on the images they were found in (at most ``SHOWN``).

    ``distinct``: they are new objects even where they overlap known ones, because the agent placed them itself.
    """
    same_iou = 2.0 if distinct else SAME_IOU
    table, touched = add_objects(context.objects, found, next_id=context.next_object_id, same_iou=same_iou)
    new_images = []
    for number, place in enumerate(places[:SHOWN]):
        shown = [o for o in touched if o.image == place.source and _inside(o, place)]
        if shown or len(places) == 1:
            overlay = context.overlay(place, shown, f"objects for {origin} on {place.name}")
            new_images.append(replace(overlay, name=f"view{number or ''}"))
    new = sum(o.id >= context.next_object_id for o in touched)
    known = f", {len(touched) - new} of them known before" if new < len(touched) else ""
    return ToolResult(
        text=f"{_counted(touched)}{known}:\n{context.describe(touched)}",
        new_images=tuple(new_images), show=tuple(i.name for i in new_images), objects=table,
    )  # fmt: skip


def _inside(o: DetectedObject, place: NamedImage) -> bool:
    if place.name == place.source:
        return True
    x1, y1, x2, y2 = o.box_xyxy
    ((x, y),) = map_points([((x1 + x2) / 2, (y1 + y2) / 2)], invert_matrix(place.to_source))
    return bool(0 <= x < place.size_wh[0] and 0 <= y < place.size_wh[1])


def _changed(context: ToolContext, changed: Sequence[DetectedObject], how: str) -> ToolResult:
    by_id = {o.id: o for o in changed}
    table = tuple(by_id.get(o.id, o) for o in context.objects)
    new_images = []
    for number, name in enumerate(list(dict.fromkeys(o.image for o in changed))[:SHOWN]):
        shown = [o for o in changed if o.image == name]
        overlay = context.overlay(context.images[name], shown, f"objects {how}")
        new_images.append(replace(overlay, name=f"view{number or ''}"))
    text = f"{_counted(changed)} {how}:\n{context.describe(changed)}"
    return ToolResult(text=text, new_images=tuple(new_images), show=tuple(i.name for i in new_images), objects=table)


def _remaining(context: ToolContext, table: tuple[DetectedObject, ...]) -> ToolResult:
    listed = context.describe(table) if table else "none"
    return ToolResult(text=f"{_counted(table)} left:\n{listed}", objects=table)


def _counted(objects: Sequence[DetectedObject]) -> str:
    return f"{len(objects)} object{'' if len(objects) == 1 else 's'}"
