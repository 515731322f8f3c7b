"""The ``visharness`` toolset: VisHarness's six tools and its final answer; the policy names images and phrases, never coordinates.

Source: ``fyw1999/VisHarness`` (semantics only; no code is used). Kept as published, with what is weak about it (``full`` mends it):

- Objects have no ids: none can be looked at, chosen, dropped or undone alone, and how sure an expert was is never told.
- Results are per image, and the latest of a kind overwrites earlier ones.
- Duplicates on one image stay, also in a merge, which removes only what two images both show.
- ``SuperResolution`` and ``MergeBoxMask`` return text without a picture; nothing recalls an image, only tools take it by name.
- The answer is what the last merge found, also when the turns run out. A merge cannot be retracted, only be followed by another; that
  there is no target is said by answering without one.

Different here:

- ``SplitImageIntoPatches`` takes images and one patch size, where theirs maps each image to a size: flat arguments survive every trainer.
- A merge without results, like any other mistake, is an observation, where theirs ends the run.
- ``PhraseToBoxMask`` asks the detector and then the segmenter with each box, where theirs is one SAM 3 call.
- ``PointToBoxMask`` does for "confidence" what its text says, the best of the segmenter's candidates by score, where theirs asks for one only.
- Boxes are half-open, where theirs are one pixel short.
- Results on an enlarged image are drawn at its full size, where theirs are shrunk back; no image is enlarged beyond a bound.
- Several images can be given, options can be answered, and pictures stay as they are, where theirs are compressed at every step.
- The prompt says that only a merge is scored and that there may be no target, of which theirs tells the teacher alone.
- Whether images leave the view is the memory policy's business. ``--memory archive:blind`` is theirs, with which the agent has no image
  in view after these two tools; the default keeps the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from ..answers import Answer, AnswerKind, Box
from ..arguments import ChoiceKind, ImageNames, Phrase, TextKind
from ..context import ToolContext
from ..drawing import draw_patch_grid, draw_points
from ..experts import (
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    Result,
    Segmentation,
    SegmentRequest,
    Upscaled,
    UpscaleRequest,
)
from ..memory import NamedImage
from ..objects import DetectedObject
from ..tools import CallError, NewImage, ToolBody, ToolResult, Toolset, tool
from ._merge import merge_found
from ._shared import PatchSize, check_enlarged, check_patches, cut_patches, found_object

__all__ = ["VISHARNESS"]

SR_SCALE = 4


@tool(requires=["detect", "segment"])
def PhraseToBoxMask(context: ToolContext, images: ImageNames, phrase: Phrase) -> ToolBody:  # noqa: N802 - their names
    """Find all objects of one category by a noun, or a colour and a noun, and get their boxes and masks.

    Args:
        images: Names of the images to search.
        phrase: One category, such as "apple" or "red car".
    """
    places = [context.image(name) for name in images]
    detections = yield [DetectRequest(image=p.image, phrase=phrase) for p in places]
    asked = [
        (place, box, score) for place, result in zip(places, detections, strict=True) for box, score in _boxes(result)
    ]
    masks = yield [SegmentRequest(image=place.image, box_xyxy=box) for place, box, _ in asked]
    found: dict[str, list[DetectedObject]] = {p.name: [] for p in places}
    for (place, box, score), result in zip(asked, masks, strict=True):
        assert isinstance(result, Segmentation)
        one = found_object(context, place, label=phrase, score=score, box_xyxy=box, mask=result.mask)
        if one.area_px:
            found[place.name].append(one)
    return _report(context, places, found, f"for {phrase!r}")


@tool(requires=["point"])
def PhraseToPoint(context: ToolContext, images: ImageNames, phrase: Phrase) -> ToolBody:  # noqa: N802
    """Point at all objects that a richer phrase describes; several categories may be named.

    Args:
        images: Names of the images to search.
        phrase: What to point at, such as "each apple on the left".
    """
    places = [context.image(name) for name in images]
    results = yield [PointRequest(image=p.image, phrase=phrase) for p in places]
    points = dict(context.state.get("points", {}))
    drawn, lines = [], []
    for number, (place, result) in enumerate(zip(places, results, strict=True)):
        assert isinstance(result, Points)
        points[place.name] = tuple(map(tuple, result.points_xy.tolist()))
        drawn.append(
            NewImage(
                name=f"visual{number or ''}", image=draw_points(place.image, result.points_xy), parent=place.name,
                origin=f"points on {place.name}",
            )
        )  # fmt: skip
        lines.append(f"{place.name}: {len(result.points_xy)} points for {phrase!r}.")
    return ToolResult(
        text="\n".join(lines), new_images=tuple(drawn), show=tuple(d.name for d in drawn),
        state={**context.state, "points": points},
    )  # fmt: skip


@tool(requires=["segment"])
def PointToBoxMask(  # noqa: N802
    context: ToolContext, images: ImageNames, mode: Annotated[str, ChoiceKind(("confidence", "area"))]
) -> ToolBody:
    """Turn the points found earlier on these images into boxes and masks, one object per point.

    Args:
        images: Names of images that have points from PhraseToPoint.
        mode: "confidence" for the surest mask of each point, "area" for the largest.
    """
    places = [context.image(name) for name in images]
    points: Mapping[str, Any] = context.state.get("points", {})
    for place in places:
        if not points.get(place.name):
            raise CallError("no_points", f"{place.name!r} has no points. Call PhraseToPoint on it first.")
    asked = [(place, xy) for place in places for xy in points[place.name]]
    masks = yield [
        SegmentRequest(
            image=place.image, points_xy=(xy,), points_positive=(True,), prefer="area" if mode == "area" else "score"
        )
        for place, xy in asked
    ]
    found: dict[str, list[DetectedObject]] = {p.name: [] for p in places}
    for (place, xy), result in zip(asked, masks, strict=True):
        assert isinstance(result, Segmentation)
        if result.mask.area_px:
            found[place.name].append(
                found_object(context, place, label="target", score=result.score, mask=result.mask, points=[(*xy, True)])
            )
    return _report(context, places, found, "from points")


@tool()
def SplitImageIntoPatches(context: ToolContext, images: ImageNames, patch_size: PatchSize) -> ToolBody:  # noqa: N802
    """Cut images into overlapping patches for scenes with many small objects.

    Args:
        images: Names of the images to cut.
        patch_size: Side of a patch in pixels; at most 64 patches in all.
    """
    yield from ()
    check_patches([context.image(name) for name in images], patch_size)
    made: list[NewImage] = []
    show: list[str] = []
    lines = []
    for number, name in enumerate(images):
        place = context.image(name)
        cut = cut_patches(context, place, patch_size)
        overview = draw_patch_grid(place.image, [(p.name, cell) for p, cell in cut])
        grid = NewImage(name=f"overview{number or ''}", image=overview, parent=name, origin=f"patches of {name}")
        made += [grid, *(p for p, _ in cut)]
        show += [grid.name, *(p.name for p, _ in cut)]
        lines.append(f"{name}: {len(cut)} patches: {', '.join(p.name for p, _ in cut)}.")
    return ToolResult(text="\n".join(lines), new_images=tuple(made), show=tuple(show))


@tool(requires=["upscale"])
def SuperResolution(context: ToolContext, images: ImageNames) -> ToolBody:  # noqa: N802
    """Enlarge images four times as new images NAME_4x. The new images are not shown; pass them to other tools by name.

    Args:
        images: Names of the images to enlarge, not yet enlarged ones.
    """
    places = [context.image(name) for name in images]
    for place in places:
        if place.name != place.source and place.pixel_px < 0.99 * context.images[place.parent].pixel_px:
            raise CallError("already_enlarged", f"{place.name!r} is enlarged already. Pass it to another tool.")
        check_enlarged(place, SR_SCALE)
    results = yield [UpscaleRequest(image=p.image, scale=SR_SCALE) for p in places]
    made = []
    for place, result in zip(places, results, strict=True):
        assert isinstance(result, Upscaled)
        made.append(
            NewImage(
                name=context.free_name(f"{place.name}_4x"), image=result.image, parent=place.name, origin=f"{place.name} enlarged 4 times",
                to_parent=np.array([[1 / SR_SCALE, 0, 0], [0, 1 / SR_SCALE, 0]]),
            )
        )  # fmt: skip
    return ToolResult(text=f"Enlarged: {', '.join(m.name for m in made)}.", new_images=tuple(made))


@tool()
def MergeBoxMask(context: ToolContext, images: ImageNames) -> ToolBody:  # noqa: N802
    """Merge the boxes and masks found on these images into the final result. Required before answering when there are targets.

    Args:
        images: Names of images that have boxes and masks.
    """
    yield from ()
    found: Mapping[str, tuple[DetectedObject, ...]] = context.state.get("found", {})
    for name in images:
        context.image(name)
        if not found.get(name):
            raise CallError(
                "nothing_found",
                f"{name!r} has no boxes and masks. Find some with PhraseToBoxMask first, or answer if there is no target.",
            )
    merged = [
        one
        for source in context.sources
        for one in merge_found({n: found[n] for n in images if context.images[n].source == source}, context.images)
    ]
    first = context.next_object_id
    objects = tuple(replace(o, id=first + i) for i, o in enumerate(merged))
    return ToolResult(text=f"Final result: {len(objects)} objects.", objects=objects)


@tool(answers=list(AnswerKind), name="Answer")
def FinalAnswer(  # noqa: N802
    context: ToolContext, final_answer: Annotated[str, TextKind(2000, ("There are three.",), 0)]
) -> ToolBody:
    """End the task. The final result of MergeBoxMask is what counts; without one, the answer is that there is no target.

    Args:
        final_answer: The answer in words, or the letter of an option where options are given.
    """
    yield from ()
    if context.kind is AnswerKind.CHOICE:
        return ToolResult(text="Answered.", answer=Answer(choice=final_answer))
    return ToolResult(text="Answered.", answer=_merged(context) or Answer(no_target=True))


def _merged(context: ToolContext) -> Answer | None:
    """The answer that the last merge makes; options are answered in words only."""
    if context.kind is AnswerKind.CHOICE or not context.objects:
        return None
    return context.answer(context.objects)


VISHARNESS = Toolset(
    name="visharness",
    tools=(
        PhraseToBoxMask, PhraseToPoint, PointToBoxMask, SplitImageIntoPatches, SuperResolution, MergeBoxMask, FinalAnswer,
    ),
    guidance=(
        "Look at what each tool returns before you go on. Where objects are asked for, only the result of MergeBoxMask is "
        "scored, so merge before you answer when there are targets; it is possible that there is no target: then answer "
        "without merging. Where options are given, answer with the letter."
    ),
    at_turn_limit=_merged,
)  # fmt: skip
"""VisHarness's tools."""


def _boxes(result: Result) -> list[tuple[Box, float]]:
    assert isinstance(result, Detections)
    return [
        ((x1, y1, x2, y2), s)
        for (x1, y1, x2, y2), s in zip(result.boxes_xyxy.tolist(), result.scores.tolist(), strict=True)
    ]


def _report(
    context: ToolContext, places: list[NamedImage], found: Mapping[str, list[DetectedObject]], what: str
) -> ToolResult:
    drawn = []
    for number, place in enumerate(places):
        # Boxes only, numbered in the picture, as theirs; ids begin anew on each image.
        boxes = [replace(o, id=i, mask=None) for i, o in enumerate(found[place.name])]
        drawn.append(replace(context.overlay(place, boxes, f"boxes on {place.name}"), name=f"visual{number or ''}"))
    state = {**context.state, "found": {**context.state.get("found", {}), **{k: tuple(v) for k, v in found.items()}}}
    text = "\n".join(f"{p.name}: {len(found[p.name])} objects {what}." for p in places)
    return ToolResult(text=text, new_images=tuple(drawn), show=tuple(d.name for d in drawn), state=state)
