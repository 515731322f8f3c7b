"""``rec8k/official``: counting errors, and localisation of the counted objects by their boxes.

Source: ``eval`` in train_test.py of sydai/referring-expression-counting@e8f5a54f. Its published MAE and RMSE treat an
image without objects as having one (a point at the corner); ``MAE_true`` and ``RMSE_true`` beside them do not.

How near is near enough depends on the size of the predicted boxes: an answer is a set of boxes there, perhaps an empty one. What
submits no boxes finds nothing, and every object is missed (FN), but three such things are told apart:

- no objects submitted ("no target", an empty list) is the empty set: precision, recall and F1 are numbers, 0 if all do so;
- a number alone, 0 too, or points alone: a count, which the authors' code could not take;
- nothing submitted: a failure, which errs by the whole truth, at least by one.

Precision, recall and F1 are ``None`` where no answer at all is a set of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

__all__ = ["PROFILE", "aggregate", "localisation", "localised", "primary", "row"]

FAR = 1e9
"""A distance in widths and heights of the picture that no pair can have."""


def row(target: Target, answer: Answer | None) -> Row:
    """Count one answer and match its boxes with the true points, or with the centres of the true boxes.

    ``boxes`` says that the answer is a set of boxes, an empty one included.
    """
    points = np.asarray(target.points_xy, np.float64).reshape(-1, 2)
    if not len(points):
        points = np.asarray(target.boxes_xyxy, np.float64).reshape(-1, 2, 2).mean(1)
    given = None if answer is None or answer.no_target else answer
    boxes = given.boxes_xyxy if given else ()
    tp, fp, fn = localised(np.asarray(boxes, np.float64).reshape(-1, 4), points, target.size_hw)
    counted = given is not None and not boxes and (given.count is not None or bool(given.points_xy))
    return {
        "pred": len(boxes) or (given.num_objects if given else 0),
        "truth": len(points),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "boxes": answer is not None and not counted,
        "failed": answer is None,
    }


def localised(
    boxes_xyxy: npt.NDArray[np.float64], points_xy: npt.NDArray[np.float64], size_hw: tuple[int, int]
) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives.

    One-to-one with the least total distance in coordinates divided by width and height; then a pair is right when it
    is nearer than half the diagonal of the predicted box at position n // 2 by area. Without points there is one at
    (0, 0). A box turned round, which the authors' model cannot make, has no area and is near nothing.
    """
    scale = np.array(size_hw[::-1], np.float64)
    points = (points_xy if len(points_xy) else np.zeros((1, 2))) / scale
    if not len(boxes_xyxy):
        return 0, 0, len(points)
    corners = boxes_xyxy.reshape(-1, 2, 2) / scale
    turned = (corners[:, 1] < corners[:, 0]).any(1)
    sides = np.clip(corners[:, 1] - corners[:, 0], 0, None)
    middle = np.argsort(sides.prod(1), kind="stable")[len(sides) // 2]
    limit = math.hypot(*sides[middle]) / 2
    distances = np.sqrt(((corners.mean(1)[:, None] - points[None]) ** 2).sum(2))
    distances[turned] = FAR
    tp = int((distances[linear_sum_assignment(distances)] < limit).sum())
    return tp, len(boxes_xyxy) - tp, len(points) - tp


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows; precision, recall and F1 are ``None`` when no answer is a set of boxes."""
    names = ("MAE", "RMSE", "MAE_true", "RMSE_true", "precision", "recall", "F1")
    if not rows:
        return dict.fromkeys(names)
    official = [_error(r, max(1, r["truth"])) for r in rows]
    plain = [_error(r, r["truth"]) for r in rows]
    out: Metrics = {}
    for suffix, errors in (("", official), ("_true", plain)):
        out[f"MAE{suffix}"] = sum(errors) / len(rows)
        out[f"RMSE{suffix}"] = math.sqrt(sum(e * e for e in errors) / len(rows))
    located = localisation(rows) if any(r["boxes"] for r in rows) else {}
    return {**out, **{name: located.get(name) for name in names[-3:]}}


def localisation(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Return precision, recall and F1 of the pairs summed over all rows, and the sums; 0 where nothing can be divided."""
    tp, fp, fn = (sum(r[key] for r in rows) for key in ("tp", "fp", "fn"))
    precision, recall = tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn) if tp + fn else 0.0
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"TP": tp, "FP": fp, "FN": fn, "precision": precision, "recall": recall, "F1": f1}


def primary(row: Mapping[str, Any]) -> float:
    """Return 1 minus the relative error of the count, at least 0."""
    if row["failed"]:
        return 0.0
    return max(0.0, 1.0 - abs(int(row["pred"]) - int(row["truth"])) / max(1, int(row["truth"])))


def _error(row: Mapping[str, Any], truth: int) -> int:
    """Error of the count; nothing submitted errs by the whole truth, and by one where there is nothing to count."""
    return max(1, truth) if row["failed"] else abs(int(row["pred"]) - truth)


PROFILE = Profile(
    name="rec8k/official",
    source="sydai/referring-expression-counting@e8f5a54f train_test.py eval",
    row=row,
    aggregate=aggregate,
    primary=primary,
    undefined=dict.fromkeys(("precision", "recall", "F1"), "needs boxes"),
)
