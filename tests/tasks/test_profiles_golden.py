"""Our profiles against the numbers that the benchmarks' own code gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visenv.tasks.profiles import PROFILES, dense200_rexomni, rec8k_official

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def cases(name: str) -> list[Any]:
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(c, data["tolerance"]["absolute"], id=c["name"]) for c in data["cases"]]


def mask_target(mask: Mask, *, empty: bool) -> Target:
    return Target(kind=AnswerKind.MASK, size_hw=mask.size_hw, masks=() if empty else (mask,))


@pytest.mark.parametrize(("case", "tolerance"), cases("reasonseg_lisa"))
def test_reasonseg_lisa(case: dict[str, Any], tolerance: float) -> None:
    profile = PROFILES["reasonseg/lisa"]
    rows = []
    for sample in case["input"]["samples"]:
        truth, ignore, predicted = (Mask.from_json(sample[k]) for k in ("target", "ignore", "prediction"))
        answer = Answer(
            masks=(predicted.minus(ignore),)
        )  # the loader's business, until a target carries what to ignore
        rows.append(profile.row(mask_target(truth, empty=not truth.area_px), answer))
    assert [[r["inter"], r["union"]] for r in rows] == case["expected"]["per_sample"]
    got = profile.aggregate(rows)
    assert got == {k: pytest.approx(case["expected"][k], abs=tolerance) for k in ("gIoU", "cIoU")}


@pytest.mark.parametrize(("case", "tolerance"), cases("gres_rela"))
def test_gres_formulas(case: dict[str, Any], tolerance: float) -> None:
    profile = PROFILES["gres/native"]
    rows, sources = [], []
    for sample in case["input"]["samples"]:
        truth, predicted = Mask.from_json(sample["target"]), Mask.from_json(sample["prediction"])
        if not sample["no_target"] and not truth.area_px:
            target = mask_target(truth, empty=False)  # a target without pixels is not "no target"
        else:
            target = mask_target(truth, empty=sample["no_target"])
        rows.append(profile.row(target, Answer(no_target=sample["declared_no_target"], masks=(predicted,))))
        sources.append(sample["source"])
    assert [[r["inter"], r["union"], profile.primary(r)] for r in rows] == case["expected"]["per_sample"]
    for source, wanted in case["expected"]["results"].items():
        got = profile.aggregate([r for r, s in zip(rows, sources, strict=True) if source in (s, "full")])
        # over both sources together the official code prints no T_acc and N_acc
        assert {k: got[k] for k in wanted} == {k: pytest.approx(v, abs=tolerance) for k, v in wanted.items()}


@pytest.mark.parametrize(("case", "tolerance"), cases("dense200_rexomni"))
def test_dense200(case: dict[str, Any], tolerance: float) -> None:
    rows = [dense200_rexomni.row_from_dicts(s["gt"], s["pred"]) for s in case["input"]["samples"]]
    got = PROFILES["dense200/rexomni"].aggregate(rows)
    assert got == {k: pytest.approx(case["expected"][k], abs=tolerance) for k in got}


@pytest.mark.parametrize(("case", "tolerance"), cases("dense200_rexomni"))
def test_dense200_from_answers(case: dict[str, Any], tolerance: float) -> None:
    """The same through targets and answers, where those can say it: not categories without a single box."""
    if any(not boxes for s in case["input"]["samples"] for boxes in s["gt"].values()):
        pytest.skip("a category without boxes has no place in a Target")
    rows = []
    for sample in case["input"]["samples"]:
        flat = {side: [(b, name) for name, boxes in sample[side].items() for b in boxes] for side in ("gt", "pred")}
        if any(not boxes for boxes in sample["pred"].values()) and len(sample["pred"]) > 1:
            pytest.skip("an empty category among the predictions has no place in an Answer")
        target = Target(
            kind=AnswerKind.BOXES,
            size_hw=(1000, 1000),
            boxes_xyxy=tuple(tuple(b) for b, _ in flat["gt"]),
            labels=tuple(n for _, n in flat["gt"]),
        )
        answer = Answer(boxes_xyxy=tuple(tuple(b) for b, _ in flat["pred"]), labels=tuple(n for _, n in flat["pred"]))
        rows.append(PROFILES["dense200/rexomni"].row(target, answer))
    got = PROFILES["dense200/rexomni"].aggregate(rows)
    assert got == {k: pytest.approx(case["expected"][k], abs=tolerance) for k in got}


@pytest.mark.parametrize(("case", "tolerance"), cases("rec8k"))
def test_rec8k(case: dict[str, Any], tolerance: float) -> None:
    profile = PROFILES["rec8k/official"]
    rows = []
    for sample in case["input"]["samples"]:
        points = np.asarray(sample["gt_points"], float).reshape(-1, 2)
        boxes = tuple((x - 1, y - 1, x + 1, y + 1) for x, y in points)
        target = Target(kind=AnswerKind.COUNT, size_hw=tuple(sample["size"]), boxes_xyxy=boxes)
        rows.append(profile.row(target, Answer(boxes_xyxy=tuple(tuple(b) for b in sample["pred_boxes"]))))
    assert [[r["pred"], max(1, r["truth"]), r["tp"], r["fp"], r["fn"]] for r in rows] == case["expected"]["per_sample"]
    got = profile.aggregate(rows)
    for key in ("MAE", "RMSE", "precision", "recall", "F1"):
        if key in ("precision", "recall", "F1") and got[key] is None:
            assert not any(r["boxes"] for r in rows)
            continue
        assert got[key] == pytest.approx(case["expected"][key], abs=tolerance), key


def test_localised_limit_is_strict() -> None:
    box = np.array([[94.0, 92.0, 106.0, 108.0]])
    assert rec8k_official.localised(box, np.array([[106.0, 108.0]]), (256, 256)) == (0, 1, 1)
