"""``gres/gsva``: the variant that multimodal language models are scored by, on masks of the picture's own size.

Source: ``eval_gres`` in solver.py of LeapLabTHU/GSVA@618dc795, from its description: not compared with running code. A target
that is declared absent keeps the intersection of its mask; all numbers are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ._overlap import overlap

__all__ = ["PROFILE", "aggregate", "primary", "row"]

UNDEFINED = {"N_acc": "needs no-target samples", "T_acc": "needs targets"}


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample; a target without a single pixel counts as "no target"."""
    inter, union = overlap(target, answer)
    return {
        "inter": inter,
        "union": union,
        "gt_empty": not target.union.area_px,
        "declared_empty": answer is not None and answer.no_target,
        "failed": answer is None,
    }


def primary(row: Mapping[str, Any]) -> float:
    """Return the IoU as it enters gIoU: for "no target", 1 if and only if it was declared."""
    if row["gt_empty"]:
        return float(row["declared_empty"])
    return row["inter"] / row["union"] if row["union"] else 0.0


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions, with GSVA's epsilons; N_acc and T_acc are ``None`` without a sample of their kind."""
    if not rows:
        return dict.fromkeys(("gIoU", "cIoU", "N_acc", "T_acc"))
    absent = [r for r in rows if r["gt_empty"]]
    present = [r for r in rows if not r["gt_empty"]]
    ious = sum(float(r["declared_empty"]) for r in absent) + sum(r["inter"] / (r["union"] + 1e-8) for r in present)
    union = sum(r["union"] for r in present) + sum(r["union"] for r in absent if not r["declared_empty"])
    kept = sum(not r["declared_empty"] and not r["failed"] for r in present)
    return {
        "gIoU": ious / (len(rows) + 1e-5),
        "cIoU": sum(r["inter"] for r in present) / (union + 1e-10),
        "N_acc": sum(r["declared_empty"] for r in absent) / len(absent) if absent else None,
        "T_acc": kept / len(present) if present else None,
    }


PROFILE = Profile(
    name="gres/gsva",
    source="LeapLabTHU/GSVA@618dc795 solver.py eval_gres: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
    undefined=UNDEFINED,
)
