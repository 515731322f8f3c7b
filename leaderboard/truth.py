"""The truth of a sample drawn into its picture, and said in words, for people who look at data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from visenv.answers import AnswerKind, Box, Target
from visenv.drawing import COLOURS
from visenv.images import Pixels
from visenv.masks import Mask

__all__ = ["Colour", "colours_of", "draw_truth", "say_truth"]

Colour = tuple[int, int, int]
Matrix = npt.NDArray[np.float64]
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
NOT_SCORED: Colour = (255, 225, 0)
"""Regions that are ignored, and boxes of crowds; with a black rim, where all else has a white one."""
NOT_SCORED_TEXT: Colour = (130, 105, 0)
"""The same, dark enough to be read on white."""
TINT = 0.15
STRIPE_PX = 6
RIM_PX, LINE_PX, FRAME_PX = 1, 3, 2
"""Of all outlines, of those of masks, of those of boxes."""
MANY = 60
"""Boxes from which they are drawn thin and without a rim."""
SHOWN_LABELS = 12


def colours_of(targets: Iterable[Target]) -> dict[str, Colour]:
    """Return a colour for each label of some targets; after ten labels they come again."""
    labels = dict.fromkeys(label for target in targets for label in target.labels)
    return {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}


def draw_truth(canvas: Pixels, target: Target, colours: Mapping[str, Colour]) -> None:
    """Draw the target into a picture, in place: masks outlined, ignored regions hatched, boxes by label, points.

    Args:
        canvas: The first picture of the sample in any size, RGB; lines are as wide whatever the size.
        target: In pixels of the picture in its own size.
        colours: Of boxes, by label.
    """
    height, width = canvas.shape[:2]
    scale = np.diag([width / target.size_hw[1], height / target.size_hw[0]])
    matrix = np.hstack([scale, np.zeros((2, 1))])
    _hatch(canvas, target, matrix)
    if target.kind is AnswerKind.MASK:
        for number, mask in enumerate(target.masks):
            _draw_mask(canvas, mask, COLOURS[number % len(COLOURS)], matrix)
    else:
        _draw_boxes(canvas, target, colours, matrix)
    for x, y in target.points_xy:
        centre = _pixel(x, y, matrix)
        cv2.circle(canvas, centre, 4, WHITE, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, centre, 3, COLOURS[0], cv2.FILLED, cv2.LINE_AA)


def say_truth(target: Target, colours: Mapping[str, Colour]) -> list[tuple[str, Colour | None]]:
    """Return the truth in words, in parts that are each written in the colour of what they are about, if it is drawn."""
    if target.kind is AnswerKind.CHOICE:
        options = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", target.options, strict=False))
        text = options.get(target.choice or "", "")
        return [(f"answer: ({target.choice}) {text}".rstrip(), None)]
    ignored = bool(target.ignore) + len(target.ignore_boxes_xyxy)
    more: list[tuple[str, Colour | None]] = (
        [(f"{ignored} ignored region{'s'[: ignored != 1]}", NOT_SCORED_TEXT)] if ignored else []
    )
    crowds = sum(target.crowd)
    more += [(f"{crowds} not scored", NOT_SCORED_TEXT)] if crowds else []
    if target.no_target:
        return [("no target", None), *more]
    if target.kind is AnswerKind.MASK:
        return [(_say_masks(target), None), *more]
    if target.kind is AnswerKind.COUNT:
        return [(f"count: {target.num_objects}", None), *more]
    return [*_say_labels(target, colours), *more]


def _say_masks(target: Target) -> str:
    number, empty = len(target.masks), sum(not mask.area_px for mask in target.masks)
    said = f"{number} mask{'s'[: number != 1]}"
    said += f", {empty} without a pixel" if empty else ""
    labels = [
        f"{label} {count}" if count > 1 else label for label, count in Counter(target.labels).most_common(SHOWN_LABELS)
    ]
    return f"{said}: {', '.join(labels)}" if labels else said


def _say_labels(target: Target, colours: Mapping[str, Colour]) -> list[tuple[str, Colour | None]]:
    counts = Counter(target.labels)
    if not counts:
        number = len(target.boxes_xyxy)
        return [(f"{number} box{'es' if number != 1 else ''}", COLOURS[0])]
    said: list[tuple[str, Colour | None]] = [
        (f"{label} {count}", colours.get(label)) for label, count in counts.most_common(SHOWN_LABELS)
    ]
    left = len(counts) - len(said)
    return [*said, (f"and {left} more", None)] if left else said


def _hatch(canvas: Pixels, target: Target, matrix: Matrix) -> None:
    """Draw stripes and an outline where nothing is scored."""
    regions = [target.ignore] if target.ignore else []
    regions += [Mask.from_box(box, target.size_hw) for box in target.ignore_boxes_xyxy]
    rows, columns = np.indices(canvas.shape[:2])
    stripes = (rows + columns) % (2 * STRIPE_PX) < STRIPE_PX
    for region in regions:
        dense = region.warp(matrix, canvas.shape[:2]).to_dense().astype(bool)
        for part, colour in ((dense & stripes, NOT_SCORED), (dense & ~stripes, BLACK)):
            canvas[part] = _mixed(canvas[part], colour, 0.5)
        _outline(canvas, dense, NOT_SCORED, rim=BLACK)


def _draw_mask(canvas: Pixels, mask: Mask, colour: Colour, matrix: Matrix) -> None:
    dense = mask.warp(matrix, canvas.shape[:2]).to_dense().astype(bool)
    if not dense.any() and mask.area_px:  # too small for this size of picture: say where it is
        x1, y1, x2, y2 = mask.box_xyxy
        cv2.circle(canvas, _pixel((x1 + x2) / 2, (y1 + y2) / 2, matrix), 6, colour, 2, cv2.LINE_AA)
    canvas[dense] = _mixed(canvas[dense], colour, TINT)
    _outline(canvas, dense, colour, rim=WHITE)


def _outline(canvas: Pixels, dense: npt.NDArray[np.bool_], colour: Colour, *, rim: Colour) -> None:
    """Draw a line and a thin rim around pixels, none of them on these: small things stay to be seen."""
    inside = dense.astype(np.uint8)
    for reach, drawn in ((RIM_PX + LINE_PX, rim), (LINE_PX, colour)):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        canvas[cv2.dilate(inside, kernel).astype(bool) & ~dense] = drawn


def _draw_boxes(canvas: Pixels, target: Target, colours: Mapping[str, Colour], matrix: Matrix) -> None:
    few = len(target.boxes_xyxy) < MANY
    labels: Sequence[str] = target.labels or [""] * len(target.boxes_xyxy)
    crowds = target.crowd or (False,) * len(labels)
    for box, label, crowd in zip(target.boxes_xyxy, labels, crowds, strict=True):
        colour = NOT_SCORED if crowd else colours.get(label, COLOURS[0])
        if few:
            _rectangle(canvas, box, BLACK if crowd else WHITE, RIM_PX + FRAME_PX, matrix)
        _rectangle(canvas, box, colour, FRAME_PX if few else 1, matrix)


def _rectangle(canvas: Pixels, box: Box, colour: Colour, wide: int, matrix: Matrix) -> None:
    """Draw a frame around a box, none of it inside."""
    (x1, y1), (x2, y2) = _pixel(*box[:2], matrix), _pixel(*box[2:], matrix)
    for k in range(1, wide + 1):
        cv2.rectangle(canvas, (x1 - k, y1 - k), (max(x1, x2 - 1) + k, max(y1, y2 - 1) + k), colour, 1)


def _pixel(x: float, y: float, matrix: Matrix) -> tuple[int, int]:
    """Return where a point is drawn; far outside of the picture is far enough for OpenCV."""
    found = np.clip(matrix @ np.array([x, y, 1.0]), -30_000, 30_000)
    return int(found[0]), int(found[1])


def _mixed(pixels: npt.NDArray[np.uint8], colour: Colour, share: float) -> npt.NDArray[np.uint8]:
    return np.rint(pixels * (1 - share) + np.array(colour) * share).astype(np.uint8)
