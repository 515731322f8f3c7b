"""``reasonseg/lisa``: gIoU and cIoU as LISA's validation computes them.

Source: ``validate`` in train_ds.py of dvlab-research/LISA@3cb2d430; differs in exact sums where LISA adds float32, by 4e-8
at most on the golden cases. ReasonSeg's targets come from :func:`visenv.tasks.rasters.lisa_masks`, with OpenCV 4.11 or later. The
authors pin 4.8, whose ``fillPoly`` draws other pixels: 4 of the 28 golden annotations differ, all with crossing edges or
points outside the picture, by 1 to 3 pixels of a mask of 417 to 5,105 (IoU 0.993 to 0.9994).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.masks import Mask, intersection_and_areas
from visenv.task import Metrics, Profile, Row

from ._overlap import counts, predicted_mask

__all__ = ["PROFILE", "aggregate", "primary", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample outside the ignored ones; a declared "no target" is an empty mask."""
    marked = None if answer is None or answer.no_target else answer
    truth, predicted = target.union, predicted_mask(target, marked)
    inter, union = counts(truth, predicted) if target.ignore is None else _outside(truth, predicted, target.ignore)
    return {"inter": inter, "union": union, "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions, with LISA's epsilons."""
    if not rows:
        return {"gIoU": None, "cIoU": None}
    ious = [0.0 if r["failed"] else r["inter"] / (r["union"] + 1e-5) + (r["union"] == 0) for r in rows]
    union = sum(r["union"] for r in rows)
    return {"gIoU": sum(ious) / (len(rows) + 1e-5), "cIoU": sum(r["inter"] for r in rows) / (union + 1e-10)}


def primary(row: Mapping[str, Any]) -> float:
    """Return the IoU; 1 when there is nothing to find and nothing was marked."""
    if row["failed"]:
        return 0.0
    return row["inter"] / row["union"] if row["union"] else 1.0


def _outside(truth: Mask, predicted: Mask, ignore: Mask) -> tuple[int, int]:
    """Count intersection and union without the pixels of ``ignore``, which both masks lose."""
    both, truth_px, predicted_px = intersection_and_areas(truth, predicted)
    truth_lost, predicted_lost = truth.intersection_px(ignore), predicted.intersection_px(ignore)
    both_lost = truth.intersect(predicted).intersection_px(ignore) if truth_lost and predicted_lost else 0
    inter = both - both_lost
    return inter, truth_px - truth_lost + predicted_px - predicted_lost - inter


PROFILE = Profile(
    name="reasonseg/lisa",
    source="dvlab-research/LISA@3cb2d430 train_ds.py validate",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
