"""Polygons to masks, and what refuses to be drawn. Pixel for pixel agreement is in test_profiles_golden."""

from __future__ import annotations

import numpy as np
import pytest
from visenv.tasks import rasters

from visenv.errors import BadValueError
from visenv.masks import Mask

SIZE = (60, 80)
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
MOVED = [20.0, 20.0, 40.0, 20.0, 40.0, 40.0, 20.0, 40.0]


def test_parts_are_joined_and_what_they_share_is_known():
    covered, overlap = rasters.coco_mask([SQUARE, MOVED], SIZE)
    assert covered.area_px == 2 * 400 - 100 and overlap.area_px == 100
    assert overlap == rasters.coco_mask([[20, 20, 30, 20, 30, 30, 20, 30]], SIZE)[0]
    assert rasters.coco_mask([SQUARE, SQUARE, SQUARE], SIZE)[1].area_px == 400
    assert [m.area_px for m in rasters.coco_mask([], SIZE)] == [0, 0]


def test_opencv_masks_are_fatter():
    points = [[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]
    target, ignore = rasters.lisa_masks([{"label": "target", "points": points}], SIZE)
    assert target.area_px == 21 * 21 and ignore.area_px == 0


def test_nearest_keeps_what_is_of_that_size():
    mask = Mask.from_box((3, 4, 30, 40), SIZE)
    assert rasters.nearest(mask, SIZE) is mask
    assert rasters.nearest(mask).size_hw == (480, 480)
    assert rasters.nearest(Mask.empty(SIZE)).area_px == 0


@pytest.mark.parametrize(
    "polygon",
    [[1, 2, 3, 4], [1, 2, 3, 4, 5], [], [1, 2, 3, 4, 5, float("nan")], [1, 2, 3, 4, 5, float("inf")],
     [1, 2, 3, 4, 5, 1e9], "abcdef", [[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, None], {"size": SIZE, "counts": "x"}, 7],
)  # fmt: skip
def test_hostile_polygons(polygon):
    with pytest.raises(BadValueError):
        rasters.coco_mask([polygon], SIZE)


@pytest.mark.parametrize(
    "shape",
    [{}, {"label": "a"}, {"label": 3, "points": [[1, 2]]}, {"label": "a", "points": []}, {"label": "a", "points": [1, 2]},
     {"label": "a", "points": [[1, 2, 3]]}, {"label": "a", "points": [[1, float("nan")]]}, {"label": "a", "points": [[1, 1e12]]},
     {"label": "a", "points": "ab"}, {"label": "a", "points": [["x", "y"]]}, None, 3],
)  # fmt: skip
def test_hostile_shapes(shape):
    with pytest.raises(BadValueError):
        rasters.lisa_masks([shape], SIZE)


def test_the_same_pixels_twice():
    rng = np.random.default_rng(0)
    shapes = [{"label": n, "points": (rng.random((7, 2)) * 60).tolist()} for n in ("target", "ignore", "flag", "x")]
    assert rasters.lisa_masks(shapes, SIZE) == rasters.lisa_masks(shapes, SIZE)
