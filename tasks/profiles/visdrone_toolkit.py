"""``visdrone/toolkit``: AP and AR as VisDrone's MATLAB toolkit computes them.

Source: saveAnnoRes.m, dropObjectsInIgr.m, createIntImg.m, evalRes.m, compOas.m, VOCap.m and calcAccuracy.m of
VisDrone/VisDrone2018-DET-toolkit@00544578. Its quirks are kept: the limit on detections counts all classes together, in the
order submitted; ignored objects stay in the denominator of recall; a class weighs as much as the number of images that
contain it; regions to be ignored are measured on 0-based coordinates taken for 1-based ones. The toolkit's files have widths and
heights, a target's boxes have corners: a difference of corners is rounded to six decimals, which gives the file's number back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visenv.answers import Answer, Box, Target
from visenv.task import Metrics, Profile, Row

from ._detections import THRESHOLDS, Floats, by_content, labelled, match, overlaps, score_key, to_bits

__all__ = ["CLASSES", "LIMITS", "PROFILE", "aggregate", "aggregate_in_order", "primary", "row"]

CLASSES = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip
"""The classes 1 to 10; class 11, "others", is not scored."""
LIMITS = (1, 10, 100, 500)
NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500")
DECIMALS = 6
"""Of widths and heights."""


def row(target: Target, answer: Answer | None) -> Row:
    """Match the boxes of one image by class.

    ``found`` has, for each class and then each limit below the last, the hits at each threshold.
    """
    covered = _coverage(target)
    kept = _outside(target.boxes_xyxy, covered)
    truth = [(target.boxes_xyxy[i], target.labels[i] if target.labels else "") for i in kept]
    ignored = np.array([bool(target.crowd[i]) if target.crowd else False for i in kept], bool)
    boxes, labels, scores = labelled(answer)
    left = _outside(boxes, covered)
    out: dict[str, list[Any]] = {
        k: [] for k in ("categories", "truths", "spared", "scores", "hits", "ignored", "found")
    }
    for number, name in enumerate(CLASSES, 1):
        true = [i for i, (_, label) in enumerate(truth) if label == name]
        places = [place for place, i in enumerate(left[: LIMITS[-1]]) if labels[i] == name]
        if not true and not places:
            continue
        own = ignored[true]
        detected = [left[place] for place in places]
        values = overlaps([boxes[i] for i in detected], [truth[i][0] for i in true], own, decimals=DECIMALS)
        keys = np.array([scores[i] for i in detected])
        order, hits, spared = _matched(values, own, keys)
        out["categories"].append(number)
        out["truths"].append(len(true))
        out["spared"].append(int(own.sum()))
        out["scores"].append([score_key(keys[i]) for i in order])
        out["hits"].append(to_bits(hits))
        out["ignored"].append(to_bits(spared))
        out["found"].append([_found(values, own, keys, places, limit) for limit in LIMITS[:-1]])
    return {**out, "others": _others(labels, left), "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to percent, whatever their order: equal scores in different images are ranked by the rows' contents."""
    return aggregate_in_order(by_content(rows))


def aggregate_in_order(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to percent; of equal scores the one of the earlier row comes first, as in the toolkit."""
    weights = [0] * len(CLASSES)
    for row in rows:
        for number, count in zip(row["categories"], row["truths"], strict=True):
            weights[number - 1] += count > 0
    total = sum(weights)
    if not total:
        return dict.fromkeys(NAMES)
    ap, ar = np.zeros(len(THRESHOLDS)), np.zeros(len(LIMITS))
    for number, weight in enumerate(weights, 1):
        if weight:
            precision, recalls = _class_scores(rows, number)
            ap += weight * precision
            ar += weight * recalls
    ap, ar = 100 * ap / total, 100 * ar / total
    values = [float(ap.mean()), float(ap[0]), float(ap[5]), *map(float, ar)]
    return dict(zip(NAMES, values, strict=True))


def primary(row: Mapping[str, Any]) -> float:
    """Return the image's F1 by class, averaged over the thresholds; ignored boxes count on neither side."""
    if row["failed"]:
        return 0.0
    truths = sum(row["truths"]) - sum(row["spared"])
    hits = sum(bits.bit_count() for line in row["hits"] for bits in line)
    spared = sum(bits.bit_count() for line in row["ignored"] for bits in line)
    detections = sum(map(len, row["scores"])) + row["others"]
    total = len(THRESHOLDS) * (truths + detections) - spared
    return 2 * hits / total if total else 1.0


def _class_scores(rows: Sequence[Mapping[str, Any]], number: int) -> tuple[Floats, Floats]:
    """Return AP at each threshold and AR at each limit of one class, as fractions."""
    truths, scores, hits, ignored = 0, [], [], []
    found = np.zeros((len(LIMITS), len(THRESHOLDS)))
    for row in rows:
        if number in row["categories"]:
            place = row["categories"].index(number)
            truths += row["truths"][place]
            scores += row["scores"][place]
            hits += row["hits"][place]
            ignored += row["ignored"][place]
            found[:-1] += row["found"][place]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    steps = np.arange(len(THRESHOLDS))
    hit = (np.array([hits[i] for i in order], np.int64).reshape(-1, 1) >> steps) & 1
    spared = (np.array([ignored[i] for i in order], np.int64).reshape(-1, 1) >> steps) & 1
    found[-1] = hit.sum(0)
    tp, fp = hit.cumsum(0), ((hit | spared) ^ 1).cumsum(0)
    recall, precision = tp / max(1, truths), tp / np.maximum(1, tp + fp)
    ap = np.array([_area(recall[:, k], precision[:, k]) for k in steps])
    return ap, (found / max(1, truths)).mean(1)


def _area(recall: Floats, precision: Floats) -> float:
    """Return the area under the falling envelope of a precision-recall curve, all points."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    return float((np.diff(recall) * envelope[1:]).sum())


def _matched(
    values: Floats, ignored: npt.NDArray[np.bool_], scores: Floats
) -> tuple[list[int], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    order = np.argsort(-scores, kind="stable")
    hits, spared = match(values[order], ignored, ignored)
    return order.tolist(), hits, spared


def _found(
    values: Floats, ignored: npt.NDArray[np.bool_], scores: Floats, places: Sequence[int], limit: int
) -> list[int]:
    """Return the hits at each threshold when only the first ``limit`` submitted boxes of all classes count."""
    early = [i for i, place in enumerate(places) if place < limit]
    hits = _matched(values[early], ignored, scores[early])[1]
    return [int(n) for n in hits.sum(0)]


def _others(labels: Sequence[str], left: Sequence[int]) -> int:
    """Count submitted boxes of no scored class."""
    return sum(labels[i] not in CLASSES for i in left)


def _outside(boxes: Sequence[Box], covered: npt.NDArray[np.int32] | None) -> list[int]:
    """Return the places of the boxes that are less than half inside the regions to be ignored."""
    if covered is None:
        return list(range(len(boxes)))
    height, width = covered.shape[0] - 1, covered.shape[1] - 1
    out = []
    for index, box in enumerate(boxes):
        x, y, w, h = _row(box)
        x, y = min(width, x), min(height, y)
        right, bottom = min(width, x + w), max(1, min(height, y + h))
        corners = covered[y, x] + covered[bottom, right] - covered[y, right] - covered[bottom, x]
        if int(corners) / (h * w) < 0.5:
            out.append(index)
    return out


def _coverage(target: Target) -> npt.NDArray[np.int32] | None:
    """Return the integral image of the regions to be ignored, ``(H + 1, W + 1)``; ``None`` without any."""
    if not target.ignore_boxes_xyxy:
        return None
    canvas = np.zeros(target.size_hw, np.uint8)
    for box in target.ignore_boxes_xyxy:
        x, y, w, h = _row(box)
        canvas[y - 1 : y + h, x - 1 : x + w] = 1
    return np.asarray(cv2.integral(canvas, sdepth=cv2.CV_32S), np.int32)


def _row(box: Box) -> tuple[int, int, int, int]:
    """Return left, top, width and height as the toolkit rounds them, 1 at least."""
    x1, y1, x2, y2 = box
    x, y, w, h = (max(1, _rounded(v)) for v in (x1, y1, round(x2 - x1, DECIMALS), round(y2 - y1, DECIMALS)))
    return x, y, w, h


def _rounded(value: float) -> int:
    """Round half away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


PROFILE = Profile(
    name="visdrone/toolkit",
    source="VisDrone/VisDrone2018-DET-toolkit@00544578 calcAccuracy.m, evalRes.m, dropObjectsInIgr.m",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
