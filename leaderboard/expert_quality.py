"""How well experts do on pictures of which everything is known: finds against objects, masks against clicks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from visenv.tasks.emojiworld.scene import SceneObject
from visenv.tasks.profiles import coco_ap

from visenv.answers import Answer, AnswerKind, Target
from visenv.errors import ExpertError
from visenv.experts import Detections, DetectRequest, Expert, Request, Result, Segmentation, SegmentRequest
from visenv.experts.running import run_isolated
from visenv.images import Image
from visenv.masks import Mask, box_iou_matrix, mask_iou_matrix

__all__ = [
    "DetectorFigures",
    "Found",
    "SegmenterFigures",
    "View",
    "ask",
    "detect_all",
    "error_click",
    "judge_finds",
    "measure_segmenter",
]

LIMIT = 500
"""Most finds of one category in one picture that average precision looks at."""
FOUND_IOU = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A picture and the objects in it; signs are none."""

    image: Image
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> list[str]:
        """The categories shown, sorted."""
        return sorted({o.category for o in self.objects})


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a detector answered about one picture, asked for many categories."""

    boxes_xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    names: tuple[str, ...]
    """What was asked for, for each box."""
    seconds: float
    """Until the first answer about this picture."""
    cpu_seconds: float
    """The same as time of this process' cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorFigures:
    """Figures over pictures, all at IoU 0.5. Fractions are ``None`` without objects."""

    pictures: int
    objects: int
    map50: float | None
    """AP50 as pycocotools computes it, over the categories that occur."""
    any_recall: float | None
    """Objects that some box covers, whatever its name and score."""
    precision: float | None
    """Of the finds from the detector's own threshold up, with the right category; so are the next two."""
    recall: float | None
    f1: float | None
    ms: float
    """Median time of a picture, asked for one category."""
    cpu_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterFigures:
    """Mean IoU over objects, and the mean time of a prompt."""

    objects: int
    miou: tuple[float, ...]
    """After the first prompt, and after each correcting click."""
    ms: float
    cpu_ms: float


def ask(expert: Expert, requests: Sequence[Request]) -> list[Any]:
    """Return the results of requests.

    Raises:
        ExpertError: One of them failed.
    """
    results: list[Result] = []
    for result in run_isolated(expert, requests):
        if isinstance(result, ExpertError):
            raise result
        results.append(result)
    return results


def detect_all(detector: Expert, image: Image, names: Sequence[str]) -> Found:
    """Ask for each category by name. The first question is timed: the picture must be one that the detector has not seen."""
    requests = [DetectRequest(image=image, phrase=name) for name in names]
    wall, cpu = time.perf_counter(), time.process_time()
    results: list[Detections] = ask(detector, requests[:1])
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    results += ask(detector, requests[1:])
    return Found(
        boxes_xyxy=np.concatenate([np.zeros((0, 4)), *(r.boxes_xyxy for r in results)]),
        scores=np.concatenate([np.zeros(0), *(r.scores for r in results)]),
        names=tuple(name for name, r in zip(names, results, strict=True) for _ in r.labels), seconds=seconds, cpu_seconds=cpu_seconds,
    )  # fmt: skip


def judge_finds(views: Sequence[View], found: Sequence[Found], *, threshold: float = 0.0) -> DetectorFigures:
    """Compare what was found in pictures with what is in them.

    Args:
        views: The pictures.
        found: What was found in each.
        threshold: Scores from which a find counts for precision and recall; average precision takes all.
    """
    rows, right, shown, covered = [], 0, 0, 0
    total = sum(len(view.objects) for view in views)
    for view, finds in zip(views, found, strict=True):
        target = _target(view)
        rows.append(coco_ap.row(target, _answer(finds, finds.scores >= 0), limit=LIMIT))
        sure = coco_ap.row(target, _answer(finds, finds.scores >= threshold), limit=LIMIT)
        right += sum(bits & 1 for line in sure["hits"] for bits in line)  # bit 0: objects of all sizes, IoU 0.5
        shown += sum(map(len, sure["scores"]))
        covered += int((box_iou_matrix(finds.boxes_xyxy, target.boxes_xyxy).max(0, initial=0) >= FOUND_IOU).sum())
    ap = coco_ap.aggregate(rows, limits=(1, 10, LIMIT))["AP50"] if rows else None
    return DetectorFigures(
        pictures=len(views), objects=total, map50=None if ap is None else float(ap), any_recall=_share(covered, total),
        precision=_share(right, shown), recall=_share(right, total), f1=_share(2 * right, shown + total),
        ms=_median_ms(f.seconds for f in found), cpu_ms=_median_ms(f.cpu_seconds for f in found),
    )  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _median_ms(seconds: Iterable[float]) -> float:
    values = list(seconds)
    return 1000 * float(np.median(values)) if values else 0.0


def _target(view: View) -> Target:
    return Target(
        kind=AnswerKind.BOXES, size_hw=view.image.size_wh[::-1],
        boxes_xyxy=tuple(o.target_box_xyxy for o in view.objects), labels=tuple(o.category for o in view.objects),
    )  # fmt: skip


def _answer(found: Found, chosen: npt.NDArray[np.bool_]) -> Answer:
    at = np.flatnonzero(chosen).tolist()
    return Answer(
        boxes_xyxy=tuple(tuple(box) for box in found.boxes_xyxy[at].tolist()), labels=tuple(found.names[k] for k in at),
        scores=tuple(found.scores[at].tolist()),
    )  # fmt: skip


def error_click(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> tuple[float, float, bool]:
    """Return the middle of the largest wrong region and whether it belongs to the object."""
    wrong = np.pad((mask != truth).astype(np.uint8), 1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
    if len(stats) == 1:
        ys, xs = np.nonzero(truth)
        return float(xs[0]) + 0.5, float(ys[0]) + 0.5, True
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    depth = cv2.distanceTransform((labels == largest).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x) + 0.5, float(y) + 0.5, bool(truth[y, x])


def measure_segmenter(
    segmenter: Expert,
    views: Sequence[View],
    *,
    prompt: str = "box",
    clicks: int = 3,
    per_picture: int = 6,
    tick: Callable[[], None] = lambda: None,
) -> SegmenterFigures:
    """Segment objects from their true box or one click, then click where the mask is most wrong, again and again.

    Args:
        segmenter: Who is asked.
        views: Pictures.
        prompt: ``box``, or ``click``: the middle of the object.
        clicks: Corrections after the first prompt.
        per_picture: Objects of each picture, the first ones.
        tick: Called after each picture.
    """
    overlaps: list[list[float]] = []
    wall = cpu = 0.0
    for view in views:
        for thing in view.objects[:per_picture]:
            target = thing.mask((view.image.size_wh[1], view.image.size_wh[0]))
            truth = target.to_dense()
            points = [error_click(np.zeros_like(truth), truth)] if prompt == "click" else []
            mask: Mask | None = None
            overlaps.append([])
            for _ in range(clicks + 1):
                request = SegmentRequest(
                    image=view.image, box_xyxy=thing.target_box_xyxy if prompt == "box" else None,
                    points_xy=tuple((x, y) for x, y, _ in points), points_positive=tuple(p for *_, p in points), previous=mask,
                )  # fmt: skip
                began = time.perf_counter(), time.process_time()
                result: Segmentation = ask(segmenter, [request])[0]
                wall, cpu = wall + time.perf_counter() - began[0], cpu + time.process_time() - began[1]
                mask = result.mask
                overlaps[-1].append(float(mask_iou_matrix([mask], [target])[0, 0]))
                points.append(error_click(mask.to_dense(), truth))
        tick()
    prompts = max(1, sum(map(len, overlaps)))
    return SegmenterFigures(
        objects=len(overlaps), miou=tuple(np.mean(overlaps, axis=0).tolist()) if overlaps else (),
        ms=1000 * wall / prompts, cpu_ms=1000 * cpu / prompts,
    )  # fmt: skip
