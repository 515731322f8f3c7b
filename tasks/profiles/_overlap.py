"""Pixel counts that the mask profiles share."""

from __future__ import annotations

from visenv.answers import Answer, Target
from visenv.masks import Mask, intersection_and_areas, union_masks

__all__ = ["NOTHING", "counts", "overlap", "predicted_mask"]

NOTHING = Answer()


def overlap(target: Target, answer: Answer | None) -> tuple[int, int]:
    """Return the pixels in both and in either of the target's and the answer's union masks.

    No answer counts as an empty mask here; a declared "no target" is up to the profile.
    """
    return counts(target.union, predicted_mask(target, answer))


def predicted_mask(target: Target, answer: Answer | None) -> Mask:
    """Return all submitted pixels; without an answer, or with masks of another size, there are none."""
    masks = () if answer is None else answer.masks
    return union_masks(masks, target.size_hw)


def counts(truth: Mask, predicted: Mask) -> tuple[int, int]:
    """Return intersection and union of two masks in pixels."""
    inter, first, second = intersection_and_areas(truth, predicted)
    return inter, first + second - inter
