"""Merging finds of different views by VisHarness's rules."""

from __future__ import annotations

import numpy as np
import pytest

from visenv import Image, Mask
from visenv.memory import NamedImage
from visenv.objects import DetectedObject
from visenv.toolsets._merge import merge_found

SIZE_HW = (100, 200)


def _view(name: str, box: tuple[int, int, int, int], depth: int) -> NamedImage:
    x1, y1, x2, y2 = box
    pixels = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    matrix = np.array([[1.0, 0, x1], [0, 1.0, y1]])
    return NamedImage(name=name, image=Image(pixels), source="img_0", to_source=matrix, origin="", depth=depth)


VIEWS = {
    v.name: v
    for v in (
        _view("img_0", (0, 0, 200, 100), 0),
        _view("left", (0, 0, 120, 100), 1),
        _view("right", (80, 0, 200, 100), 1),
        _view("img_0_4x", (0, 0, 200, 100), 1),
    )
}


def _find(box: tuple[int, int, int, int], score: float = 0.5) -> DetectedObject:
    mask = Mask.from_box(box, SIZE_HW)
    return DetectedObject(id=0, image="img_0", label="a", score=score, box_xyxy=tuple(map(float, box)), mask=mask)


@pytest.mark.parametrize(
    ("found", "boxes", "why"),
    [
        ({"img_0": [(10, 10, 30, 30)], "left": [(10, 10, 30, 31)]}, [(10, 10, 30, 31)], "the deeper of two equals stays"),
        ({"img_0": [(10, 10, 30, 30), (10, 10, 30, 31)]}, [(10, 10, 30, 31), (10, 10, 30, 30)], "one image: both stay"),
        ({"left": [(60, 10, 120, 30)], "right": [(80, 10, 140, 30)]}, [(60, 10, 140, 30)], "cut fragments are joined"),
        ({"left": [(90, 10, 108, 30)], "right": [(100, 10, 118, 30)]}, [(90, 10, 108, 30), (100, 10, 118, 30)], "no cut edge"),
        ({"img_0": [(60, 10, 120, 30)], "right": [(80, 10, 140, 30)]}, [(60, 10, 120, 30), (80, 10, 140, 30)], "a whole image has no cut edge"),
        ({"img_0_4x": [(60, 10, 120, 30)], "right": [(80, 10, 140, 30)]}, [(60, 10, 120, 30), (80, 10, 140, 30)], "an enlarged whole has none either"),
        ({"left": []}, [], "nothing found"),
    ],
)  # fmt: skip
def test_rules(found, boxes, why):
    merged = merge_found({name: [_find(b) for b in given] for name, given in found.items()}, VIEWS)
    assert sorted(o.mask.box_xyxy for o in merged) == sorted(boxes), why
