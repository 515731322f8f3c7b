"""Measuring a set of experts on EmojiWorld's split ``val``: naming and finding, large pictures, masks from boxes and clicks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from visenv.tasks.emojiworld import EmojiCount, EmojiDense, EmojiReason, EmojiRef
from visenv.tasks.emojiworld.world import EmojiTask

from visenv.errors import bad_value
from visenv.experts import Expert, ExpertSet
from visenv.experts.embedded import EmbeddedDetector
from visenv.experts.embedded.names import categories
from visenv.experts.slicing import SlicedDetector
from visenv.images import Image

from .expert_quality import DetectorFigures, Found, View, detect_all, judge_finds, measure_segmenter

__all__ = ["EvalPlan", "Measured", "evaluate_experts", "val_views"]

FAMILIES: tuple[EmojiTask, ...] = (EmojiRef(), EmojiReason(), EmojiCount(), EmojiDense())
DENSE_SHARE = 8
"""A picture of EmojiDense holds so many times the objects of others; so many times fewer are drawn."""
SEGMENT_SHARE = 3
INPUT_PX, SLICE_PX = 768, 512
KEEP = 0.02
"""Scores from which average precision counts the embedded detector's finds."""
LARGEST_PX = 8192

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalPlan:
    """What is measured."""

    levels: tuple[int, ...] = (1, 2, 3)
    scenes: int = 24
    """Of each family and level; of EmojiDense an eighth, for masks a third."""
    absent: int | None = None
    """How many categories that a picture does not show it is asked for, too; all by default."""

    def __post_init__(self) -> None:
        if self.scenes < 1:
            raise bad_value("scenes", self.scenes, expected="at least 1")

    def count(self, family: EmojiTask) -> int:
        """Return how many pictures of a family are looked at."""
        return math.ceil(self.scenes / DENSE_SHARE) if family.name == "EmojiDense" else self.scenes

    def num_steps(self, experts: ExpertSet) -> int:
        """Return how many pictures are looked at in all, each as often as it is."""
        dense = self.count(FAMILIES[-1])
        detect = sum(map(self.count, FAMILIES)) + 2 * dense if "detect" in experts.capabilities else 0
        segment = 2 * math.ceil(self.scenes / SEGMENT_SHARE) if "segment" in experts.capabilities else 0
        return len(self.levels) * (detect + segment)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One row of figures."""

    what: str
    """``detector``, ``dense`` (EmojiDense looked at in several ways) or ``segmenter``."""
    level: int
    part: str
    """The family or ``all``; ``resized``, ``native`` or ``sliced``; ``box`` or ``click``."""
    side_px: int | None
    """Of the pictures as the detector saw them; ``None`` for several."""
    figures: dict[str, Any]
    """Those of :class:`~.expert_quality.DetectorFigures` or :class:`~.expert_quality.SegmenterFigures`."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"what": self.what, "level": self.level, "part": self.part, "side_px": self.side_px, **self.figures}


def val_views(family: EmojiTask, level: int, count: int) -> list[View]:
    """Return the first pictures of the split ``val``, with all that is in them except signs."""
    scenes = [scene for index in range(count) for scene in family.scenes("val", level, index)]
    return [
        View(image=Image(s.pixels), objects=tuple(o for o in s.objects if o.category != "sign")) for s in scenes
    ]  # fmt: skip


def evaluate_experts(experts: ExpertSet, plan: EvalPlan, tick: Tick = lambda: None) -> Iterator[Measured]:
    """Measure the detector and the segmenter of a set, row by row.

    The detector sees every picture at its own size, and is asked for the categories one by one. EmojiDense, whose pictures
    have 1024 to 2048 px, is looked at in two ways more, shrunk to the detector's input and in slices. No picture is shown to a
    detector twice: what it keeps of pictures would make its times those of a look-up.

    Args:
        experts: The set.
        plan: What to measure.
        tick: Called after each picture.

    Raises:
        ExpertError: An expert failed.
    """
    detector, segmenter = experts.experts.get("detect"), experts.experts.get("segment")
    if detector is not None:  # what is loaded at the first question is no picture's time
        detect_all(detector, Image(np.zeros((64, 64, 3), np.uint8)), ["apple"])
    for level in plan.levels:
        if detector is not None:
            yield from _detector_rows(detector, level, plan, tick)
        if segmenter is not None:
            views = val_views(EmojiRef(), level, math.ceil(plan.scenes / SEGMENT_SHARE))
            for prompt in ("box", "click"):
                found = measure_segmenter(segmenter, views, prompt=prompt, tick=tick)
                yield Measured(what="segmenter", level=level, part=prompt, side_px=None, figures=asdict(found))


def _detector_rows(detector: Expert, level: int, plan: EvalPlan, tick: Tick) -> Iterator[Measured]:
    keen, threshold = _let_loose(detector)
    every: tuple[list[View], list[Found]] = ([], [])
    for family in FAMILIES:
        views = val_views(family, level, plan.count(family))
        found = [_asked(keen, view.image, _names(view, plan), tick) for view in views]
        yield _row(level, family.name, judge_finds(views, found, threshold=threshold), views)
        every[0].extend(views)
        every[1].extend(found)
    yield _row(level, "all", judge_finds(*every, threshold=threshold), every[0])
    native = [_sure(one, threshold) for one in found]  # EmojiDense comes last
    yield from _dense_rows(detector, level, views, native, plan, tick)


def _dense_rows(
    detector: Expert, level: int, views: Sequence[View], native: Sequence[Found], plan: EvalPlan, tick: Tick
) -> Iterator[Measured]:
    input_px = detector.analyser.input_px if isinstance(detector, EmbeddedDetector) else INPUT_PX
    small, sliced = [_shrunk(view, input_px) for view in views], SlicedDetector(detector, size_px=SLICE_PX)
    for part, shown, expert in (("resized", small, detector), ("native", views, None), ("sliced", views, sliced)):
        found = native if expert is None else [
            _back(_asked(expert, seen.image, _names(view, plan), tick), seen, view)
            for seen, view in zip(shown, views, strict=True)
        ]  # fmt: skip
        side = SLICE_PX if part == "sliced" else max(shown[0].image.size_wh)
        yield Measured(what="dense", level=level, part=part, side_px=side, figures=asdict(judge_finds(views, found)))


def _row(level: int, part: str, figures: DetectorFigures, views: Sequence[View]) -> Measured:
    sides = {max(view.image.size_wh) for view in views}
    side = sides.pop() if len(sides) == 1 else None
    return Measured(what="detector", level=level, part=part, side_px=side, figures=asdict(figures))


def _let_loose(detector: Expert) -> tuple[Expert, float]:
    """Return a detector that gives even unlikely finds and shrinks no pictures, and the threshold that is its own.

    An expert that cannot be asked so is returned as it is.
    """
    if not isinstance(detector, EmbeddedDetector):
        return detector, 0.0
    return detector.changed(threshold=KEEP, input_px=LARGEST_PX), detector.threshold


def _sure(found: Found, threshold: float) -> Found:
    """Return the finds that a detector gives with a threshold."""
    keep = found.scores >= threshold
    names = tuple(name for name, kept in zip(found.names, keep.tolist(), strict=True) if kept)
    return replace(found, boxes_xyxy=found.boxes_xyxy[keep], scores=found.scores[keep], names=names)


def _names(view: View, plan: EvalPlan) -> list[str]:
    """Return what a detector is asked for: the categories shown, then others, the same for the same picture."""
    others = [c.name for c in categories() if c.name not in view.names]
    wanted = len(others) if plan.absent is None else plan.absent
    if wanted < len(others):  # spread over the table, from a place that the picture decides
        first = int(view.image.hash[:8], 16) % len(others)
        turned = others[first:] + others[:first]
        others = turned[:: len(others) // max(1, wanted)][:wanted]
    return [*view.names, *others]


def _asked(detector: Expert, image: Image, names: Sequence[str], tick: Tick) -> Found:
    found = detect_all(detector, image, names)
    tick()
    return found


def _shrunk(view: View, side_px: int) -> View:
    scale = side_px / max(view.image.size_wh)
    if scale >= 1:
        return view
    width, height = (max(1, round(side * scale)) for side in view.image.size_wh)
    pixels = cv2.resize(view.image.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return View(image=Image(np.asarray(pixels, np.uint8)), objects=view.objects)


def _back(found: Found, shown: View, view: View) -> Found:
    """Return finds in a shrunk picture as finds in the whole one."""
    scale = np.array(view.image.size_wh * 2) / np.array(shown.image.size_wh * 2)
    return replace(found, boxes_xyxy=found.boxes_xyxy * scale)
