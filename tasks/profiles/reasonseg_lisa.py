"""``reasonseg/lisa``: gIoU and cIoU as LISA's validation computes them.

Source: ``validate`` in train_ds.py of dvlab-research/LISA@3cb2d430; differs in exact sums where LISA adds float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ._overlap import overlap

__all__ = ["PROFILE", "aggregate", "primary", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample; a declared "no target" is an empty mask."""
    if answer is not None and answer.no_target:
        answer = replace(answer, masks=())
    inter, union = overlap(target, answer)
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


PROFILE = Profile(
    name="reasonseg/lisa",
    source="dvlab-research/LISA@3cb2d430 train_ds.py validate",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
