"""Average precision against pycocotools itself, and what the rows of the profiles with curves must keep."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from visenv.tasks.profiles import PROFILES, coco_ap, visdrone_toolkit
from visenv.tasks.profiles._detections import score_key

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask

NAMES = ("cat", "dog", "bus")
SIZE = (200, 240)


def box(rng):
    x, y = rng.integers(0, 150, 2)
    w, h = rng.integers(4, 120, 2) if rng.random() < 0.5 else rng.integers(4, 30, 2)
    return float(x), float(y), float(x + w), float(y + h)


def shaken(rng, old):
    new = np.array(old) + rng.integers(-4, 5, 4)
    return tuple(map(float, new)) if (new[2:] > new[:2]).all() else old


def scene(rng, *, masks=False):
    """Return a target with crowds and an answer with duplicates, misses, inventions and equal scores."""
    n = int(rng.integers(0, 9))
    boxes = tuple(box(rng) for _ in range(n))
    labels = tuple(NAMES[i] for i in rng.integers(0, 3, n))
    crowd = tuple(bool(v) for v in rng.random(n) < 0.2)
    found = [(shaken(rng, b), label) for b, label in zip(boxes, labels, strict=True) for _ in range(rng.integers(0, 3))]
    found += [(box(rng), NAMES[int(rng.integers(0, 3))]) for _ in range(rng.integers(0, 3))]
    scores = tuple(float(v) / 8 for v in rng.integers(1, 9, len(found)))
    made = {"masks": tuple(Mask.from_box(b, SIZE) for b in boxes)} if masks else {}
    target = Target(
        kind=AnswerKind.MASK if masks else AnswerKind.BOXES, size_hw=SIZE, boxes_xyxy=boxes, labels=labels, crowd=crowd, **made
    )  # fmt: skip
    drawn = {"masks": tuple(Mask.from_box(b, SIZE) for b, _ in found)} if masks else {}
    answer = Answer(boxes_xyxy=tuple(b for b, _ in found), labels=tuple(n for _, n in found), scores=scores, **drawn)
    return target, answer


def official(scenes, limits, kind):
    """Return what COCOeval says about the same scenes."""
    data = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]}
    found = []
    for number, (target, answer) in enumerate(scenes, 1):
        data["images"].append({"id": number, "height": SIZE[0], "width": SIZE[1]})
        for i, (x1, y1, x2, y2) in enumerate(target.boxes_xyxy):
            code = {"segmentation": target.masks[i].to_coco(), "area": target.masks[i].area_px} if target.masks else {}
            data["annotations"].append(
                {"id": len(data["annotations"]) + 1, "image_id": number, "category_id": NAMES.index(target.labels[i]) + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(target.crowd[i]), **code}
            )  # fmt: skip
        for x1, y1, x2, y2 in target.ignore_boxes_xyxy:
            for category in range(len(NAMES)):
                data["annotations"].append(
                    {"id": len(data["annotations"]) + 1, "image_id": number, "category_id": category + 1,
                     "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 1}
                )  # fmt: skip
        for i, (x1, y1, x2, y2) in enumerate(answer.boxes_xyxy):
            shape = (
                {"segmentation": answer.masks[i].to_coco()} if answer.masks else {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            )
            found.append(
                {
                    "image_id": number,
                    "category_id": NAMES.index(answer.labels[i]) + 1,
                    "score": answer.scores[i],
                    **shape,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(found), kind)
        run.params.maxDets = list(limits)
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"], run.eval["recall"]

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else None

    areas = range(4)
    return [
        mean(precision[..., 0, -1]), mean(precision[0, ..., 0, -1]), mean(precision[5, ..., 0, -1]),
        *(mean(precision[..., a, -1]) for a in areas[1:]), *(mean(recall[..., 0, k]) for k in range(3)),
        *(mean(recall[..., a, -1]) for a in areas[1:]),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_coco_ap_is_what_pycocotools_says(seed, masks):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, masks=masks) for _ in range(12)]
    profile = PROFILES["coco/ap"]
    rows = json.loads(json.dumps([profile.row(*s) for s in scenes]))
    got = list(coco_ap.aggregate_in_order(rows).values())
    assert got == pytest.approx(official(scenes, (1, 10, 100), "segm" if masks else "bbox"), abs=1e-12)


def crowded(rng, number):
    """Return a scene with regions to be ignored, and a category with more boxes than 100."""
    target, answer = scene(rng)
    boxes = tuple(box(rng) for _ in range(number))
    more = replace(
        answer,
        boxes_xyxy=answer.boxes_xyxy + boxes + target.boxes_xyxy,
        labels=answer.labels + ("cat",) * number + target.labels,
        scores=answer.scores + (0.95,) * number + (0.05,) * len(target.boxes_xyxy),
    )
    return replace(target, ignore_boxes_xyxy=(box(rng), box(rng))), more


def test_visdrone_coco_is_what_pycocotools_says():
    """Each region is a crowd in every category; 500 boxes count, not 100."""
    rng = np.random.default_rng(9)
    scenes = [scene(rng) for _ in range(8)] + [crowded(rng, n) for n in (0, 20, 150, 480)]
    rows = [PROFILES["visdrone/coco"].row(*s) for s in scenes]
    got = list(coco_ap.aggregate_in_order(rows, limits=(1, 10, 500)).values())
    assert got == pytest.approx(official(scenes, (1, 10, 500), "bbox"), abs=1e-12)


@pytest.mark.parametrize("name", ["coco/ap", "visdrone/coco", "visdrone/toolkit"])
def test_the_order_of_rows_does_not_matter(name):
    rng = np.random.default_rng(3)
    profile = PROFILES[name]
    scenes = [scene(rng) for _ in range(10)]
    rows = [profile.row(*s) for s in scenes]
    assert profile.aggregate(rows) == pytest.approx(profile.aggregate(rows[::-1]), abs=1e-12)


def toolkit_target(*boxes, **more):
    return Target(kind=AnswerKind.BOXES, size_hw=(60, 90), boxes_xyxy=boxes, labels=("car",) * len(boxes), **more)


CAR, OTHER = (10.0, 10.0, 40.0, 30.0), (50.0, 30.0, 70.0, 50.0)


def test_toolkit_primary():
    primary, row = visdrone_toolkit.primary, visdrone_toolkit.row
    both = toolkit_target(CAR, OTHER)
    assert primary(row(both, Answer(boxes_xyxy=(CAR, OTHER), labels=("car", "car")))) == 1
    assert primary(row(both, Answer(boxes_xyxy=(CAR,), labels=("car",)))) == pytest.approx(2 / 3)
    assert primary(row(both, Answer(boxes_xyxy=(CAR, OTHER)))) == 0, "boxes without labels are of no class"
    assert primary(row(both, Answer(boxes_xyxy=(CAR, OTHER, OTHER), labels=("car", "car", "van")))) == 0.8
    assert primary(row(both, Answer(boxes_xyxy=(CAR, OTHER, OTHER), labels=("car", "car", "others")))) == 0.8
    assert primary(row(both, Answer(no_target=True, boxes_xyxy=(CAR,)))) == 0
    assert primary(row(both, None)) == 0
    crowd = toolkit_target(CAR, OTHER, crowd=(True, False))
    assert primary(row(crowd, Answer(boxes_xyxy=(CAR, CAR, OTHER), labels=("car",) * 3))) == 1, "ignored on both sides"
    assert primary(row(toolkit_target(), Answer())) == 1
    assert primary(row(toolkit_target(), None)) == 0


def test_toolkit_regions_take_away_objects_and_boxes():
    target = toolkit_target(CAR, OTHER, ignore_boxes_xyxy=((0.0, 0.0, 45.0, 60.0),))
    row = visdrone_toolkit.row(target, Answer(boxes_xyxy=(CAR, OTHER), labels=("car", "car")))
    assert row["truths"] == [1] and len(row["scores"][0]) == 1 and visdrone_toolkit.primary(row) == 1


def test_score_keys_order_as_scores_do():
    scores = [-2.5, -1.0, -1e-300, 0.0, 1e-300, 0.1, 0.1 + 1e-19, 0.5, 1.0, 3e7]
    keys = [score_key(s) for s in scores]
    assert keys == sorted(keys) and keys[5] == keys[6] and score_key(-0.0) == score_key(0.0)
    assert len(set(keys)) == len(set(scores))
