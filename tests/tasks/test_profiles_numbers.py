"""Numbers worked out by hand, where a wrong epsilon, limit, threshold or order would show."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from visenv.leaderboard.golden_cases import SCORERS
from visenv.tasks.profiles import PROFILES, coco_ap, dense200_rexomni, rec8k_official
from visenv.tasks.profiles._detections import best_pairs

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SIZE = (40, 60)


def of_boxes(*boxes, labels=(), size_hw=SIZE, **more):
    return Target(kind=AnswerKind.BOXES, size_hw=size_hw, boxes_xyxy=boxes, labels=labels, **more)


def metrics(name, *pairs):
    profile = PROFILES[name]
    return profile.aggregate([json.loads(json.dumps(profile.row(*pair))) for pair in pairs])


def masked(*boxes):
    return Target(kind=AnswerKind.MASK, size_hw=SIZE, masks=tuple(Mask.from_box(b, SIZE) for b in boxes))


def marks(*boxes, **more):
    return Answer(masks=tuple(Mask.from_box(b, SIZE) for b in boxes), **more)


def test_visharness_adds_a_millionth_to_the_union():
    half = (0.0, 0.0, 2.0, 1.0), (0.0, 0.0, 1.0, 1.0)
    found = metrics(
        "dense200/visharness", (of_boxes(half[0], labels=("a",)), Answer(boxes_xyxy=half[1:], labels=("a",)))
    )
    assert found["F1@0.5"] == 0, "1 / 2.000001 is below one half"


def test_visharness_means():
    """Category a: found at 0.6 only up to that threshold, and one box too many; category b: perfect; c: asked for in vain."""
    ten, six = (0.0, 0.0, 10.0, 1.0), (0.0, 0.0, 6.2, 1.0)
    target = of_boxes(ten, ten, ten, labels=("a", "b", "c"))
    answer = Answer(boxes_xyxy=(six, (20.0, 0.0, 30.0, 1.0), ten, ten), labels=("a", "a", "b", "d"))
    found = metrics("dense200/visharness", (target, answer))
    low, high = (0.5 + 1 + 0) / 3, (1 + 1 + 0) / 3  # precision and recall while a is found: at 0.5, 0.55 and 0.6
    assert found["P@0.5"] == pytest.approx(low, abs=1e-12) and found["R@0.5"] == pytest.approx(high, abs=1e-12)
    assert found["F1@0.5"] == pytest.approx(2 * low * high / (low + high), abs=1e-12)
    assert found["P@0.95"] == found["R@0.95"] == found["F1@0.95"] == pytest.approx(1 / 3, abs=1e-12)
    mean_p, mean_r = (3 * low + 7 / 3) / 10, (3 * high + 7 / 3) / 10
    assert found["P_mean"] == pytest.approx(mean_p, abs=1e-12) and found["R_mean"] == pytest.approx(mean_r, abs=1e-12)
    assert found["F1_mean"] == pytest.approx(2 * mean_p * mean_r / (mean_p + mean_r), abs=1e-12)


def test_gsva_epsilons_and_what_enters_the_sums():
    part = masked((0, 0, 4, 1)), marks((0, 0, 2, 1))  # 2 of 4
    told = metrics("gres/gsva", part)
    assert told["gIoU"] == pytest.approx(2 / (4 + 1e-8) / (1 + 1e-5), abs=1e-14)
    assert told["cIoU"] == pytest.approx(2 / (4 + 1e-10), abs=1e-12)
    absent = Target(kind=AnswerKind.MASK, size_hw=SIZE)
    told = metrics("gres/gsva", part, (absent, marks((0, 0, 9, 9), no_target=True)))
    assert told["cIoU"] == pytest.approx(2 / 4, abs=1e-9), 'what a declared "no target" marks does not enter the union'
    assert told["gIoU"] == pytest.approx((2 / 4 + 1) / (2 + 1e-5), abs=1e-8) and told["N_acc"] == 1
    told = metrics("gres/gsva", part, (absent, marks((0, 0, 2, 3))))
    assert told["cIoU"] == pytest.approx(2 / (4 + 6), abs=1e-9) and told["N_acc"] == 0
    told = metrics("gres/gsva", part, (part[0], None))
    assert told["T_acc"] == 0.5, "what was not answered was not kept"
    assert told["cIoU"] == pytest.approx(2 / 8, abs=1e-9)
    told = metrics("gres/gsva", (part[0], marks((0, 0, 2, 1), no_target=True)))
    assert told["T_acc"] == 0 and told["gIoU"] > 0.49, "the intersection of a declared target stays"


@pytest.mark.parametrize("name", ["gres/rela", "refcoco/lavt480"])
def test_masks_are_counted_at_480_x_480(name):
    rng = np.random.default_rng(1)
    for size in ((100, 90), (480, 640), (700, 333), (1, 1)):
        dense = [cv2.blur(rng.random(size).astype(np.float32), (9, 9)) > 0.5 for _ in range(2)]
        target = Target(kind=AnswerKind.MASK, size_hw=size, masks=(Mask.from_dense(dense[0]),))
        row = PROFILES[name].row(target, Answer(masks=(Mask.from_dense(dense[1]),)))
        small = [
            np.asarray(Pillow.fromarray(d.view(np.uint8)).resize((480, 480), Pillow.Resampling.NEAREST)) for d in dense
        ]
        assert (row["inter"], row["union"]) == ((small[0] & small[1]).sum(), (small[0] | small[1]).sum())


def padded(code):
    """Return a golden mask in the corner of a canvas of 480 x 480, where the profiles do not resize it."""
    return Mask.from_crop(Mask.from_json(code).to_dense(), (0, 0), (480, 480))


def cases(name):
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return [(case["input"]["samples"], case["expected"], data["tolerance"]["absolute"]) for case in data["cases"]]


def agree(got, expected, tolerance):
    assert all(value == pytest.approx(expected[key], abs=tolerance) for key, value in got.items())


def test_the_golden_file_of_rela_through_the_profile_of_that_name():
    row, aggregate = PROFILES["gres/rela"].row, PROFILES["gres/rela"].aggregate
    for samples, expected, tolerance in cases("gres_rela"):
        rows = [
            row(
                Target(
                    kind=AnswerKind.MASK, size_hw=(480, 480), masks=() if s["no_target"] else (padded(s["target"]),)
                ),
                Answer(no_target=s["declared_no_target"], masks=(padded(s["prediction"]),)),
            )
            for s in samples
            if not s["no_target"] or not Mask.from_json(s["target"]).area_px
        ]
        if len(rows) == len(samples) and len({s["source"] for s in samples}) == 1:
            agree(aggregate(rows), expected["results"][samples[0]["source"]], tolerance)
        assert [[r["inter"], r["union"]] for r in rows] == [v[:2] for v in expected["per_sample"]][: len(rows)]


def test_the_golden_file_of_lavt_through_the_profile_of_that_name():
    row, aggregate = PROFILES["refcoco/lavt480"].row, PROFILES["refcoco/lavt480"].aggregate
    for samples, expected, tolerance in cases("refcoco_lavt"):
        rows = [
            row(
                Target(kind=AnswerKind.MASK, size_hw=(480, 480), masks=(padded(s["target"]),)),
                Answer(masks=(padded(s["prediction"]),)),
            )
            for s in samples
        ]
        agree(aggregate(rows), expected, tolerance)
        assert [[r["inter"], r["union"]] for r in rows] == expected["per_sample"]


def test_a_flag_of_no_target_keeps_the_pixels_of_its_mask_in_the_union():
    """ReLA takes both from the data set: a record may say "no target" and have a mask all the same."""
    code, none = (Mask.from_box((0, 0, side, side), (20, 20)).to_json() for side in (10, 0))
    sample = {"source": "grefcoco", "declared_no_target": False, "target": code, "prediction": code, "no_target": False}
    odd = {**sample, "no_target": True, "prediction": none}
    told = SCORERS["gres_rela"].run({"samples": [sample, odd]})
    assert told["per_sample"] == [[100, 100, 1.0], [0, 100, 0.0]] and told["results"]["grefcoco"]["cIoU"] == 50
    told = SCORERS["gres_rela"].run({"samples": [sample, {**odd, "declared_no_target": True}]})
    assert told["per_sample"][1] == [0, 0, 1.0] and told["results"]["grefcoco"]["cIoU"] == 100


def test_grec_takes_the_box_with_the_highest_score_first():
    target = of_boxes((0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 20.0, 10.0))
    wide, moved = (0.0, 0.0, 12.0, 10.0), (-2.0, 0.0, 10.0, 10.0)  # both 5/6 with the first object
    primary, row = PROFILES["grec/mdetr"].primary, PROFILES["grec/mdetr"].row
    told = {
        scores: primary(row(target, Answer(boxes_xyxy=(wide, moved), scores=scores)))
        for scores in [(0.75, 0.875), (0.875, 0.75), (0.8, 0.8)]
    }
    assert told == {(0.75, 0.875): 1, (0.875, 0.75): 0.5, (0.8, 0.8): 0.5}
    assert primary(row(target, Answer(boxes_xyxy=(moved, wide)))) == 0.5, "the order of submission decides nothing"


def test_pairs_are_the_best_of_all_free_ones_again_and_again():
    rng = np.random.default_rng(2)
    for _ in range(300):
        values = rng.integers(0, 6, rng.integers(1, 7, 2)).astype(np.float32) / 5
        left, taken = values.copy(), []
        while left.max() >= 0.4:
            i, j = np.unravel_index(int(left.argmax()), left.shape)
            taken.append(float(left[i, j]))
            left[i, :] = left[:, j] = -1
        assert best_pairs(values, 0.4) == taken
    odd = np.array([[np.nan, 0.9], [-np.inf, 0.8]])
    assert best_pairs(odd, 0.5) == [0.9], "what is no number spoils no other pair"


def test_grec_cuts_scores_in_float64():
    box = (0.0, 0.0, 10.0, 10.0)
    kept = [
        PROFILES["grec/mdetr"].row(of_boxes(box), Answer(boxes_xyxy=(box,), scores=(s,)))["n_pred"]
        for s in (0.7, float(np.float32(0.7)), 0.7 - 1e-9)
    ]
    assert kept == [1, 0, 0]


@pytest.mark.parametrize(
    ("truth", "predicted", "pairs"),
    [
        ({"猫": [[0, 0, 10, 10]], "狗": [[50, 50, 60, 60]]}, {"猫": [[0, 0, 10, 10]]}, (2, 1, 1)),
        ({"café": [[0, 0, 10, 10]], "caf": [[5, 5, 9, 9]]}, {"Café 2": [[0, 0, 10, 10]]}, (2, 1, 1)),
        ({"car": [[0, 0, 10, 10]]}, {"Car": [[50, 50, 60, 60]], "c ar": [[0, 0, 10, 10]], "car": [[50, 50, 60, 60]]}, (1, 1, 1)),
        ({"lane 1": [[0, 0, 10, 10]], "lane 2": [[50, 50, 60, 60]]}, {"LANE": [[0, 0, 10, 10]]}, (1, 1, 0)),
    ],
)  # fmt: skip
def test_rexomni_compares_the_letters_of_any_script(truth, predicted, pairs):
    row = dense200_rexomni.row_from_dicts(truth, predicted)
    assert (row["n_gt"], row["n_pred"], row["matched"][0]) == pairs


def test_boxes_without_labels_are_wrong_where_labels_decide():
    """Leaving labels out must not be better than getting them wrong."""
    boxes = tuple((20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(3))
    for labels in (("car", "bus", "pedestrian"), ("car",) * 3):
        target = of_boxes(*boxes, labels=labels)
        for name in (
            "dense200/rexomni",
            "dense200/visharness",
            "visdrone/rexf1",
            "visdrone/toolkit",
            "visdrone/coco",
            "coco/ap",
        ):
            profile = PROFILES[name]
            for unlike in ((), ("van",) * 3):
                assert profile.primary(profile.row(target, Answer(boxes_xyxy=boxes, labels=unlike))) == 0, (
                    name,
                    unlike,
                )
            assert profile.primary(profile.row(target, Answer(boxes_xyxy=boxes, labels=labels))) == 1


def test_coco_thresholds_are_pycocotools_own():
    target = of_boxes((0.0, 0.0, 55.0, 50.6), labels=("cat",), size_hw=(200, 240))
    told = metrics("coco/ap", (target, Answer(boxes_xyxy=((0.0, 0.0, 55.0, 45.54),), labels=("cat",), scores=(0.9,))))
    assert told["AP"] == pytest.approx(0.9), "an IoU of 0.8999999999999999 is enough for the ninth threshold"
    assert tuple(np.linspace(0.5, 0.95, 10)) == coco_ap.LEAST


def test_labels_scores_and_crowds_of_masks_without_boxes():
    boxes = ((0, 0, 10, 10), (20, 0, 30, 10))
    target = Target(
        kind=AnswerKind.MASK, size_hw=SIZE, masks=masked(*boxes).masks, labels=("cat", "dog"), crowd=(False, False)
    )
    right = marks(*boxes, labels=("cat", "dog"), scores=(0.5, 0.9))
    assert metrics("coco/ap", (target, right))["AP"] == pytest.approx(1)
    assert metrics("coco/ap", (target, marks(*boxes, labels=("dog", "cat"))))["AP"] == 0
    assert metrics("coco/ap", (target, marks(*boxes)))["AP"] == 0
    assert Answer.from_json(json.loads(json.dumps(right.to_json()))) == right
    worse = marks(boxes[0], boxes[0], (40, 0, 50, 10), labels=("cat",) * 3, scores=(0.5, 0.9, 0.95))
    assert metrics("coco/ap", (target, worse))["AP"] == pytest.approx(0.25), "the best score of the category is a miss"
    spared = Target(kind=AnswerKind.MASK, size_hw=SIZE, masks=target.masks, labels=("cat", "cat"), crowd=(False, True))
    assert metrics("coco/ap", (spared, marks(boxes[0], labels=("cat",))))["AP"] == pytest.approx(1)


@pytest.mark.parametrize("x", [47.1, 47.0, 10.3, 33.3])
def test_the_toolkit_rounds_the_width_of_its_file(x):
    """(x + 22.5) - x may be 22.499999999999996; the file says 22.5, which is 23 px, and half of 23 is not inside 11."""
    image = {"size": [60, 120], "annotations": [[47, 0, 11, 60, 0, 0, 0, 0], [90, 40, 10, 10, 1, 4, 0, 0]],
             "detections": [[x, 10.0, 22.5, 10.0, 0.9, 4], [90.0, 40.0, 10.0, 10.0, 0.8, 4]]}  # fmt: skip
    told = SCORERS["visdrone_toolkit"].run({"images": [image]})
    assert (told["AP"], told["AR1"]) == (pytest.approx(50), 0)


@pytest.mark.parametrize(
    ("truth", "found", "ap"),
    [
        ([50, 10, 25, 10], [51.6, 10.0, 45.2, 10.0], 10),  # IoU 234 / 468 by the file, a little less by the corners
        ([22, 10, 54, 12], [22.0, 10.0, 48.6, 12.0], 80),  # a little below 0.9 by the file, 0.9 by the corners
    ],
)
def test_the_toolkit_multiplies_the_sides_of_its_file(truth, found, ap):
    image = {"size": [60, 120], "annotations": [[*truth, 1, 4, 0, 0]], "detections": [[*found, 0.9, 4]]}
    assert SCORERS["visdrone_toolkit"].run({"images": [image]})["AP"] == pytest.approx(ap)


@pytest.mark.parametrize(("place", "found"), [(0, 1), (449, 1), (499, 1), (500, 0)])
def test_the_toolkit_looks_at_the_first_500_boxes(place, found):
    car, far = (10.0, 10.0, 30.0, 30.0), (50.0, 30.0, 55.0, 35.0)
    boxes = [far] * 510
    boxes[place] = car
    scores = tuple(0.9 if i == place else 0.1 for i in range(510))
    target = of_boxes(car, labels=("car",))
    told = metrics("visdrone/toolkit", (target, Answer(boxes_xyxy=tuple(boxes), labels=("car",) * 510, scores=scores)))
    assert told["AR500"] == pytest.approx(100 * found)


def test_muirbench_tells_its_letters_from_its_texts():
    given = {"letters": ["A", "B"], "options": {"A": "red", "B": "blue", "C": "a third thing"}}
    run = SCORERS["muirbench"].run
    assert run({**given, "reply": "(C)"}) == {"choice": None, "by_chance": True}
    assert run({**given, "reply": "well then it must be a third thing"}) == {"choice": "C", "by_chance": False}
    guesses = run({"items": [{**given, "reply": "none"}] * 40})["choices"]
    assert set(guesses) == {"A", "B"}, "a guess is one of the letters"


def test_a_box_turned_round_is_near_nothing():
    boxes = np.array([(5.0, 5, 25, 25), (0, 0, 20, 20), (55, 35, 35, 15)])
    points = np.array([(15.0, 15), (45, 25)])
    assert rec8k_official.localised(boxes, points, SIZE) == (1, 2, 1)
    boxes[2] = boxes[2, [2, 3, 0, 1]]
    assert rec8k_official.localised(boxes, points, SIZE) == (2, 1, 0)
