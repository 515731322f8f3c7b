"""``gres/rela``: ReLA's evaluator, at 480 x 480 as its authors run it.

Source: ``ReferEvaluator`` in gres_model/evaluation/refer_evaluation.py of henghuiding/ReLA@3ca95519. The authors scale the
polygons and draw them at 480 x 480 (:func:`visenv.tasks.rasters.coco_mask_at`); a target holds masks, which are resized by
nearest neighbour instead and differ along their edges: of round polygons in pictures of 640 x 427 to 640 x 480, the target made
so has an IoU of 0.92 to 0.95 with the authors' at a radius of 8 px, and a prediction's IoU differs by 0.02 on average, 0.07 at most.
"""

from __future__ import annotations

from dataclasses import replace

from visenv.answers import Answer, Target
from visenv.task import Profile, Row

from ..rasters import nearest
from . import gres_native
from ._overlap import predicted_mask

__all__ = ["PROFILE", "row"]

SIZE_HW = (480, 480)


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample at 480 x 480."""
    masks = (nearest(target.union, SIZE_HW),) if target.masks else ()
    if answer is not None:
        answer = replace(answer, masks=(nearest(predicted_mask(target, answer), SIZE_HW),))
    return gres_native.row(replace(target, size_hw=SIZE_HW, masks=masks), answer)


PROFILE = Profile(
    name="gres/rela",
    source="henghuiding/ReLA@3ca95519 gres_model/evaluation/refer_evaluation.py, masks resized instead of polygons",
    row=row,
    aggregate=gres_native.aggregate,
    primary=gres_native.primary,
)
