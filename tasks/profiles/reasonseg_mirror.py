"""``reasonseg/segzero``, ``reasonseg/segzero-multi`` and ``reasonseg/visionreasoner``: as papers that train on the mirror score.

They read ReasonSeg from a mirror in which ignored pixels have become target, and divide without epsilons. What sets them
apart is what happens to a sample whose union is empty, and to one without an answer:

=========================== ============================= ==============================
profile                     union of 0                    nothing submitted
=========================== ============================= ==============================
``reasonseg/segzero``       left out                      0, with the target as its union
``reasonseg/segzero-multi`` left out                      the same
``reasonseg/visionreasoner`` 0                            the same
=========================== ============================= ==============================

Source: evaluation_scripts/evaluation.py and evaluation_visionreasoner.py of dvlab-research/Seg-Zero@42a33455,
evaluation/evaluation_segmentation.py and calculate_iou_with_bbox.py of dvlab-research/VisionReasoner@a455092a. Their
``bbox_AP`` is a share of hits: any box with an IoU over one half, strictly, with the target's box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from visenv.answers import Answer, Target
from visenv.masks import box_iou_matrix, union_masks
from visenv.task import Metrics, Profile, Row

from ._overlap import counts, predicted_mask

__all__ = ["SEGZERO", "SEGZERO_MULTI", "VISIONREASONER", "aggregate", "primary", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Count the pixels of one sample, ignored pixels being target; a declared "no target" is an empty mask.

    ``hit`` is about boxes: ``None`` where the target has none.
    """
    truth = target.union if target.ignore is None else union_masks((target.union, target.ignore), target.size_hw)
    marked = None if answer is None or answer.no_target else answer
    inter, union = counts(truth, predicted_mask(target, marked))
    hit = None
    if target.boxes_xyxy:
        boxes = marked.boxes_xyxy if marked else ()
        hit = bool(len(boxes) and (box_iou_matrix(target.boxes_xyxy[:1], boxes) > 0.5).any())
    return {"inter": inter, "union": union, "hit": hit, "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]], *, drops: bool, ciou: bool, boxes: bool) -> Metrics:
    """Reduce rows to fractions.

    Args:
        rows: What :func:`row` gave.
        drops: Leave out samples that were answered and have a union of 0.
        ciou: Also give the sum of intersections over the sum of unions.
        boxes: Also give the share of samples with a hit, among those whose target has a box.
    """
    kept = [r for r in rows if r["union"] or r["failed"] or not drops]
    out: Metrics = {"gIoU": sum(map(primary, kept)) / len(kept) if kept else None}
    if ciou:
        union = sum(r["union"] for r in kept)
        out["cIoU"] = sum(r["inter"] for r in kept) / union if union else None
    if boxes:
        judged = [r for r in kept if r["hit"] is not None]
        out["box_accuracy"] = sum(r["hit"] for r in judged) / len(judged) if judged else None
    return out


def primary(row: Mapping[str, Any]) -> float:
    """Return the IoU, 0 where the union is empty."""
    return row["inter"] / row["union"] if row["union"] else 0.0


def answered_primary(row: Mapping[str, Any]) -> float:
    """Return the IoU; a sample that the aggregate leaves out, with nothing to find and nothing marked, counts as right."""
    return primary(row) if row["union"] or row["failed"] else 1.0


NO_BOXES = {"box_accuracy": "needs boxes in targets"}
SEGZERO = Profile(
    name="reasonseg/segzero",
    source="dvlab-research/Seg-Zero@42a33455 evaluation_scripts/evaluation.py",
    row=row,
    aggregate=partial(aggregate, drops=True, ciou=False, boxes=False),
    primary=answered_primary,
)
SEGZERO_MULTI = Profile(
    name="reasonseg/segzero-multi",
    source="dvlab-research/Seg-Zero@42a33455 evaluation_scripts/evaluation_visionreasoner.py",
    row=row,
    aggregate=partial(aggregate, drops=True, ciou=False, boxes=True),
    primary=answered_primary,
    undefined=NO_BOXES,
)
VISIONREASONER = Profile(
    name="reasonseg/visionreasoner",
    source="dvlab-research/VisionReasoner@a455092a evaluation/evaluation_segmentation.py",
    row=row,
    aggregate=partial(aggregate, drops=False, ciou=True, boxes=True),
    primary=primary,
    undefined=NO_BOXES,
)
