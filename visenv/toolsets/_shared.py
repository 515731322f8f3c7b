"""Pieces that several toolsets use: final tools, patches, and making objects of what experts return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from ..answers import Answer, AnswerKind, Box
from ..arguments import IntegerKind, TextKind
from ..context import ToolContext
from ..images import Image
from ..masks import Mask
from ..memory import NamedImage
from ..objects import DetectedObject
from ..tools import CallError, NewImage, ToolBody, ToolResult, tool

__all__ = [
    "PatchSize",
    "check_enlarged",
    "check_patches",
    "cut_patches",
    "cut_region",
    "found_object",
    "pixel_in",
    "submit",
    "submit_choice",
    "submit_count",
    "submit_none",
]

PatchSize = Annotated[int, IntegerKind(32, 8192)]
MAX_PATCHES = 64
"""Most patches one call may make."""
MAX_PIXELS = 4096 * 4096
"""Largest image a tool may make."""
MAX_SIDE_PX = 8192
REMAINDER, GROWTH = 0.3, 0.2


def found_object(
    context: ToolContext,
    image: NamedImage,
    *,
    label: str,
    score: float,
    box_xyxy: Sequence[float] | None = None,
    mask: Mask | None = None,
    points: Sequence[tuple[float, float, bool]] = (),
    prompt_box_xyxy: Sequence[float] | None = None,
) -> DetectedObject:
    """Make an object of what was found in an image, moved to the image's source.

    The box is the mask's own when there is a mask. Coordinates are pixels of ``image``; the id is set later.
    """
    moved = None if mask is None else context.mask_to_source(image, mask)
    if moved is not None and moved.area_px:
        box: Box = moved.box_xyxy
    else:
        box = context.box_to_source(image, box_xyxy if box_xyxy is not None else (0, 0, 0, 0))
    clicks = [(context.box_to_source(image, (x, y, x, y))[:2], positive) for x, y, positive in points]
    return DetectedObject(
        id=0, image=image.source, label=label, score=min(1.0, max(0.0, float(score))), box_xyxy=box, mask=moved,
        points_xy=tuple(xy for xy, _ in clicks), points_positive=tuple(p for _, p in clicks),
        prompt_box_xyxy=None if prompt_box_xyxy is None else context.box_to_source(image, prompt_box_xyxy),
    )  # fmt: skip


def check_patches(images: Sequence[NamedImage], patch_px: int) -> None:
    """Refuse to cut into more than ``MAX_PATCHES`` patches in all.

    Raises:
        CallError: ``too_many_patches``.
    """
    total = sum(len(_segments(i.size_wh[0], patch_px)) * len(_segments(i.size_wh[1], patch_px)) for i in images)
    if total > MAX_PATCHES:
        raise CallError(
            "too_many_patches",
            f"A patch size of {patch_px} makes {total} patches of {', '.join(i.name for i in images[:8])}. "
            f"Expected at most {MAX_PATCHES} in a call. Use a larger patch size or fewer images.",
        )


def check_enlarged(image: NamedImage, factor: int) -> None:
    """Refuse to make an image larger than ``MAX_PIXELS`` or with a side above ``MAX_SIDE_PX``.

    Raises:
        CallError: ``too_large``.
    """
    width, height = (side * factor for side in image.size_wh)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
        raise CallError(
            "too_large",
            f"{image.name!r} enlarged {factor} times has {width} x {height} px. Expected at most {MAX_PIXELS} px and "
            f"sides of {MAX_SIDE_PX} px. Cut out a part of it first.",
        )


def pixel_in(image: NamedImage, x: int, y: int) -> tuple[float, float]:
    """Return a place given as 0-1000 in pixels of ``image``, inside it."""
    width, height = image.size_wh
    return min(x * width / 1000, width - 0.5), min(y * height / 1000, height - 0.5)


def cut_region(context: ToolContext, image: NamedImage, box_xyxy: Box, *, name: str) -> NewImage:
    """Cut a box out of an image, rounded to whole pixels, at least one.

    Args:
        context: Gives a name that is free.
        image: What to cut.
        box_xyxy: Pixels of ``image``.
        name: What to call it.
    """
    width, height = image.size_wh
    left, top = min(int(box_xyxy[0]), width - 1), min(int(box_xyxy[1]), height - 1)
    right, bottom = min(width, max(left + 1, round(box_xyxy[2]))), min(height, max(top + 1, round(box_xyxy[3])))
    return NewImage(
        name=context.free_name(name), image=Image(image.image.pixels[top:bottom, left:right].copy()), parent=image.name,
        to_parent=np.array([[1.0, 0, left], [0, 1.0, top]]), origin=f"crop of {image.name}",
    )  # fmt: skip


def cut_patches(
    context: ToolContext, image: NamedImage, patch_px: int
) -> list[tuple[NewImage, tuple[int, int, int, int]]]:
    """Cut an image into overlapping patches.

    A last cell smaller than 0.3 of ``patch_px`` joins its neighbour; each cell grows by 0.2 of its length on every side,
    inside the image.

    Args:
        context: Gives names that are free.
        image: What to cut.
        patch_px: Side of a cell in pixels.

    Returns:
        Each patch, named ``<image>_r<row>_c<column>`` from 1 (with the turn before, when an earlier cut has the names), with
        its cell before growing (pixel box).

    Source: VisHarness ``SplitImageIntoPatches``.
    """
    width, height = image.size_wh
    columns, rows = (_segments(length, patch_px) for length in (width, height))
    base = image.name if f"{image.name}_r1_c1" not in context.images else f"{image.name}_t{context.turn}"
    patches = []
    for r, (y1, y2) in enumerate(rows, 1):
        for c, (x1, x2) in enumerate(columns, 1):
            dx, dy = int(GROWTH * (x2 - x1)), int(GROWTH * (y2 - y1))
            left, top, right, bottom = max(0, x1 - dx), max(0, y1 - dy), min(width, x2 + dx), min(height, y2 + dy)
            patch = NewImage(
                name=context.free_name(f"{base}_r{r}_c{c}"),
                image=Image(image.image.pixels[top:bottom, left:right].copy()), parent=image.name,
                to_parent=np.array([[1.0, 0, left], [0, 1.0, top]]), origin=f"patch of {image.name}, row {r}, column {c}",
            )  # fmt: skip
            patches.append((patch, (x1, y1, x2, y2)))
    return patches


def _segments(length: int, size: int) -> list[tuple[int, int]]:
    starts = list(range(0, length, size))
    if len(starts) > 1 and length - starts[-1] < REMAINDER * size:
        starts.pop()
    return list(zip(starts, [*starts[1:], length], strict=True))


@tool(answers=[AnswerKind.MASK, AnswerKind.BOXES, AnswerKind.COUNT])
def submit(context: ToolContext) -> ToolBody:
    """Submit all current objects as the final answer."""
    yield from ()
    if not context.objects:
        raise CallError(
            "nothing_to_submit",
            "There are no objects to submit. Find some first, or call submit_none if nothing matches.",
        )
    return ToolResult(
        text=f"Submitted {len(context.objects)} object{'' if len(context.objects) == 1 else 's'}.",
        answer=context.answer(context.objects),
    )


@tool(answers=[AnswerKind.MASK, AnswerKind.BOXES, AnswerKind.COUNT])
def submit_none(context: ToolContext) -> ToolBody:
    """Submit as the final answer that nothing in the image matches the instruction."""
    yield from ()
    return ToolResult(text="Submitted: no such object.", answer=Answer(no_target=True))


@tool(answers=[AnswerKind.COUNT])
def submit_count(context: ToolContext, count: Annotated[int, IntegerKind(0, 100_000)]) -> ToolBody:
    """Submit a number as the final answer, when counting by other means than the current objects.

    Args:
        count: How many objects match the instruction.
    """
    yield from ()
    return ToolResult(text=f"Submitted the number {count}.", answer=Answer(count=count))


@tool(answers=[AnswerKind.CHOICE])
def submit_choice(context: ToolContext, choice: Annotated[str, TextKind(20, ("A", "B", "C"))]) -> ToolBody:
    """Submit the letter of an option as the final answer.

    Args:
        choice: The letter of the right option, such as "B".
    """
    yield from ()
    return ToolResult(text=f"Submitted {choice}.", answer=Answer(choice=choice))
