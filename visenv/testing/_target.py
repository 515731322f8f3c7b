"""Checking one sample: what is asked, its pictures, its target."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..answers import AnswerKind, Target
from ..errors import short
from ..images import Image
from ..masks import Mask
from ..rle import rle_total
from ..task import Sample, Task
from ._subject import Subject, is_encodable

__all__ = ["check_sample"]

MAX_SIDE_PX = 8192
MAX_TEXT = 100_000
"""What observation spaces hold."""
PIXELS = "Boxes are x1, y1, x2, y2 in pixels of the first image, half-open; not width and height, not shares."


def check_sample(subject: Subject, task: Task, sample: Sample, place: tuple[str, int, int]) -> None:
    """Check one sample drawn from a place of a task.

    Raises:
        ConformanceError: A promise is broken.
    """
    split, level, index = place
    for name, wanted in (
        ("id", f"{task.name}/{split}/{level}/{index}"), ("task", task.name), ("split", split), ("level", level), ("index", index),
    ):  # fmt: skip
        value = getattr(sample, name)
        subject.need(
            value == wanted and type(value) is type(wanted), f"its `{name}` is {short(value)}", expected=repr(wanted),
            remedy="Records find a sample again by it.",
        )  # fmt: skip
    for name in ("instruction", "cluster"):
        value = getattr(sample, name)
        subject.need(
            isinstance(value, str) and value.strip() and len(value) <= MAX_TEXT and is_encodable(value),
            f"its `{name}` is {short(value)}", expected=f"text of 1 to {MAX_TEXT} characters", remedy="Write one.",
        )  # fmt: skip
    subject.need(isinstance(sample.meta, Mapping), f"its `meta` is {short(sample.meta)}", expected="a dict", remedy="Leave it out if there is nothing to say.")  # fmt: skip
    _check_images(subject, sample)
    _check_target(subject, task.kind, sample)
    with subject.running("pickling it", remedy="Keep plain data in `meta`."):
        copied = pickle.loads(pickle.dumps(sample))
    subject.need(
        copied.target == sample.target and copied.images == sample.images, "its pickled copy is another sample",
        expected="an equal one", remedy="Use visenv's own Image, Mask and Target.",
    )  # fmt: skip


def _check_images(subject: Subject, sample: Sample) -> None:
    subject.need(
        isinstance(sample.images, tuple) and sample.images, f"its `images` are {short(sample.images)}",
        expected="a tuple of at least one visenv.Image", remedy="Write `images=(Image(pixels),)`.",
    )  # fmt: skip
    for number, image in enumerate(sample.images):
        subject.need(
            isinstance(image, Image), f"its image {number} is {short(image)}", expected="a visenv.Image, RGB uint8 (H, W, 3)",
            remedy="Read files with `visenv.images.load_image`; wrap arrays in `Image(pixels)`.",
        )  # fmt: skip
        pixels: Any = image.pixels
        subject.need(
            isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and not pixels.flags.writeable,
            f"the pixels of its image {number} are {getattr(pixels, 'dtype', None)} {np.shape(pixels)}", expected="read-only uint8 (H, W, 3)",
            remedy="Leave the array to visenv.Image.",
        )  # fmt: skip
        subject.need(
            max(image.size_wh) <= MAX_SIDE_PX, f"its image {number} has {image.size_wh} px",
            expected=f"sides of at most {MAX_SIDE_PX}", remedy="Shrink it, and its target with it.",
        )  # fmt: skip


def _check_target(subject: Subject, kind: AnswerKind, sample: Sample) -> None:
    target: Any = sample.target
    subject.need(
        isinstance(target, Target), f"its target is {short(target)}", expected="a visenv.Target", remedy="Make one."
    )
    width, height = sample.images[0].size_wh
    subject.need(target.kind is kind, f"its target's kind is {short(target.kind)}", expected=f"the task's, {kind!r}", remedy="A task wants one kind of answer.")  # fmt: skip
    subject.need(
        tuple(target.size_hw) == (height, width), f"its target's `size_hw` is {short(target.size_hw)}",
        expected=f"{(height, width)}, height and width of the first image", remedy="Mind the order: height first.",
    )  # fmt: skip
    for name in ("masks", "boxes_xyxy", "labels"):
        value = getattr(target, name)
        subject.need(isinstance(value, tuple), f"its target's `{name}` is {short(value)}", expected="a tuple", remedy="Wrap it in tuple(…).")  # fmt: skip
    for number, mask in enumerate(target.masks):
        _check_mask(subject, number, mask, (height, width))
    for number, box in enumerate(target.boxes_xyxy):
        _check_box(subject, number, box, (width, height))
    _check_parallel(subject, target)
    if kind is AnswerKind.CHOICE:
        subject.need(
            isinstance(target.choice, str) and len(target.choice) == 1 and "A" <= target.choice <= "Z",
            f"its target's `choice` is {short(target.choice)}", expected="one capital letter", remedy="Letter the options in the instruction, from A.",
        )  # fmt: skip
    else:
        subject.need(target.choice is None, f"its target's `choice` is {short(target.choice)}", expected=f"None for {kind!r}", remedy="Leave it out.")  # fmt: skip


def _check_mask(subject: Subject, number: int, mask: Any, size_hw: tuple[int, int]) -> None:
    subject.need(isinstance(mask, Mask), f"its target's mask {number} is {short(mask)}", expected="a visenv.Mask", remedy="Encode arrays with `Mask.from_dense`.")  # fmt: skip
    subject.need(
        mask.size_hw == size_hw, f"its target's mask {number} has the size {mask.size_hw}", expected=f"that of the first image, {size_hw}",
        remedy="Mind the order, height first, and any resizing.",
    )  # fmt: skip
    subject.need(
        rle_total(mask.counts) == size_hw[0] * size_hw[1], f"the runs of its target's mask {number} do not fill the image",
        expected=f"runs that add up to {size_hw[0]} x {size_hw[1]}", remedy="Encode it with `Mask.from_dense`.",
    )  # fmt: skip
    subject.need(mask.area_px, f"its target's mask {number} has no pixel", expected="at least one", remedy="Leave out what cannot be seen.")  # fmt: skip


def _check_box(subject: Subject, number: int, box: Any, size_wh: tuple[int, int]) -> None:
    form = (
        isinstance(box, tuple) and len(box) == 4 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )
    subject.need(
        form, f"its target's box {number} is {short(box)}", expected="a tuple of four finite numbers", remedy=PIXELS
    )
    x1, y1, x2, y2 = box
    subject.need(
        0 <= x1 < x2 <= size_wh[0] and 0 <= y1 < y2 <= size_wh[1], f"its target's box {number} is {box}",
        expected=f"x1 < x2 and y1 < y2 inside {size_wh[0]} x {size_wh[1]} px", remedy=PIXELS,
    )  # fmt: skip


def _check_parallel(subject: Subject, target: Target) -> None:
    counts = {len(target.masks), len(target.boxes_xyxy)} - {0}
    subject.need(
        len(counts) <= 1, f"its target has {len(target.masks)} masks and {len(target.boxes_xyxy)} boxes",
        expected="one of each per object", remedy="Or leave one of the two out.",
    )  # fmt: skip
    # for a choice the one label is the group of per-task averages
    number = 1 if target.kind is AnswerKind.CHOICE else max(counts, default=0)
    subject.need(
        len(target.labels) in (0, number) and all(isinstance(v, str) for v in target.labels),
        f"its target has {len(target.labels)} labels for {number} objects: {short(target.labels)}", expected="a text for each, or none",
        remedy="Labels are parallel to boxes and masks.",
    )  # fmt: skip
    for k, (mask, box) in enumerate(zip(target.masks, target.boxes_xyxy, strict=False)):
        mx1, my1, mx2, my2 = mask.box_xyxy
        x1, y1, x2, y2 = box
        subject.need(
            min(x2, mx2) > max(x1, mx1) and min(y2, my2) > max(y1, my1),
            f"its target's box {k} is {box}, and mask {k} lies in {mask.box_xyxy}", expected="a box around the mask", remedy=PIXELS,
        )  # fmt: skip
