"""`visenv score`: files of targets and predictions, shorthands, and lines that are refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard.scoring import score_file, target_from_json
from visenv.tasks.profiles import PROFILES

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
        ("grec/mdetr", {}, {"box_xyxy": BOX, "score": 0.5}, "N_acc", 1),
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
        ("coco/ap", {"mask": ONE.to_json(), "label": "car"}, {"mask": ONE.to_json()}, "AP50", 1),
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
    assert target_from_json(data, AnswerKind.BOXES) == target
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
         {"mask": MASK, "boxes_xyxy": 3}, {"mask": MASK, "kind": "maks"}, {"mask": MASK, "crowd": [True]},
         {"no_target": True, "size_hw": [10**9, 10**9]}, {"no_target": True, "size_hw": [9, True]},
         {"mask": {"size": [1, 1], "counts": "9" * 9}})),
     *(json.dumps({**GOOD, "prediction": p}) for p in (
         [], 1.5, True, {"mask": {"size": [9, 9], "counts": "a2"}}, {"no_target": 1}, {"losses": [1, 2]}, {"more": 1},
         {"boxes_xyxy": [[1, 2, 3, "x"]]}, {"boxes_xyxy": [BOX], "scores": [1, 2]}, {"count": "3"}, {"choice": 3}))],
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
