"""`visenv score`: files of targets and predictions, shorthands, and lines that are refused."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard.scoring import BATCH, score_file, target_from_json
from visenv.leaderboard.scoring_forms import form_of
from visenv.tasks.profiles import PROFILES
from visenv.tasks.profiles.visdrone_toolkit import CLASSES

from visenv.answers import Answer, AnswerKind, Target
from visenv.cli import main
from visenv.errors import BadValueError
from visenv.masks import Mask

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SIZE = (40, 50)
ONE, TWO = Mask.from_box((5, 5, 25, 25), SIZE), Mask.from_box((15, 5, 35, 25), SIZE)
BOX = [5.0, 5.0, 25.0, 25.0]


def written(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def record(target: object, prediction: object, name: str = "a") -> dict:
    return {"id": name, "target": target, "prediction": prediction}


def test_command(capsys, tmp_path):
    path = written(tmp_path, record({"mask": ONE.to_json()}, {"mask": TWO.to_json()}))
    with pytest.raises(SystemExit) as end:
        main(["score", "refcoco/native", str(path)])
    told = json.loads(capsys.readouterr().out)
    assert not end.value.code and told["profile"] == "refcoco/native" and told["n"] == 1
    assert told["source"] == PROFILES["refcoco/native"].source and told["metrics"]["oIoU"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("words", "code"), [(["refcoco/nativ", "x"], 2), (["refcoco/native", "none.jsonl"], 2), (["x"], 2)]
)
def test_usage(capsys, words, code):
    with pytest.raises(SystemExit) as end:
        main(["score", *words])
    assert end.value.code == code and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "target", "prediction", "metric", "value"),
    [
        ("reasonseg/lisa", {"mask": ONE.to_json(), "ignore": None}, {"mask": ONE.to_json()}, "cIoU", 1),
        ("gres/native", {"no_target": True, "size_hw": [40, 50]}, {"no_target": True}, "gIoU", 100),
        ("gres/native", {"no_target": True, "size_hw": [40, 50]}, {}, "gIoU", 0),
        ("gres/native", {"mask": ONE.to_json()}, None, "gIoU", 0),
        ("refcoco/box", {"box_xyxy": BOX}, {"box_xyxy": BOX}, "Acc@0.5", 1),
        ("grec/mdetr", {"box_xyxy": BOX}, {"box_xyxy": BOX, "score": 0.5}, "F1_score", 0),
        ("grec/mdetr", {"boxes_xyxy": []}, {"box_xyxy": BOX, "score": 0.5}, "N_acc", 1),
        ("grec/mdetr", {"no_target": True}, {}, "N_acc", 1),
        ("grec/mdetr", {"no_target": True}, {"boxes_xyxy": []}, "N_acc", 1),
        ("grec/mdetr", {"no_target": True}, {"box_xyxy": BOX}, "N_acc", 0),
        ("gres/native", {"no_target": True, "size_hw": [40, 50]}, None, "gIoU", 0),
        ("gres/native", {"no_target": True, "size_hw": [40, 50]}, {"mask": ONE.to_json()}, "gIoU", 0),
        ("refcoco/box", {"box_xyxy": BOX}, {"mask": ONE.to_json()}, "Acc@0.5", 1),
        ("grec/mdetr", {"box_xyxy": BOX}, {"box_xyxy": BOX[::-1]}, "F1_score", 0),
        ("grec/iou", {"box_xyxy": BOX}, {"box_xyxy": BOX[::-1]}, "T_acc", 1),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"box_xyxy": BOX[::-1]}, "F1", 0),
        (
            "rec8k/official",
            {"points_xy": [[15, 15]], "size_hw": [40, 50]},
            {"boxes_xyxy": [BOX, BOX[::-1]]},
            "precision",
            0.5,
        ),
        ("rec8k/official", {"points_xy": [], "size_hw": [40, 50]}, {"boxes_xyxy": []}, "F1", 0),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"count": 1, "box_xyxy": BOX}, "F1", 1),
        ("dense200/rexomni", {"box_xyxy": BOX, "label": "a"}, {"box_xyxy": BOX, "label": "A"}, "F1_mean", 1),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"box_xyxy": BOX}, "F1", 1),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, 3, "MAE", 2),
        (
            "visdrone/toolkit",
            {"box_xyxy": BOX, "label": "car", "size_hw": [40, 50]},
            {"box_xyxy": BOX, "label": "car"},
            "AP",
            100,
        ),
        ("coco/ap", {"kind": "boxes", "box_xyxy": BOX, "label": "car"}, {"box_xyxy": BOX, "label": "car"}, "AP", 1),
        ("coco/ap", {"box_xyxy": BOX, "label": "car"}, {"box_xyxy": BOX, "label": "car"}, "AP", 1),
        ("coco/ap", {"mask": ONE.to_json(), "label": "car"}, {"mask": ONE.to_json(), "label": "car"}, "AP50", 1),
        ("coco/ap", {"mask": ONE.to_json(), "label": "car"}, {"mask": ONE.to_json(), "label": "bus"}, "AP50", 0),
        (
            "coco/ap",
            {"masks": [ONE.to_json(), TWO.to_json()], "labels": ["car"] * 2, "crowd": [False, True]},
            {"mask": ONE.to_json(), "label": "car", "score": 0.9},
            "AP",
            1,
        ),
        ("blink/official", {"choice": "B", "group": "Jigsaw"}, "So (B)", "Jigsaw", 1),
        ("muirbench/official", {"choice": "B", "options": ["a", "b"]}, "B.", "accuracy", 1),
        ("vstar/likelihood", {"choice": "B", "group": "relative_position"}, {"losses": [2.5, 1.25, 3]}, "accuracy", 1),
        ("vstar/likelihood", {"choice": "B"}, None, "accuracy", 0),
        ("multiqa/accuracy", {"choice": "B"}, {"choice": "(b)"}, "accuracy", 1),
    ],
)
def test_shorthands(tmp_path, profile, target, prediction, metric, value):
    told = score_file(profile, written(tmp_path, record(target, prediction)))
    assert told["metrics"][metric] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("name", ["reasonseg_lisa", "refcoco_lavt"])
def test_a_file_gives_the_golden_numbers(tmp_path, name):
    profile = {"reasonseg_lisa": "reasonseg/lisa", "refcoco_lavt": "refcoco/native"}[name]
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    for case in data["cases"]:
        records = [
            record({"mask": s["target"], "ignore": s.get("ignore")}, {"mask": s["prediction"]}, str(i))
            for i, s in enumerate(case["input"]["samples"])
        ]
        told = score_file(profile, written(tmp_path, *records))
        for key, value in told["metrics"].items():
            assert value == pytest.approx(case["expected"][key], abs=data["tolerance"]["absolute"]), (case["name"], key)


def test_the_json_of_targets_and_answers(tmp_path):
    target = Target(
        kind=AnswerKind.MASK, size_hw=SIZE, masks=(ONE,), boxes_xyxy=(tuple(BOX),), labels=("cat",), crowd=(True,)
    )
    data = {"kind": "mask", "size_hw": [40, 50], "masks": [ONE.to_json()], "boxes_xyxy": [BOX], "labels": ["cat"], "crowd": [True]}  # fmt: skip
    assert target_from_json(data, form_of("gres/native")) == target
    answer = Answer(masks=(ONE,), boxes_xyxy=(tuple(BOX),))
    told = score_file("gres/native", written(tmp_path, record(data, answer.to_json())))
    assert told["metrics"]["gIoU"] == 100


GOOD = record({"mask": ONE.to_json()}, {"mask": ONE.to_json()})
MASK = ONE.to_json()


@pytest.mark.parametrize(
    "line",
    ["{", "3", "[]", '{"id": "a"}', "NaN", "[" * 100_000, '{"id": "a", "id": "b", "target": {}, "prediction": null}',
     json.dumps({**GOOD, "id": 3}), json.dumps({**GOOD, "more": 1}), json.dumps({**GOOD, "target": None}),
     *(json.dumps({**GOOD, "target": t}) for t in (
         {}, {"mask": 3}, {"masks": [MASK], "mask": MASK}, {"mask": MASK, "more": 1}, {"mask": {**MASK, "counts": "zz"}},
         {"mask": MASK, "size_hw": [9, 9]}, {"mask": MASK, "no_target": True}, {"no_target": "yes", "size_hw": [9, 9]},
         {"mask": MASK, "boxes_xyxy": [BOX], "labels": ["a", "b"]}, {"mask": MASK, "boxes_xyxy": [[1, 2, 3]]},
         {"mask": MASK, "boxes_xyxy": 3}, {"mask": MASK, "kind": "maks"}, {"mask": MASK, "crowd": [True, False]},
         {"mask": MASK, "kind": "boxes"}, {"mask": MASK, "crowd": ["false"]}, {"mask": MASK, "labels": "a"},
         {"mask": MASK, "boxes_xyxy": [BOX[::-1]]}, {"mask": MASK, "boxes_xyxy": [[0, 0, 1e10, 1]]}, {"masks": 3}, {"masks": MASK},
         {"mask": MASK, "ignore": {"size": [9, 9], "counts": "a2"}}, {"mask": MASK, "boxes_xyxy": [[True, 2, 3, 4]]},
         {"no_target": True}, {"masks": []}, {"masks": [], "size_hw": [9, 9]}, {"mask": MASK, "choice": 3},
         {"no_target": True, "size_hw": [10**9, 10**9]}, {"no_target": True, "size_hw": [9, True]},
         {"mask": {"size": [1, 1], "counts": "9" * 9}})),
     *(json.dumps({**GOOD, "prediction": p}) for p in (
         [], 1.5, True, {"mask": {"size": [9, 9], "counts": "a2"}}, {"no_target": 1}, {"losses": [1, 2]}, {"more": 1},
         {"mask": MASK, "boxes_xyxy": [[1, 2, 3, "x"]]}, {"mask": MASK, "boxes_xyxy": [["5", "5", "25", "25"]]},
         {"mask": MASK, "scores": [1, 2]}, {"mask": MASK, "scores": ["0.9"]}, {"mask": MASK, "labels": [1]}, {"mask": MASK, "label": 1},
         {"mask": MASK, "labels": "a"}, {"mask": MASK, "count": "3"}, {"mask": MASK, "count": -7}, {"mask": MASK, "count": 10**400},
         {"mask": MASK, "count": 10**6}, {"mask": MASK, "choice": 3}, {"mask": MASK, "box_xyxy": [0, 0, 1e10, 1]}, {"masks": MASK},
         {"mask": MASK, "points_xy": [[1, "2"]]}, {"mask": MASK, "no_target": 0}, {"mask": MASK, "masks": []}, "A", 3,
         {"mask": {"size": [4000, 5000], "counts": "PXYh0"}}))],
)  # fmt: skip
def test_lines_that_are_refused(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**GOOD, "id": "first"}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(BadValueError, match=r"line 2 of a\.jsonl"):
        score_file("gres/native", path)


@pytest.mark.parametrize(
    "prediction", ["B", {"losses": []}, {"losses": [1, None]}, {"losses": [1], "choice": "A"}, {"losses": ["1"]}]
)
def test_likelihoods_are_losses_and_nothing_else(tmp_path, prediction):
    with pytest.raises(BadValueError, match="line 1"):
        score_file("vstar/likelihood", written(tmp_path, record({"choice": "A"}, prediction)))


def test_one_line_for_each_sample(tmp_path):
    with pytest.raises(BadValueError, match="line 2"):
        score_file("gres/native", written(tmp_path, GOOD, GOOD))


SAMPLES = {
    "masks": ({"mask": MASK}, {"mask": MASK}),
    "boxes": ({"box_xyxy": BOX, "label": "car", "size_hw": [40, 50]}, {"box_xyxy": BOX, "label": "car"}),
    "points": ({"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"box_xyxy": BOX}),
    "letters": ({"choice": "B", "group": "Jigsaw"}, "B"),
    "losses": ({"choice": "B"}, {"losses": [2.0, 1.0]}),
}
"""A line of each kind."""
FITS = {
    "blink/micro": ["letters"], "blink/official": ["letters"], "coco/ap": ["masks", "boxes"], "dense200/rexomni": ["boxes"],
    "dense200/visharness": ["boxes"], "grec/iou": ["boxes"], "grec/mdetr": ["boxes"], "gres/gsva": ["masks"],
    "gres/native": ["masks"], "gres/rela": ["masks"], "hrbench/letter": [], "muirbench/official": [],
    "multiqa/accuracy": ["letters"], "reasonseg/lisa": ["masks"], "reasonseg/segzero": ["masks"],
    "reasonseg/segzero-multi": ["masks"], "reasonseg/visionreasoner": ["masks"], "rec8k/official": ["boxes", "points"],
    "refcoco/box": ["masks", "boxes"], "refcoco/lavt480": ["masks"], "refcoco/native": ["masks"], "visdrone/coco": ["boxes"],
    "visdrone/rexf1": ["boxes"], "visdrone/toolkit": ["boxes"], "vstar/letter": [], "vstar/likelihood": ["losses"],
}  # fmt: skip
"""Which of them each profile takes; letters have BLINK's group, so that other profiles with groups do not."""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_file_for_another_profile_is_refused(tmp_path, profile):
    for kind, (target, prediction) in SAMPLES.items():
        if kind == "masks" and profile == "coco/ap":
            target, prediction = {**target, "label": "car"}, {**prediction, "label": "car"}
        path = written(tmp_path, record(target, prediction))
        if kind in FITS[profile]:
            told = score_file(profile, path)["metrics"]
            assert {value for name, value in told.items() if value is not None and "RMSE" not in name} != {0}
        else:
            with pytest.raises(BadValueError, match="line 1"):
                score_file(profile, path)


@pytest.mark.parametrize(
    ("profile", "kind"), [(profile, kind) for profile, kinds in FITS.items() for kind in kinds if kind not in ("letters", "losses")]
)  # fmt: skip
def test_a_prediction_for_another_profile_is_refused(tmp_path, profile, kind):
    """Nothing in it that the profile reads is no empty answer; that is said with {}."""
    target, _ = SAMPLES[kind]
    target = {**target, "label": "car"} if kind == "masks" and profile == "coco/ap" else target
    assert score_file(profile, written(tmp_path, record(target, {})))["n"] == 1
    for prediction in ("B", {"choice": "B"}, {"losses": [1, 2]}, *({"labels": ["car"]},) * (kind == "masks")):
        with pytest.raises(BadValueError, match="line 1"):
            score_file(profile, written(tmp_path, record(target, prediction)))
    if profile not in ("rec8k/official", "refcoco/box"):
        other = {"mask": MASK} if kind == "boxes" else {"box_xyxy": BOX}
        for prediction in (other, 3, {"count": 0}):
            with pytest.raises(BadValueError, match="this profile reads"):
                score_file(profile, written(tmp_path, record(target, prediction)))


CAR = {"box_xyxy": BOX, "label": "car"}


@pytest.mark.parametrize(
    ("profile", "target", "prediction", "word"),
    [
        ("rec8k/official", {"points_xy": [[15, 15]]}, {"box_xyxy": BOX}, "size_hw"),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"count": 2, "box_xyxy": BOX}, "one for each box"),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, -7, "100000"),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, 10**400, "integer"),
        ("gres/native", {"no_target": True, "size_hw": [40, 50]}, {"mask": {"size": [9, 9], "counts": "a2"}}, "size of the target"),
        ("gres/gsva", {"no_target": True, "size_hw": [9, 9]}, {"masks": [MASK, MASK]}, "size of the target"),
        ("refcoco/box", {"mask": MASK}, {"mask": {"size": [9, 9], "counts": "a2"}}, "size of the target"),
        ("visdrone/toolkit", CAR, CAR, "size_hw"),
        ("visdrone/toolkit", {**CAR, "label": "Car", "size_hw": [40, 50]}, CAR, "awning-tricycle"),
        ("visdrone/rexf1", {**CAR, "label": "others"}, CAR, "pedestrian"),
        ("visdrone/toolkit", {"box_xyxy": BOX, "size_hw": [40, 50]}, CAR, "one for each of 1"),
        ("visdrone/toolkit", {**CAR, "size_hw": [40, 50]}, {"box_xyxy": BOX}, "decide the number"),
        ("visdrone/coco", CAR, {"box_xyxy": BOX}, "decide the number"),
        ("dense200/rexomni", CAR, {"box_xyxy": BOX}, "decide the number"),
        ("dense200/rexomni", CAR, {"boxes_xyxy": [BOX] * 3, "labels": "car"}, "list of texts"),
        ("dense200/rexomni", {"box_xyxy": BOX}, CAR, "one for each of 1"),
        ("coco/ap", {"box_xyxy": BOX}, CAR, "one for each of 1"),
        ("coco/ap", {"masks": [MASK, MASK], "labels": ["a"] * 3}, {}, "one for each of 2"),
        ("coco/ap", {"masks": [MASK, MASK], "labels": ["a"] * 2, "box_xyxy": BOX}, {}, "one for each of 2"),
        ("coco/ap", {"masks": [MASK], "labels": ["a"]}, {"masks": [MASK, MASK], "box_xyxy": BOX, "label": "a"}, "2 objects"),
        ("coco/ap", {"masks": [MASK], "labels": ["a"]}, {"masks": [MASK, MASK], "labels": ["a"]}, "objects"),
        ("coco/ap", {"masks": [], "labels": []}, {}, "size_hw"),
        ("coco/ap", {"kind": "mask", "box_xyxy": BOX, "label": "a"}, {}, "masks"),
        ("blink/official", {"choice": "(B)", "group": "Jigsaw"}, "(B)", "capital letter"),
        ("blink/official", {"choice": "b", "group": "Jigsaw"}, "(B)", "capital letter"),
        ("blink/official", {"choice": "B", "group": "Jigsaw Puzzle"}, "(B)", "IQ_Test"),
        ("blink/official", {"choice": "B"}, "(B)", "group"),
        ("blink/micro", {"options": ["a", "b"]}, "(B)", "choice"),
        ("muirbench/official", {"choice": "C", "options": ["a", "b"]}, "C", "2 options"),
        ("muirbench/official", {"choice": "B", "group": "Count"}, "B", "Counting"),
        ("hrbench/letter", {"choice": "B", "group": "single"}, "B", "single/3"),
        ("hrbench/letter", {"choice": "B"}, "B", "cross/0"),
        ("vstar/letter", {"choice": "B", "group": "color"}, "B", "relative_position"),
        ("grec/mdetr", {"box_xyxy": [25, 25, 5, 5]}, {"box_xyxy": BOX}, "x1 <= x2"),
        ("grec/mdetr", {"box_xyxy": BOX, "labels": ["a", "b"]}, {"box_xyxy": BOX}, "one for each of 1"),
        ("grec/mdetr", {"no_target": False}, {"box_xyxy": BOX}, "boxes_xyxy"),
        ("grec/mdetr", {"no_target": True, "box_xyxy": BOX}, {"box_xyxy": BOX}, "no boxes|boxes and points"),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"count": 5, "point_xy": [1, 1]}, "one for each point"),
        ("rec8k/official", {"points_xy": [[15, 15]], "size_hw": [40, 50]}, {"count": 1, "no_target": True}, "beside"),
        ("rec8k/official", {"points_xy": [[1e300, 1]], "size_hw": [40, 50]}, {"box_xyxy": BOX}, "point of target"),
        ("rec8k/official", {"points_xy": [], "size_hw": [40, 50]}, {"point_xy": [0, -1e300]}, "point of prediction"),
        ("vstar/likelihood", {"choice": "A", "options": ["a", "b"]}, {"losses": [3, 2, 1]}, "2 options"),
        ("vstar/likelihood", {"choice": "D"}, {"losses": [3, 2, 1]}, "at least 4"),
        ("refcoco/box", {"boxes_xyxy": [BOX, BOX]}, {"box_xyxy": BOX}, "one object"),
        ("refcoco/box", {"boxes_xyxy": []}, {"box_xyxy": BOX}, "one object"),
        ("refcoco/box", {"box_xyxy": BOX}, {"masks": [MASK, {"size": [9, 9], "counts": "a2"}]}, "size of the first mask"),
        ("gres/rela", {"no_target": True, "size_hw": [1, 2**27]}, {}, "32768"),
        ("grec/iou", {"boxes_xyxy": [BOX] * 3000}, {"boxes_xyxy": [BOX] * 3000}, "pairs"),
    ],
)  # fmt: skip
def test_what_would_change_the_number_without_a_word_is_refused(tmp_path, profile, target, prediction, word):
    with pytest.raises(BadValueError, match=word):
        score_file(profile, written(tmp_path, record(target, prediction)))


@pytest.mark.parametrize("name", ["rec8k", "visdrone_toolkit", "grec", "dense200_rexomni"])
def test_files_of_boxes_give_the_golden_numbers(tmp_path, name):
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    profile = {"rec8k": "rec8k/official", "visdrone_toolkit": "visdrone/toolkit", "grec": "grec/mdetr"}.get(
        name, "dense200/rexomni"
    )
    scored = 0
    for case in data["cases"]:
        samples = [AS_RECORD[name](s) for s in case["input"].get("samples") or case["input"]["images"]]
        if any(sample is None for sample in samples):
            continue
        told = score_file(profile, written(tmp_path, *(record(*s, str(i)) for i, s in enumerate(samples))))
        scored += 1
        for key, value in told["metrics"].items():
            if key in case["expected"]:
                assert value == pytest.approx(case["expected"][key], abs=data["tolerance"]["absolute"]), (
                    case["name"],
                    key,
                )
    assert scored > len(data["cases"]) / 2


def drone_record(image):
    names = dict(enumerate(CLASSES, 1))
    regions, objects = ([r for r in image["annotations"] if (r[5] == 0) is of_region] for of_region in (True, False))

    def corners(rows):
        return [[r[0], r[1], r[0] + r[2], r[1] + r[3]] for r in rows]

    def labels(rows):
        return [names.get(r[5], "others") for r in rows]

    rows = image["detections"]
    if any(min(r[2:4]) < 0 for r in [*image["annotations"], *rows]):
        return None
    target = {"boxes_xyxy": corners(objects), "labels": labels(objects), "crowd": [r[4] == 0 for r in objects],
              "ignore_boxes_xyxy": corners(regions), "size_hw": image["size"]}  # fmt: skip
    return target, {"boxes_xyxy": corners(rows), "labels": labels(rows), "scores": [r[4] for r in rows]}


def dense_record(sample):
    if not all([*sample["gt"].values(), *sample["pred"].values()]):
        return None  # a category without boxes cannot be said
    flat = [[(box, name) for name, boxes in sample[side].items() for box in boxes] for side in ("gt", "pred")]
    return [{"boxes_xyxy": [b for b, _ in side], "labels": [n for _, n in side]} for side in flat]


AS_RECORD = {
    "rec8k": lambda s: ({"points_xy": s["gt_points"], "size_hw": s["size"]}, {"boxes_xyxy": s["pred_boxes"]}),
    "visdrone_toolkit": drone_record,
    "grec": lambda s: ({"boxes_xyxy": s["gt_boxes"]}, {"boxes_xyxy": s["pred_boxes"], "scores": s["scores"]}),
    "dense200_rexomni": dense_record,
}


@pytest.mark.parametrize("profile", ["visdrone/toolkit", "coco/ap", "visdrone/coco"])
def test_of_equal_scores_the_line_that_comes_first_counts(tmp_path, profile):
    car = {**CAR, "size_hw": [40, 50]}
    right, wrong = {**CAR, "score": 0.5}, {"box_xyxy": [30, 30, 40, 40], "label": "car", "score": 0.5}
    told = [
        score_file(profile, written(tmp_path, *(record(car, p, str(i)) for i, p in enumerate(pair))))["metrics"]["AP"]
        for pair in ((right, wrong), (wrong, right))
    ]
    assert told[0] == pytest.approx(2 * told[1], rel=1e-6) and told[1] > 0


@pytest.mark.parametrize("profile", ["grec/mdetr", "coco/ap", "visdrone/coco", "visdrone/toolkit"])
def test_scores_are_in_every_line_or_in_none(tmp_path, profile):
    """A box without one would rank before all others."""
    car = {**CAR, "size_hw": [40, 50]}
    with_score = record(car, {**CAR, "score": 0.8}, "scored")
    nothing = [record(car, prediction, str(i)) for i, prediction in enumerate([None, {}, {"no_target": True}])]
    assert score_file(profile, written(tmp_path, with_score, *nothing))["n"] == 4
    assert score_file(profile, written(tmp_path, record(car, CAR), *nothing))["n"] == 4
    with pytest.raises(BadValueError, match=r"line 5.*'scored' has them, 'plain' has not"):
        score_file(profile, written(tmp_path, *nothing, record(car, CAR, "plain"), with_score))


def test_lines_of_several_batches(tmp_path):
    """Masks are read many lines at a time; what is wrong with one is said of its own line, the first of them."""
    noise = Mask.from_dense(np.random.default_rng(0).random(SIZE) < 0.5).to_json()
    good = [record({"mask": noise}, {"masks": [noise, MASK]}, str(i)) for i in range(200)]
    path = written(tmp_path, *good)
    assert path.stat().st_size > 4 * BATCH
    assert score_file("refcoco/native", path)["n"] == 200
    for number, line in (
        (150, {**good[0], "id": "x", "target": {"mask": {**MASK, "counts": "zz"}}}),
        (120, {"id": "y"}),
    ):
        good[number] = line
        with pytest.raises(BadValueError, match=f"line {number + 1} of"):
            score_file("refcoco/native", written(tmp_path, *good))


@pytest.mark.parametrize("size", [(2**27, 1), (1, 2**15 + 1)])
def test_a_mask_thinner_than_any_picture_is_refused(tmp_path, size):
    code = Mask.from_box((0, 0, 1, 1), size).to_json()
    with pytest.raises(BadValueError, match="32768"):
        score_file("gres/rela", written(tmp_path, record({"mask": code}, {"mask": code})))


def test_many_boxes_on_top_of_one_another_take_no_minute(tmp_path):
    """As many comparisons as are allowed, all of them pairs."""
    boxes = {"boxes_xyxy": [BOX] * 2**11}
    start = time.process_time()
    assert score_file("grec/iou", written(tmp_path, record(boxes, boxes)))["metrics"]["F1_score"] == 1
    assert time.process_time() - start < 20


def test_a_file_without_lines_has_no_numbers(tmp_path):
    for text in ("", "\n\n"):
        (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
        with pytest.raises(BadValueError, match="has none"):
            score_file("gres/native", tmp_path / "a.jsonl")


def test_not_utf_8(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadValueError, match="UTF-8"):
        score_file("gres/native", path)


def test_memory_does_not_grow_with_the_masks(tmp_path):
    noise = Mask.from_dense(np.random.default_rng(0).random((150, 150)) < 0.5).to_json()
    path = tmp_path / "big.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(300):
            file.write(json.dumps(record({"mask": noise}, {"mask": noise}, str(number))) + "\n")
    tracemalloc.start()
    told = score_file("refcoco/native", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told["metrics"]["mIoU"] == 100 and told["n"] == 300
    assert peak < path.stat().st_size / 5
