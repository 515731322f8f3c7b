"""Pixel counts that the mask profiles share."""

from __future__ import annotations

from visenv.answers import Answer, Target
from visenv.masks import Mask, union_masks

__all__ = ["overlap"]


def overlap(target: Target, answer: Answer | None) -> tuple[int, int]:
    """Return the pixels in both and in either of the target's and the answer's union masks.

    No answer counts as an empty mask here; a declared "no target" is up to the profile.
    """
    truth = target.union
    predicted = Mask.empty(target.size_hw) if answer is None else union_masks(answer.masks, target.size_hw)
    inter = truth.intersection_px(predicted)
    return inter, truth.area_px + predicted.area_px - inter
