"""``refcoco/lavt480`` and ``refcoco/native``: mIoU, oIoU and Pr@ as LAVT's test script computes them.

Source: ``evaluate`` and ``computeIoU`` in test.py of yz93/LAVT-RIS@1da0af9f. LAVT scores at 480 x 480, and pixels that
several parts of one object cover are background there; ``refcoco/native`` has the same formulas on masks of the picture's own
size, overlaps being target. All numbers are percent; oIoU is what others call cIoU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..rasters import nearest
from ._overlap import counts, overlap, predicted_mask

__all__ = ["LAVT480", "NATIVE", "aggregate", "primary", "row", "row_at_480"]

SIZE_HW = (480, 480)
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample; a declared "no target" is an empty mask."""
    inter, union = overlap(target, None if answer is None or answer.no_target else answer)
    return {"inter": inter, "union": union, "failed": answer is None}


def row_at_480(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample at 480 x 480, without those that parts of the target share."""
    truth = target.union if target.overlap is None else target.union.minus(target.overlap)
    predicted = predicted_mask(target, None if answer is None or answer.no_target else answer)
    inter, union = counts(nearest(truth, SIZE_HW), nearest(predicted, SIZE_HW))
    return {"inter": inter, "union": union, "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to percent; a sample without any pixel scores 0."""
    ious = [primary(r) for r in rows]
    union = sum(r["union"] for r in rows)
    return {
        "mIoU": 100 * sum(ious) / len(rows) if rows else None,
        "oIoU": 100 * sum(r["inter"] for r in rows) / union if union else None,
        **{f"Pr@{t}": 100 * sum(iou >= t for iou in ious) / len(rows) if rows else None for t in THRESHOLDS},
    }


def primary(row: Mapping[str, Any]) -> float:
    """Return the IoU, 0 where neither mask has a pixel."""
    return row["inter"] / row["union"] if row["union"] else 0.0


LAVT480 = Profile(
    name="refcoco/lavt480",
    source="yz93/LAVT-RIS@1da0af9f test.py",
    row=row_at_480,
    aggregate=aggregate,
    primary=primary,
)
NATIVE = Profile(
    name="refcoco/native",
    source="yz93/LAVT-RIS@1da0af9f test.py, formulas only: not at 480 x 480",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
