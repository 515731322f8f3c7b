"""Pixel counts that the mask profiles share."""

from __future__ import annotations

from visenv.answers import Answer, Target
from visenv.masks import Mask, intersection_and_areas, union_masks

__all__ = ["counts", "overlap", "predicted_mask"]


def overlap(target: Target, answer: Answer | None) -> tuple[int, int]:
    """Return the pixels in both and in either of the target's and the answer's union masks.

    No answer counts as an empty mask here; a declared "no target" is up to the profile.
    """
    if answer is None or not answer.masks:
        return 0, target.union.area_px if target.masks else 0
    predicted = predicted_mask(target, answer)
    return counts(target.union, predicted) if target.masks else (0, predicted.area_px)


def predicted_mask(target: Target, answer: Answer | None) -> Mask:
    """Return all submitted pixels; without an answer, or with masks of several sizes, there are none.

    A single mask of another size than the target's keeps its pixels: all of them are wrong.
    """
    masks = () if answer is None else answer.masks
    return union_masks(masks, target.size_hw)


def counts(truth: Mask, predicted: Mask) -> tuple[int, int]:
    """Return intersection and union of two masks in pixels."""
    inter, first, second = intersection_and_areas(truth, predicted)
    return inter, first + second - inter
