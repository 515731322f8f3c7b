"""``dense200/rexomni``: F1 of boxes over IoU thresholds, averaged over images, as in Rex-Omni's evaluation.

Source: evaluation/metrics/other_metric.py of IDEA-Research/Rex-Omni@478e44f8. A box may match one of another category
as long as the truth has that category; order decides ties; scores play no role. Names are compared by their letters, of any
script, in small letters; where two become equal the one that comes last counts. Boxes without labels match nothing: the
authors' files have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visenv.answers import Answer, Box, Target
from visenv.masks import box_iou_matrix
from visenv.task import Metrics, Profile, Row

from ._detections import THRESHOLDS

__all__ = [
    "PROFILE", "THRESHOLDS", "aggregate", "by_threshold", "normalised", "precision_recall", "primary", "row", "row_from_dicts",
    "row_without_labels",
]  # fmt: skip

Boxes = Mapping[str, Sequence[Sequence[float]]]


def row(target: Target, answer: Answer | None) -> Row:
    """Match one image's boxes by category; boxes without any labels are wrong."""
    truth = _grouped(target.boxes_xyxy, target.labels)
    if answer is None:
        return {**row_from_dicts(truth, {}), "failed": True}
    boxes = () if answer.no_target else answer.boxes_xyxy
    if boxes and not answer.labels:
        return {**row_from_dicts(truth, {}), "n_pred": len(boxes)}
    return row_from_dicts(truth, _grouped(boxes, answer.labels if boxes else ()))


def row_without_labels(target: Target, answer: Answer | None) -> Row:
    """Match one image's boxes, whatever they are called.

    For tasks in which all that is submitted answers the instruction: an object's label is free text of an agent or an expert
    ("couches", "sofa"), and the same box must not score by its spelling.
    """
    asked = target.labels[0] if target.labels else ""
    return row(target, None if answer is None else replace(answer, labels=(asked,) * len(answer.boxes_xyxy)))


def row_from_dicts(truth: Boxes, predicted: Boxes) -> Row:
    """Match boxes given by category, in the order given."""
    truth, predicted = _normalised(truth), _normalised(predicted)
    wanted = [box for boxes in truth.values() for box in boxes]
    candidates = [box for name in truth for box in predicted.get(name, ())]
    ious = box_iou_matrix(wanted, candidates) if wanted and candidates else np.zeros((len(wanted), 0))
    return {
        "n_gt": len(wanted),
        "n_pred": sum(map(len, predicted.values())),
        "gt_keys": bool(truth),
        "matched": [_matches(ious, t) for t in THRESHOLDS],
        "failed": False,
    }


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows: precision and recall are means over images, F1 is of the means."""
    names = [f"{m}@{t}" for t in (0.5, 0.95) for m in ("P", "R", "F1")] + ["P_mean", "R_mean", "F1_mean"]
    if not rows:
        return dict.fromkeys(names)
    table = [line[1:] for line in by_threshold(rows)]
    means = [sum(column) / len(table) for column in zip(*table, strict=True)]
    return dict(zip(names, [*table[0], *table[-1], *means], strict=True))


def by_threshold(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float, float]]:
    """Return threshold, precision, recall and F1 for each threshold; there must be a row."""
    table = []
    for k, threshold in enumerate(THRESHOLDS):
        pairs = [precision_recall(r, k) for r in rows]
        precision, recall = (sum(p[side] for p in pairs) / len(pairs) for side in (0, 1))
        both = precision + recall
        table.append((threshold, precision, recall, 2 * precision * recall / both if both else 0.0))
    return table


def primary(row: Mapping[str, Any]) -> float:
    """Return the image's F1, averaged over the thresholds; 1 when there is nothing to find and nothing was submitted."""
    if row["failed"]:
        return 0.0
    total = row["n_gt"] + row["n_pred"]
    return 2 * sum(row["matched"]) / (len(THRESHOLDS) * total) if total else 1.0


def precision_recall(row: Mapping[str, Any], k: int) -> tuple[float, float]:
    """Return one image's precision and recall at the k-th threshold."""
    if row["failed"]:
        return 0.0, 0.0
    if not row["gt_keys"]:
        return (0.0, 0.0) if row["n_pred"] else (1.0, 1.0)
    if not row["n_pred"]:
        return 0.0, 0.0
    matched = row["matched"][k]
    return matched / row["n_pred"], matched / row["n_gt"] if row["n_gt"] else 0.0


def normalised(name: str) -> str:
    """Return the letters of a category's name, small: names with equal ones are one category."""
    return "".join(c.lower() for c in name.lower() if c.isalpha())


def _matches(ious: np.ndarray[Any, np.dtype[np.float64]], threshold: float) -> int:
    """Give each true box in turn the best free prediction that reaches the threshold."""
    free = np.ones(ious.shape[1], bool)
    matched = 0
    for line in ious:
        if not free.any():
            break
        best = int(np.where(free, line, -1.0).argmax())
        if line[best] >= threshold and line[best] > 0:
            free[best] = False
            matched += 1
    return matched


def _normalised(boxes: Boxes) -> dict[str, Sequence[Sequence[float]]]:
    """Make keys small, then keep their letters; each time the last of equal keys wins, at the first one's place."""
    small = {name.lower(): value for name, value in boxes.items()}
    return {normalised(name): value for name, value in small.items()}


def _grouped(boxes: Iterable[Box], labels: Iterable[str]) -> dict[str, list[Box]]:
    out: dict[str, list[Box]] = {}
    for box, label in zip(boxes, labels, strict=True):
        out.setdefault(label, []).append(box)
    return out


PROFILE = Profile(
    name="dense200/rexomni",
    source="IDEA-Research/Rex-Omni@478e44f8 evaluation/metrics/other_metric.py",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
