"""``grec/mdetr`` and ``grec/iou``: share of samples whose boxes are all right and none too many.

Source: ``RefExpEvaluator`` in mdetr/datasets/refexp.py and ``generalized_box_iou`` in mdetr/util/box_ops.py of
henghuiding/gRefCOCO@41a8f008. Boxes with a score of 0.7 or more count, boxes without scores too; pairs are taken greedily, best
first, while their value is at least one half; among equal values the box with the highest score comes first, then the one with the
greatest coordinates. A box turned round, which the authors' code does not take, pairs with nothing. The authors' value is the generalised IoU in float32, though their paper says
IoU; ``grec/iou`` is the plain one, from the description, not compared with running code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from visenv.answers import Answer, Target
from visenv.masks import box_iou_matrix
from visenv.task import Metrics, Profile, Row

from ._detections import best_pairs

__all__ = ["IOU", "MDETR", "aggregate", "generalised_iou", "primary", "row"]

MIN_SCORE = 0.7
"""Compared in float64: float32's own 0.7 is less."""
MIN_VALUE = 0.5
UNDEFINED = {"N_acc": "needs no-target samples", "T_acc": "needs targets"}
Values = npt.NDArray[np.floating[Any]]


def row(target: Target, answer: Answer | None, *, value: Callable[[npt.ArrayLike, npt.ArrayLike], Values]) -> Row:
    """Match the boxes of one sample.

    What decides "no target" is that no box is left, as for the authors: declaring it takes away all boxes.
    """
    given = () if answer is None or answer.no_target else answer.boxes_xyxy
    scores = (answer.scores if answer is not None and given else ()) or (1.0,) * len(given)
    boxes = [b for s, b in sorted(zip(scores, given, strict=True), reverse=True) if s >= MIN_SCORE]
    truth = target.boxes_xyxy
    return {
        "tp": len(best_pairs(value(boxes, truth), MIN_VALUE)) if boxes and truth else 0,
        "n_pred": len(boxes),
        "n_gt": len(truth),
        "gt_empty": not truth,
        "failed": answer is None,
    }


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions; an accuracy is ``None`` without a sample of its kind."""
    absent = [r for r in rows if r["gt_empty"]]
    present = [r for r in rows if not r["gt_empty"]]
    return {
        "F1_score": sum(primary(r) >= 1 for r in rows) / len(rows) if rows else None,
        "N_acc": sum(primary(r) for r in absent) / len(absent) if absent else None,
        "T_acc": sum(r["n_pred"] > 0 for r in present) / len(present) if present else None,
    }


def primary(row: Mapping[str, Any]) -> float:
    """Return the sample's F1; for "no target", 1 if and only if no box is left."""
    if row["failed"]:
        return 0.0
    if row["gt_empty"]:
        return float(row["n_pred"] == 0)
    return float(2 * row["tp"] / (row["n_pred"] + row["n_gt"]))


def generalised_iou(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return generalised IoU in float32, ``(N, M)``: IoU minus the share of the common hull that neither box covers.

    It is -1 for a box turned round, and -inf where it cannot be told in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _generalised_iou(
            np.asarray(first_xyxy, np.float32).reshape(-1, 1, 4), np.asarray(second_xyxy, np.float32).reshape(1, -1, 4)
        )


def _generalised_iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    inter = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    sides = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    union = sides[0].prod(-1) + sides[1].prod(-1) - inter
    hull = np.clip(np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    spare = np.divide(hull - union, hull, out=np.zeros_like(hull), where=hull > 0)
    turned = (sides[0] < 0).any(-1) | (sides[1] < 0).any(-1)
    value: npt.NDArray[np.float32] = np.where(turned, np.float32(-1), iou - spare)
    return np.where(np.isnan(value), np.float32(-np.inf), value)


MDETR = Profile(
    name="grec/mdetr",
    source="henghuiding/gRefCOCO@41a8f008 mdetr/datasets/refexp.py",
    row=partial(row, value=generalised_iou),
    aggregate=aggregate,
    primary=primary,
    undefined=UNDEFINED,
)
IOU = Profile(
    name="grec/iou",
    source="henghuiding/gRefCOCO@41a8f008 mdetr/datasets/refexp.py with plain IoU: from the description, not compared with running code",
    row=partial(row, value=box_iou_matrix),
    aggregate=aggregate,
    primary=primary,
    undefined=UNDEFINED,
)
