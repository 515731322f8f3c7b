"""Our profiles against the numbers that the benchmarks' own code gives: every case, through the code of `visenv parity`."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from visenv.leaderboard.golden_cases import SCORERS
from visenv.leaderboard.parity import CaseResult, run_file
from visenv.tasks.profiles import PROFILES

from visenv.answers import Answer, AnswerKind, Target

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.json"))


@functools.cache
def results(path: Path) -> dict[str, CaseResult]:
    return {case.name: case for case in run_file(path).cases}


CASES = [(path, case["name"]) for path in FILES for case in json.loads(path.read_text(encoding="utf-8"))["cases"]]


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{path.stem}/{name}" for path, name in CASES])
def test_case(path: Path, name: str) -> None:
    result = results(path)[name]
    assert result.ok and result.is_compared, (result.got, result.error)


def test_every_scorer_has_a_file_and_a_profile() -> None:
    assert sorted(SCORERS) == [path.stem for path in FILES]
    assert {scorer.profile.split(",")[0] for scorer in SCORERS.values()} <= set(PROFILES)


def _sayable(sample: dict) -> bool:
    """Whether targets and answers can hold a sample: not categories without a single box."""
    boxes = [*sample["gt"].values(), *(v for v in sample["pred"].values() if len(sample["pred"]) > 1)]
    return all(boxes)


DENSE = json.loads((GOLDEN / "dense200_rexomni.json").read_text(encoding="utf-8"))
SAYABLE = [c for c in DENSE["cases"] if all(map(_sayable, c["input"]["samples"]))]


@pytest.mark.parametrize("case", SAYABLE, ids=[c["name"] for c in SAYABLE])
def test_dense200_from_answers(case: dict) -> None:
    """The golden file gives boxes by category; targets and answers give the same numbers."""
    rows = []
    for sample in case["input"]["samples"]:
        flat = {side: [(b, name) for name, boxes in sample[side].items() for b in boxes] for side in ("gt", "pred")}
        target = Target(
            kind=AnswerKind.BOXES, size_hw=(1000, 1000), boxes_xyxy=tuple(tuple(b) for b, _ in flat["gt"]),
            labels=tuple(n for _, n in flat["gt"]),
        )  # fmt: skip
        answer = Answer(boxes_xyxy=tuple(tuple(b) for b, _ in flat["pred"]), labels=tuple(n for _, n in flat["pred"]))
        rows.append(PROFILES["dense200/rexomni"].row(target, answer))
    got = PROFILES["dense200/rexomni"].aggregate(rows)
    assert got == {k: pytest.approx(case["expected"][k], abs=DENSE["tolerance"]["absolute"]) for k in got}
