"""A drawn sample and experts that stand in for real ones: what tools are checked with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..answers import Answer, AnswerKind, Target
from ..errors import ExpertError
from ..experts import (
    Capability,
    Description,
    Detections,
    Expert,
    ExpertSet,
    Points,
    Request,
    Result,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)
from ..images import Image
from ..masks import Mask, union_masks
from ..task import Profile, Row, Sample

__all__ = ["CAPABILITIES", "PROFILE", "EmptyExpert", "FailingExpert", "FindingExpert", "draw_scene", "make_sample", "stand_in_experts"]  # fmt: skip

CAPABILITIES: frozenset[Capability] = frozenset({"detect", "segment", "point", "upscale", "read", "describe"})

SHAPES = (
    ((210, 40, 45), (0.08, 0.10, 0.34, 0.45)),
    ((40, 90, 200), (0.45, 0.15, 0.62, 0.40)),
    ((250, 200, 40), (0.70, 0.55, 0.95, 0.92)),
    ((60, 160, 70), (0.15, 0.60, 0.50, 0.85)),
)
"""Colour of each ellipse of a drawn scene, and its box as shares of the picture."""
FOUND = ((0.08, 0.10, 0.34, 0.45), (0.70, 0.55, 0.95, 0.92), (0.60, 0.50, 0.90, 0.90))
"""Where :class:`FindingExpert` finds something, best first; two overlap."""


def draw_scene(size_wh: tuple[int, int], *, seed: int = 0) -> tuple[Image, tuple[Mask, ...]]:
    """Draw ellipses on a noisy ground, and return their masks too. Works down to one pixel."""
    width, height = size_wh
    rng = np.random.default_rng(seed)
    pixels = (rng.integers(0, 24, (height, width, 3)) + np.linspace(150, 220, width)[None, :, None]).astype(np.uint8)
    ys, xs = np.mgrid[:height, :width]
    masks = []
    for colour, (x1, y1, x2, y2) in SHAPES:
        across, down = max(0.5, (x2 - x1) / 2 * width), max(0.5, (y2 - y1) / 2 * height)
        centre_x, centre_y = (x1 + x2) / 2 * width, (y1 + y2) / 2 * height
        inside = ((xs + 0.5 - centre_x) / across) ** 2 + ((ys + 0.5 - centre_y) / down) ** 2 <= 1
        pixels[inside] = colour
        masks.append(Mask.from_dense(inside))
    return Image(pixels), tuple(masks)


def make_sample(kind: AnswerKind) -> Sample:
    """Return a sample of two drawn scenes, of different sizes, that wants this kind of answer."""
    image, masks = draw_scene((160, 120))
    other, _ = draw_scene((90, 130), seed=1)
    boxes = tuple(tuple(map(float, m.box_xyxy)) for m in masks[:2])
    target = Target(
        kind=kind, size_hw=(120, 160), masks=masks[:2] if kind is AnswerKind.MASK else (),
        boxes_xyxy=() if kind is AnswerKind.CHOICE else boxes, labels=() if kind is AnswerKind.CHOICE else ("shape",) * 2,  # type: ignore[arg-type]
        choice="B" if kind is AnswerKind.CHOICE else None,
    )  # fmt: skip
    return Sample(
        id="Shapes/val/1/0", task="Shapes", split="val", level=1, index=0, instruction="the shapes\nA. one\nB. two",
        images=(image, other), target=target, cluster="Shapes/val/1/0",
    )  # fmt: skip


def _row(target: Target, answer: Answer | None) -> Row:
    masks = () if answer is None else tuple(m for m in answer.masks if m.size_hw == target.size_hw)
    given = union_masks(masks, target.size_hw)
    return {"intersection": given.intersection_px(target.union), "given": given.area_px, "truth": target.union.area_px}


PROFILE = Profile(
    name="testing/overlap",
    source="none: made for checks",
    row=_row,
    aggregate=lambda rows: {"shared": float(sum(r["intersection"] for r in rows)) if rows else None},
    primary=lambda row: row["intersection"] / max(1, row["given"] + row["truth"] - row["intersection"]),
)
"""What answers to the drawn sample are scored by; the score is of no importance."""


class FindingExpert(Expert):
    """Finds the same three things in every picture, whatever is asked; enlarges, and reads two lines."""

    name, version, capabilities = "stand-in-finding", "1", CAPABILITIES

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request by itself."""
        return [self._answer(r) for r in requests]

    def _answer(self, request: Any) -> Result:
        width, height = request.image.size_wh
        boxes = np.array(FOUND) * [width, height, width, height]
        scores = np.array([0.9, 0.7, 0.7])
        match request.capability:
            case "detect":
                return Detections(boxes_xyxy=boxes, scores=scores, labels=(request.phrase[:40],) * len(boxes))
            case "point":
                return Points(points_xy=(boxes[:, :2] + boxes[:, 2:]) / 2, scores=scores)
            case "segment":
                return Segmentation(mask=_filled(request), score=0.8)
            case "upscale":
                return _enlarged(request)
            case "describe":
                return Description(text="A few things on a plain ground.")
        return TextLines(lines=("OPEN", "daily"), boxes_xyxy=boxes[:2])


class EmptyExpert(Expert):
    """Finds nothing: no boxes, no points, masks without pixels, no text."""

    name, version, capabilities = "stand-in-empty", "1", CAPABILITIES

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request by itself."""
        return [self._answer(r) for r in requests]

    def _answer(self, request: Any) -> Result:
        width, height = request.image.size_wh
        match request.capability:
            case "detect":
                return Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
            case "point":
                return Points(points_xy=np.zeros((0, 2)), scores=np.zeros(0))
            case "segment":
                return Segmentation(mask=Mask.empty((height, width)), score=0.0)
            case "upscale":
                return _enlarged(request)
            case "describe":
                return Description(text="Nothing.")
        return TextLines(lines=(), boxes_xyxy=np.zeros((0, 4)))


class FailingExpert(Expert):
    """Is down."""

    name, version, capabilities = "stand-in-failing", "1", CAPABILITIES

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer nothing."""
        raise ExpertError("The stand-in expert is down, as this check wants it.")


def stand_in_experts(expert: Expert) -> ExpertSet:
    """Return a set in which one stand-in answers everything."""
    return ExpertSet(dict.fromkeys(sorted(CAPABILITIES), expert))


def _filled(request: SegmentRequest) -> Mask:
    width, height = request.image.size_wh
    x, y = request.points_xy[-1] if request.points_xy else (width / 2, height / 2)
    box = (x - width / 8, y - height / 8, x + width / 8, y + height / 8)
    return Mask.from_box(request.box_xyxy if request.box_xyxy and not request.points_xy else box, (height, width))


def _enlarged(request: UpscaleRequest) -> Upscaled:
    return Upscaled(image=Image(request.image.pixels.repeat(request.scale, 0).repeat(request.scale, 1)))
