"""``dense200/visharness``: F1 of boxes over the means of categories, as VisHarness scores Dense200.

Source: visharness/evaluate/evaluate_dense200.py of fyw1999/VisHarness@7c4dd0c7, from its description: not compared with running
code. Each category is matched on its own, best pair first; counts are summed by category over all images, precision and
recall are means over categories, F1 is of these means. Boxes without labels are of no category, and so play no role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visenv.answers import Answer, Box, Target
from visenv.task import Metrics, Profile, Row

from ._detections import THRESHOLDS, Floats, best_pairs, category_key, labelled

__all__ = ["PROFILE", "aggregate", "primary", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Match one image's boxes by category."""
    boxes, labels, _ = labelled(answer)
    out: dict[str, list[Any]] = {k: [] for k in ("categories", "n_gt", "n_pred", "matched")}
    for name in sorted({*target.labels, *labels}):
        truth = [b for b, label in zip(target.boxes_xyxy, target.labels, strict=True) if label == name]
        given = [b for b, label in zip(boxes, labels, strict=True) if label == name]
        out["categories"].append(category_key(name))
        out["n_gt"].append(len(truth))
        out["n_pred"].append(len(given))
        out["matched"].append(_matches(_overlaps(given, truth)))
    return {**out, "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions; the means of F1 are F1 of the means of precision and recall."""
    names = [f"{m}@{t}" for t in (0.5, 0.95) for m in ("P", "R", "F1")] + ["P_mean", "R_mean", "F1_mean"]
    sums: dict[int, list[int]] = {}
    for row in rows:
        for key, n_gt, n_pred, matched in zip(
            *(row[k] for k in ("categories", "n_gt", "n_pred", "matched")), strict=True
        ):
            line = sums.setdefault(key, [0] * (2 + len(THRESHOLDS)))
            for i, value in enumerate((n_gt, n_pred, *matched)):
                line[i] += value
    asked = [line for _, line in sorted(sums.items()) if line[0]]
    if not asked:
        return dict.fromkeys(names)
    precision = [sum(s[2 + k] / s[1] if s[1] else 0.0 for s in asked) / len(asked) for k in range(len(THRESHOLDS))]
    recall = [sum(s[2 + k] / s[0] for s in asked) / len(asked) for k in range(len(THRESHOLDS))]
    means = sum(precision) / len(precision), sum(recall) / len(recall)
    pairs = [(precision[0], recall[0]), (precision[-1], recall[-1]), means]
    return dict(zip(names, [v for p, r in pairs for v in (p, r, 2 * p * r / (p + r) if p + r else 0.0)], strict=True))


def primary(row: Mapping[str, Any]) -> float:
    """Return the image's F1, averaged over the thresholds; 1 when there is nothing to find and nothing was submitted."""
    if row["failed"]:
        return 0.0
    total = sum(row["n_gt"]) + sum(row["n_pred"])
    return 2 * sum(map(sum, row["matched"])) / (len(THRESHOLDS) * total) if total else 1.0


def _overlaps(given: Sequence[Box], truth: Sequence[Box]) -> Floats:
    """Return IoU ``(N, M)`` with 1e-6 added to the union."""
    a = np.asarray(given, np.float64).reshape(-1, 1, 4)
    b = np.asarray(truth, np.float64).reshape(1, -1, 4)
    inter = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    areas = [np.clip(v[..., 2:] - v[..., :2], 0, None).prod(-1) for v in (a, b)]
    value: Floats = inter / (areas[0] + areas[1] - inter + 1e-6)
    return value


def _matches(values: Floats) -> list[int]:
    """Return the number of pairs at each threshold, taken best first; a higher threshold only ends the same list earlier."""
    best = best_pairs(values, THRESHOLDS[0])
    return [sum(v >= t for v in best) for t in THRESHOLDS]


PROFILE = Profile(
    name="dense200/visharness",
    source="fyw1999/VisHarness@7c4dd0c7 evaluate_dense200.py: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
