"""The inputs of golden files through our own scorers, by the ``scorer`` a file names.

Every function takes a case's ``input`` and returns what stands under ``expected``, without ``printed``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visenv.tasks import rasters
from visenv.tasks.profiles import (
    PROFILES,
    blink,
    dense200_rexomni,
    gres_native,
    reasonseg_mirror,
    rec8k_official,
    refcoco_masks,
    visdrone_toolkit,
)
from visenv.tasks.replies import MuirBenchParser, blink_choice, muirbench_choice

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask, read_size
from visenv.task import Row

__all__ = ["SCORERS", "Scorer"]

Input = Mapping[str, Any]
Got = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """How the cases of one kind of golden file are run."""

    profile: str
    """The profile it belongs to, and which part of it for files that are about a part."""
    run: Callable[[Input], Got]


def reasonseg_lisa(given: Input) -> Got:
    """Target, ignored pixels and prediction to gIoU, cIoU, and intersection and union of each sample."""
    profile = PROFILES["reasonseg/lisa"]
    rows = [
        profile.row(_reasonseg_target(s), Answer(masks=(Mask.from_json(s["prediction"]),))) for s in given["samples"]
    ]
    return {**profile.aggregate(rows), "per_sample": [[r["inter"], r["union"]] for r in rows]}


def reasonseg_lisa_raster(given: Input) -> Got:
    """An annotation file to target and ignored pixels."""
    if "file_base64" in given:
        held = base64.b64decode(given["file_base64"], validate=True)
        try:
            annotation = json.loads(held.decode("utf-8"))
        except UnicodeDecodeError:
            annotation = json.loads(held.decode("cp1252"))
    else:
        annotation = given["annotation"]
    target, ignore = rasters.lisa_masks(annotation["shapes"], read_size(given["size"]))
    texts = {"text": annotation["text"], "is_sentence": annotation["is_sentence"]}
    return {"target": target.to_json(), "ignore": ignore.to_json(), **texts}


def reasonseg_segzero(given: Input) -> Got:
    """Any failure scores 0; samples without a single pixel are dropped."""
    return _mirror(given, "reasonseg/segzero", drops=True)


def reasonseg_segzero_multi(given: Input) -> Got:
    """An unreadable reply scores 0; samples whose segmenter failed or that have no pixel are dropped."""
    return _mirror(given, "reasonseg/segzero-multi", drops=True, boxes=True, drops_segmenter=True)


def reasonseg_visionreasoner(given: Input) -> Got:
    """Any failure scores 0; nothing is dropped."""
    got = _mirror(given, "reasonseg/visionreasoner", boxes=True)
    if got["box_accuracy"] is None:
        del got["box_accuracy"]
    return got


def gres_rela(given: Input) -> Got:
    """One block of metrics for each source, and one over all if there are two."""
    rows: list[Row] = []
    for sample in given["samples"]:
        answer = Answer(no_target=sample["declared_no_target"], masks=(Mask.from_json(sample["prediction"]),))
        row = gres_native.row(_masked(Mask.from_json(sample["target"])), answer)
        if sample["no_target"]:  # a flag of its own: a mask that is there all the same enters the union
            row |= {"gt_empty": True, "inter": 0, "union": 0 if answer.no_target else row["union"]}
        rows.append(row)
    sources = [sample["source"] for sample in given["samples"]]
    blocks = list(dict.fromkeys(sources))
    results: Got = {}
    for block in [*blocks, "full"] if len(blocks) > 1 else blocks:
        chosen = [r for r, source in zip(rows, sources, strict=True) if block in (source, "full")]
        results[block] = dict(gres_native.aggregate(chosen))
    for name in ("T_acc", "N_acc"):  # the official code has none over both sources together
        results.get("full", {}).pop(name, None)
    per_sample = [[r["inter"], r["union"], gres_native.primary(r)] for r in rows]
    return {"results": results, "per_sample": per_sample}


def gres_rela_raster(given: Input) -> Got:
    """Polygons of several objects to the target at 480 x 480 and at the picture's own size."""
    size_hw, instances = read_size(given["size"]), given["instances"]
    native = [rasters.coco_mask(polygons, size_hw)[0] for polygons in instances]
    return {
        "mask_480": rasters.coco_mask_at(instances, size_hw).to_json(),
        "mask_native": _masked(Mask.empty(size_hw), masks=tuple(native)).union.to_json(),
        "no_target": not instances,
    }


def refcoco_lavt(given: Input) -> Got:
    """Masks, already at the size they are scored at, to percentages."""
    rows = []
    for sample in given["samples"]:
        truth = Mask.from_json(sample["target"])
        rows.append(refcoco_masks.row(_masked(truth), Answer(masks=(Mask.from_json(sample["prediction"]),))))
    return {**refcoco_masks.aggregate(rows), "per_sample": [[r["inter"], r["union"]] for r in rows]}


def refcoco_lavt_raster(given: Input) -> Got:
    """Polygons of one object to the target, pixels that parts share being background, native and at 480 x 480."""
    covered, overlap = rasters.coco_mask(given["segmentation"], read_size(given["size"]))
    target = covered.minus(overlap)
    return {
        "mask_480": rasters.nearest(target).to_json(),
        "mask_native": target.to_json(),
        "pixels_covered_more_than_once": overlap.area_px,
    }


def grec(given: Input) -> Got:
    """Boxes with scores to shares, and the F1 of each sample."""
    profile = PROFILES["grec/mdetr"]
    rows = []
    for sample in given["samples"]:
        truth = () if sample["no_target"] else _boxes(sample["gt_boxes"])
        target = Target(kind=AnswerKind.BOXES, size_hw=(1, 1), boxes_xyxy=truth)
        boxes, scores = _boxes(sample["pred_boxes"]), tuple(map(float, sample["scores"]))
        if len(boxes) != len(scores):
            raise ValueError(f"{len(scores)} scores for {len(boxes)} boxes")
        answer = Answer(boxes_xyxy=boxes, scores=scores)
        rows.append(profile.row(target, answer))
    return {**profile.aggregate(rows), "per_sample": [profile.primary(r) for r in rows]}


def dense200(given: Input) -> Got:
    """Boxes by category, in order, to means over images."""
    rows = [dense200_rexomni.row_from_dicts(s["gt"], s["pred"]) for s in given["samples"]]
    return {
        **dense200_rexomni.aggregate(rows),
        "by_threshold": [list(line) for line in dense200_rexomni.by_threshold(rows)],
        "per_sample_at_0_5": [[*dense200_rexomni.precision_recall(r, 0), r["n_gt"], r["n_pred"]] for r in rows],
    }


def rec8k(given: Input) -> Got:
    """Boxes and points to counting errors and sums of pairs."""
    rows = []
    for sample in given["samples"]:
        points = tuple((float(x), float(y)) for x, y in sample["gt_points"])
        target = Target(kind=AnswerKind.COUNT, size_hw=read_size(sample["size"]), points_xy=points)
        rows.append(rec8k_official.row(target, Answer(boxes_xyxy=_boxes(sample["pred_boxes"]))))
    errors = rec8k_official.aggregate(rows)
    return {
        "MAE": errors["MAE"],
        "RMSE": errors["RMSE"],
        **rec8k_official.localisation(rows),
        "per_sample": [[r["pred"], max(1, r["truth"]), r["tp"], r["fp"], r["fn"]] for r in rows],
    }


def visdrone(given: Input) -> Got:
    """Rows of annotation and result files to percentages, equal scores ranked by the order of the images."""
    names = dict(enumerate(visdrone_toolkit.CLASSES, 1))
    rows = []
    for image in given["images"]:
        regions = [r for r in image["annotations"] if r[5] == 0]
        objects = [r for r in image["annotations"] if r[5] != 0]
        target = Target(
            kind=AnswerKind.BOXES, size_hw=read_size(image["size"]), boxes_xyxy=_corners(objects),
            labels=tuple(names.get(r[5], "others") for r in objects), crowd=tuple(r[4] == 0 for r in objects),
            ignore_boxes_xyxy=_corners(regions),
        )  # fmt: skip
        detections = image["detections"]
        answer = Answer(
            boxes_xyxy=_corners(detections), labels=tuple(names.get(r[5], "others") for r in detections),
            scores=tuple(float(r[4]) for r in detections),
        )  # fmt: skip
        rows.append(visdrone_toolkit.row(target, answer))
    return dict(visdrone_toolkit.aggregate_in_order(rows))


def muirbench(given: Input) -> Got:
    """One reply to a letter or nothing; a sequence of replies to letters, guessed ones among them."""
    if "items" in given:
        parse = MuirBenchParser(fallback="random")
        found = [parse(item["reply"], item["options"], item.get("letters")) for item in given["items"]]
        return {"choices": [choice for choice, _ in found], "by_chance": [chance for _, chance in found]}
    choice = muirbench_choice(given["reply"], given["options"], given.get("letters"))
    return {"choice": choice, "by_chance": choice is None}


def blink_(given: Input) -> Got:
    """One reply to ``(X)`` or nothing; predictions of questions to accuracies by task."""
    if "reply" in given:
        prediction = blink_choice(given["reply"], given["n_choices"])
        return {"prediction": prediction, "needs_language_model": prediction is None}
    rows = []
    for question, right in given["answers"].items():
        task = question.split("_", 1)[1].rsplit("_", 1)[0]
        target = Target(kind=AnswerKind.CHOICE, size_hw=(1, 1), labels=(task,), choice=right.strip("()"))
        said = given["predictions"].get(question)
        exact = isinstance(said, str) and said == blink_choice(said, 5)  # anything but "(X)" is a wrong string
        rows.append(blink.row(target, Answer(choice=said) if exact else None))
    metrics = blink.aggregate(rows)
    by_task = {name: metrics[name] for name in blink.TASKS if metrics[name] is not None}
    return {"accuracy_by_task": by_task, "Total": metrics["Total"]}


def _mirror(given: Input, name: str, *, drops: bool = False, boxes: bool = False, drops_segmenter: bool = False) -> Got:
    """Score samples with failures; ``kept`` lists those that enter the means."""
    profile = PROFILES[name]
    rows: dict[int, Row] = {}
    for index, sample in enumerate(given["samples"]):
        if drops_segmenter and sample["failure"] == "segmenter":
            continue
        answer = Answer(masks=(Mask.from_json(sample["prediction"]),), boxes_xyxy=_boxes(sample.get("boxes", ())))
        rows[index] = profile.row(_reasonseg_target(sample), None if sample["failure"] else answer)
    kept = {i: r for i, r in rows.items() if r["union"] or r["failed"] or not drops}
    got: Got = {
        **profile.aggregate(list(rows.values())),
        "kept": [[i, r["inter"], r["union"]] for i, r in kept.items()],
    }
    if boxes and any("gt_box" in s for s in given["samples"]):
        got["box_hits"] = [int(r["hit"]) for r in kept.values()]
    if name == reasonseg_mirror.SEGZERO_MULTI.name:
        del got["box_accuracy"]
    return got


def _reasonseg_target(sample: Input) -> Target:
    truth = Mask.from_json(sample["target"])
    boxes = _boxes([sample["gt_box"]]) if "gt_box" in sample else ()
    return Target(
        kind=AnswerKind.MASK,
        size_hw=truth.size_hw,
        masks=(truth,),
        ignore=Mask.from_json(sample["ignore"]),
        boxes_xyxy=boxes,
    )


def _masked(truth: Mask, masks: tuple[Mask, ...] | None = None) -> Target:
    return Target(kind=AnswerKind.MASK, size_hw=truth.size_hw, masks=(truth,) if masks is None else masks)


def _boxes(values: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in values)


def _corners(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float, float], ...]:
    """Return the boxes of rows that begin with left, top, width and height."""
    return tuple((float(r[0]), float(r[1]), float(r[0] + r[2]), float(r[1] + r[3])) for r in rows)


SCORERS: dict[str, Scorer] = {
    "blink": Scorer(profile="blink/official", run=blink_),
    "dense200_rexomni": Scorer(profile="dense200/rexomni", run=dense200),
    "grec": Scorer(profile="grec/mdetr", run=grec),
    "gres_rela": Scorer(profile="gres/rela", run=gres_rela),
    "gres_rela_raster": Scorer(profile="gres/rela, targets", run=gres_rela_raster),
    "muirbench": Scorer(profile="muirbench/official", run=muirbench),
    "reasonseg_lisa": Scorer(profile="reasonseg/lisa", run=reasonseg_lisa),
    "reasonseg_lisa_raster": Scorer(profile="reasonseg/lisa, targets", run=reasonseg_lisa_raster),
    "reasonseg_segzero": Scorer(profile="reasonseg/segzero", run=reasonseg_segzero),
    "reasonseg_segzero_multi": Scorer(profile="reasonseg/segzero-multi", run=reasonseg_segzero_multi),
    "reasonseg_visionreasoner": Scorer(profile="reasonseg/visionreasoner", run=reasonseg_visionreasoner),
    "rec8k": Scorer(profile="rec8k/official", run=rec8k),
    "refcoco_lavt": Scorer(profile="refcoco/lavt480", run=refcoco_lavt),
    "refcoco_lavt_raster": Scorer(profile="refcoco/lavt480, targets", run=refcoco_lavt_raster),
    "visdrone_toolkit": Scorer(profile="visdrone/toolkit", run=visdrone),
}
"""Every kind of golden file that can be run."""
