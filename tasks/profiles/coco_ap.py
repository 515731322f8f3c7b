"""``coco/ap`` and ``visdrone/coco``: average precision as pycocotools computes it.

Source: COCOeval of cocodataset/cocoapi (pycocotools 2.0.11): 101 points of recall, ten IoU thresholds, four ranges of area,
plain mean over the categories that have an object. Agreement is tested by running pycocotools itself on the same boxes. Masks
are compared where the target is one of masks, boxes elsewhere; an object's area is that of its mask if there is one,
else of its box (COCO's files carry an area of their own, of the polygon). Labels, scores and crowds are parallel to what
is compared; what has no label is of a category of its own. It is the AP of the samples given: the task ``COCO``
asks for a category only in pictures that have it, where nothing can be found wrongly in one without it, so that its AP is above
COCO's own. ``visdrone/coco`` allows 500 detections instead of 100; objects and regions that VisDrone ignores are crowds there,
the regions in every category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from visenv.answers import Answer, AnswerKind, Box, Target
from visenv.masks import Mask
from visenv.task import Metrics, Profile, Row

from ._detections import THRESHOLDS, Floats, by_content, category_key, labelled, match, overlaps, score_key, to_bits

__all__ = ["COCO", "VISDRONE", "VISDRONE_LIMITS", "aggregate", "aggregate_in_order", "primary", "row"]

RANGES = ((0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10))
"""Least and greatest area in pixels: all, small, medium, large."""
POINTS = np.linspace(0.0, 1.0, 101)
LIMITS = (1, 10, 100)
VISDRONE_LIMITS = (1, 10, 500)
LEAST = tuple(float(t) for t in np.linspace(0.5, 0.95, len(THRESHOLDS)))
"""pycocotools' own thresholds: the ninth is 0.8999999999999999."""
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
UNDEFINED = {f"{m}{s[0]}": f"needs {s} objects" for m in ("AP", "AR") for s in ("small", "medium", "large")}
Thing = Box | Mask
Bools = npt.NDArray[np.bool_]


def row(target: Target, answer: Answer | None, *, limit: int = LIMITS[-1]) -> Row:
    """Match the objects of one image by category.

    ``truths`` counts ordinary objects in the four ranges of area; bits come in the order of ranges, then thresholds.
    """
    truth, names, crowd, areas = _truth(target)
    given, labels, scores, sizes = _submitted(target, answer)
    out: dict[str, list[Any]] = {k: [] for k in ("categories", "truths", "scores", "hits", "ignored")}
    for name in sorted({*names, *labels}):
        true = [i for i, other in enumerate(names) if other == name]
        best = sorted((i for i, other in enumerate(labels) if other == name), key=lambda i: -scores[i])[:limit]
        own = crowd[true]
        regions = target.ignore_boxes_xyxy if target.kind is not AnswerKind.MASK else ()
        things = [*(truth[i] for i in true), *regions]
        own = np.concatenate([own, np.ones(len(regions), bool)])
        area = np.concatenate([areas[true], np.zeros(len(regions))])
        values = _values([given[i] for i in best], things, own)
        counts, hits, spared = _in_ranges(values, own, area, sizes[best])
        out["categories"].append(category_key(name))
        out["truths"].append(counts)
        out["scores"].append([score_key(scores[i]) for i in best])
        out["hits"].append(to_bits(hits))
        out["ignored"].append(to_bits(spared))
    return {**out, "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]], *, limits: Sequence[int] = LIMITS) -> Metrics:
    """Reduce rows to fractions, whatever their order: equal scores in different images are ranked by the rows' contents."""
    return aggregate_in_order(by_content(rows), limits=limits)


def aggregate_in_order(rows: Sequence[Mapping[str, Any]], *, limits: Sequence[int] = LIMITS) -> Metrics:
    """Reduce rows to fractions; of equal scores the one of the earlier row comes first, as in pycocotools."""
    places: dict[int, list[tuple[Mapping[str, Any], int]]] = {}
    for row in rows:
        for place, category in enumerate(row["categories"]):
            places.setdefault(category, []).append((row, place))
    curves: list[list[Floats]] = [[] for _ in RANGES]
    recalls: list[list[Floats]] = [[] for _ in RANGES]
    for category in sorted(places):
        for k in range(len(RANGES)):
            found = _category_scores(places[category], k, limits)
            if found is not None:
                curves[k].append(found[0])
                recalls[k].append(found[1])
    names = [name.replace("100", str(limits[-1])) for name in NAMES]
    ap = [_mean([c.mean() for c in line]) for line in curves]
    ar = [[_mean([r[k].mean() for r in recalls[0]]) for k in range(len(limits))]]
    ar.append([_mean([r[-1].mean() for r in line]) for line in recalls[1:]])
    at = [_mean([c[k].mean() for c in curves[0]]) for k in (0, 5)]
    return dict(zip(names, [ap[0], *at, *ap[1:], *ar[0], *ar[1]], strict=True))


def primary(row: Mapping[str, Any]) -> float:
    """Return the image's F1 by category, averaged over the thresholds; ignored objects count on neither side."""
    if row["failed"]:
        return 0.0
    everything = (1 << len(THRESHOLDS)) - 1
    hits = sum((bits & everything).bit_count() for line in row["hits"] for bits in line)
    spared = sum((bits & everything).bit_count() for line in row["ignored"] for bits in line)
    objects = sum(counts[0] for counts in row["truths"]) + sum(map(len, row["scores"]))
    total = len(THRESHOLDS) * objects - spared
    return 2 * hits / total if total else 1.0


def _in_ranges(values: Floats, crowd: Bools, areas: Floats, sizes: Floats) -> tuple[list[int], Bools, Bools]:
    """Match in each range of area: objects outside are ignored, and detections outside that match nothing are too."""
    counts, hits, spared = [], [], []
    for low, high in RANGES:
        ignored = crowd | (areas < low) | (areas > high)
        hit, spare = match(values, ignored, crowd, LEAST)
        outside = ((sizes < low) | (sizes > high))[:, None]
        counts.append(int((~ignored).sum()))
        hits.append(hit)
        spared.append(spare | (outside & ~hit))
    return counts, np.concatenate(hits, 1), np.concatenate(spared, 1)


def _category_scores(
    places: Sequence[tuple[Mapping[str, Any], int]], k: int, limits: Sequence[int]
) -> tuple[Floats, Floats] | None:
    """Return precision ``(T, 101)`` at the last limit and recall ``(limits, T)`` of a category in the k-th range of area."""
    truths = sum(row["truths"][place][k] for row, place in places)
    if not truths:
        return None
    recalls = np.zeros((len(limits), len(THRESHOLDS)))
    curve = np.zeros((len(THRESHOLDS), len(POINTS)))
    for n, limit in enumerate(limits):
        listed = [
            (row["scores"][place][i], row["hits"][place][i], row["ignored"][place][i])
            for row, place in places
            for i in range(min(limit, len(row["scores"][place])))
        ]
        listed.sort(key=lambda entry: -entry[0])
        shift = k * len(THRESHOLDS) + np.arange(len(THRESHOLDS))
        hit, spared = ((np.array([e[side] for e in listed], np.int64).reshape(-1, 1) >> shift) & 1 for side in (1, 2))
        if not len(listed):
            continue
        tp, fp = hit.cumsum(0), ((hit | spared) ^ 1).cumsum(0)
        recalls[n] = tp[-1] / truths
        if n == len(limits) - 1:
            curve = np.stack([_curve(tp[:, t], fp[:, t], truths) for t in range(len(THRESHOLDS))])
    return curve, recalls


def _curve(tp: npt.NDArray[np.int64], fp: npt.NDArray[np.int64], truths: int) -> Floats:
    """Return the falling envelope of precision at 101 points of recall, 0 beyond the last one reached."""
    precision = tp / (fp + tp + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(tp / truths, POINTS, side="left")
    return np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0)


def _truth(target: Target) -> tuple[tuple[Thing, ...], tuple[str, ...], Bools, Floats]:
    """Return the target's objects, their categories, which are crowds, and their areas."""
    masks = target.kind is AnswerKind.MASK
    things: tuple[Thing, ...] = target.masks if masks else target.boxes_xyxy
    labels = target.labels if len(target.labels) == len(things) else ("",) * len(things)
    crowd = target.crowd if len(target.crowd) == len(things) else (False,) * len(things)
    sized: Sequence[Thing] = target.masks if len(target.masks) == len(things) else things
    return things, labels, np.array(crowd, bool), _areas(sized)


def _submitted(target: Target, answer: Answer | None) -> tuple[tuple[Thing, ...], tuple[str, ...], list[float], Floats]:
    if target.kind is not AnswerKind.MASK:
        boxes, labels, scores = labelled(answer)
        return boxes, labels, list(scores), _areas(boxes)
    if answer is None or answer.no_target:
        return (), (), [], _areas(())
    masks = answer.masks
    labels = answer.labels if len(answer.labels) == len(masks) else ("",) * len(masks)
    scores = answer.scores if len(answer.scores) == len(masks) else (1.0,) * len(masks)
    kept = [i for i, mask in enumerate(masks) if mask.size_hw == target.size_hw]
    things = tuple(masks[i] for i in kept)
    return things, tuple(labels[i] for i in kept), [scores[i] for i in kept], _areas(things)


def _areas(things: Sequence[Thing]) -> Floats:
    values = [t.area_px if isinstance(t, Mask) else (t[2] - t[0]) * (t[3] - t[1]) for t in things]
    return np.array(values, np.float64)


def _values(detected: Sequence[Thing], truth: Sequence[Thing], crowd: Bools) -> Floats:
    if not detected or not truth:
        return np.zeros((len(detected), len(truth)))
    first, second = [m for m in detected if isinstance(m, Mask)], [m for m in truth if isinstance(m, Mask)]
    if first and second:
        codes = [m.to_coco() for m in first], [m.to_coco() for m in second]
        return np.asarray(coco.iou(*codes, crowd.astype(np.uint8).tolist()), np.float64)
    boxes = [t for t in detected if not isinstance(t, Mask)], [t for t in truth if not isinstance(t, Mask)]
    return overlaps(*boxes, crowd)


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None


COCO = Profile(
    name="coco/ap",
    source="pycocotools 2.0.11 COCOeval, compared by running it in the tests",
    row=row,
    aggregate=aggregate,
    primary=primary,
    undefined=UNDEFINED,
)
VISDRONE = Profile(
    name="visdrone/coco",
    source="pycocotools 2.0.11 COCOeval with 500 detections, compared by running it in the tests",
    row=partial(row, limit=VISDRONE_LIMITS[-1]),
    aggregate=partial(aggregate, limits=VISDRONE_LIMITS),
    primary=primary,
    undefined=UNDEFINED,
)
