"""Every profile names the code that it was compared with, and was, or says that it was not compared."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import visenv.tasks.profiles as room
from visenv.leaderboard.parity import run_file
from visenv.tasks.profiles import PROFILES

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask
from visenv.task import Profile

GOLDEN = {
    result.profile: result.official
    for result in map(run_file, sorted((Path(__file__).parents[1] / "golden").glob("*.json")))
    if "," not in result.profile  # files about targets
}
NOT_COMPARED = "from the description, not compared with running code"
CODE = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{8}|pycocotools \d+\.\d+\.\d+")
FORMULAS = {"gres/native": "gres/rela", "refcoco/native": "refcoco/lavt480", "visdrone/rexf1": "dense200/rexomni"}
"""Profiles with the formulas of another one, on other masks or boxes."""
RUN = ("coco/ap", "visdrone/coco")
"""Profiles of code that tests/tasks/test_profiles_ap.py runs on the same boxes and masks."""
DOCS = {
    name: module.__doc__ or ""
    for info in pkgutil.iter_modules(room.__path__)
    for module in [importlib.import_module(f"{room.__name__}.{info.name}")]
    for name in [one.name for one in vars(module).values() if isinstance(one, Profile)]
}


def test_every_profile_is_here():
    assert len(PROFILES) >= 26 and set(DOCS) == set(PROFILES)
    assert set(GOLDEN) <= set(PROFILES)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_source_is_code_that_was_compared_or_says_that_none_was(name):
    source = PROFILES[name].source
    if NOT_COMPARED in source:
        assert name not in GOLDEN and name not in FORMULAS and name not in RUN
        assert source.startswith("none") or CODE.match(source)
    else:
        said = CODE.match(source)
        assert said, source
        if name in FORMULAS:
            assert "formulas only: not " in source and said[0] == GOLDEN[FORMULAS[name]]
        elif name in RUN:
            assert said[0].startswith("pycocotools") and "in the tests" in source
        else:
            assert said[0] == GOLDEN[name], "a golden file has its numbers"


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_module_says_the_same(name):
    text = " ".join(DOCS[name].split())
    assert f"``{name}``" in text and "Source: " in text
    for code in CODE.findall(PROFILES[name].source):
        assert code in text
    if NOT_COMPARED in PROFILES[name].source:
        assert "not compared with running code" in text


def test_the_rasteriser_of_the_authors_is_named_where_it_draws_other_pixels():
    """Golden masks that OpenCV before 4.11 draws otherwise are counted in LISA's profile."""
    import json

    cases = json.loads((Path(__file__).parents[1] / "golden" / "reasonseg_lisa_raster.json").read_text())["cases"]
    pixels, sizes, ious = [], [], []
    older = [case["expected"] for case in cases if "opencv_4_8" in case["expected"]]
    for expected in older:
        for key, mask in expected["opencv_4_8"].items():
            old, new = (Mask.from_json(m).to_dense() for m in (mask, expected[key]))
            if (old != new).any():
                pixels.append(int((old != new).sum()))
                sizes += [int(old.sum()), int(new.sum())]
                ious.append((old & new).sum() / (old | new).sum())
    said = inspect.cleandoc(DOCS["reasonseg/lisa"]).replace("\n", " ")
    assert f"{len(older)} of the {len(cases)} golden annotations differ" in said
    assert f"by {min(pixels)} to {max(pixels)} pixels of a mask of {min(sizes)} to {max(sizes):,}" in said
    assert f"(IoU {min(ious):.3f} to {max(ious):.4f})" in said and "pin 4.8" in said


def test_native_profiles_are_the_golden_ones_at_their_size():
    rng = np.random.default_rng(3)
    for _ in range(4):
        truth, given = (
            Mask.from_box((*rng.uniform(0, 200, 2), *rng.uniform(200, 480, 2)), (480, 480)) for _ in range(2)
        )
        target = Target(kind=AnswerKind.MASK, size_hw=(480, 480), masks=(truth,))
        for answer in (Answer(masks=(given,)), Answer(masks=(given,), no_target=True), Answer(), None):
            for native, golden in list(FORMULAS.items())[:2]:
                rows = [PROFILES[name].row(target, answer) for name in (native, golden)]
                assert rows[0] == rows[1]
                assert PROFILES[native].aggregate(rows) == PROFILES[golden].aggregate(rows)


def test_rexf1_is_dense200s_where_nothing_is_ignored():
    box, other = (1.0, 1.0, 9.0, 9.0), (20.0, 20.0, 40.0, 30.0)
    target = Target(kind=AnswerKind.BOXES, size_hw=(50, 50), boxes_xyxy=(box, other), labels=("car", "bus"))
    for answer in (Answer(boxes_xyxy=(box, other), labels=("bus", "bus")), Answer(no_target=True), None):
        assert PROFILES["visdrone/rexf1"].row(target, answer) == PROFILES["dense200/rexomni"].row(target, answer)
