"""``gres/native``: the formulas of ReLA's evaluator on masks of the picture's own size.

Source: ``ReferEvaluator`` in gres_model/evaluation/refer_evaluation.py of henghuiding/ReLA@3ca95519, which scores at
480 x 480; the formulas are the same, the masks are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ._overlap import overlap

__all__ = ["PROFILE", "aggregate", "primary", "row"]

THRESHOLDS = (0.7, 0.8, 0.9)


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample as they enter the sums.

    Declaring "no target" is a decision of its own: an empty mask is not one, and it wins over any mask.
    """
    declared = answer is not None and answer.no_target
    absent = target.no_target
    inter, union = (0, 0) if declared and absent else overlap(target, answer)
    return {
        "inter": 0 if declared else inter,
        "union": union,
        "gt_empty": absent,
        "declared_empty": declared,
        "failed": answer is None,
    }


def primary(row: Mapping[str, Any]) -> float:
    """Return the IoU as it enters gIoU: for "no target", 1 if and only if it was declared."""
    if row["gt_empty"]:
        return float(row["declared_empty"])
    return row["inter"] / row["union"] if row["union"] else 0.0


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows: gIoU, cIoU and Pr@ in percent, T_acc and N_acc as fractions (0 without any no-target sample)."""
    ious = [primary(r) for r in rows]
    absent = [r for r in rows if r["gt_empty"]]
    present = [(r, iou) for r, iou in zip(rows, ious, strict=True) if not r["gt_empty"]]
    union = sum(r["union"] for r in rows)
    spotted = sum(r["declared_empty"] for r in absent)
    kept = sum(not r["declared_empty"] and not r["failed"] for r, _ in present)
    return {
        "gIoU": 100 * sum(ious) / len(rows) if rows else None,
        "cIoU": 100 * sum(r["inter"] for r in rows) / union if union else None,
        "T_acc": (kept / len(present) if present else None) if absent else 0.0 if rows else None,
        "N_acc": spotted / len(absent) if absent else 0.0 if rows else None,
        **{
            f"Pr@{t}": 100 * sum(iou >= t for _, iou in present) / len(present) if present else None for t in THRESHOLDS
        },
    }


PROFILE = Profile(
    name="gres/native",
    source="henghuiding/ReLA@3ca95519 refer_evaluation.py, formulas only: not at 480 x 480",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
