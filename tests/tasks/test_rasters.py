"""Polygons to masks, and what refuses to be drawn. Pixel for pixel agreement is in test_profiles_golden."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image as Pillow
from visenv.tasks import rasters
from visenv.tasks.annotations import coco_of, mask_of

from visenv.errors import BadValueError
from visenv.masks import Mask, union_masks

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


def test_nearest_is_pillows():
    rng = np.random.default_rng(0)
    for size, wanted in zip(
        rng.integers(1, 700, (60, 2)).tolist(), rng.integers(1, 500, (60, 2)).tolist(), strict=True
    ):
        dense = rng.random(size) < 0.5
        resized = Pillow.fromarray(dense.view(np.uint8)).resize(wanted[::-1], Pillow.Resampling.NEAREST)
        found = rasters.nearest(Mask.from_dense(dense), tuple(wanted))
        assert found == Mask.from_dense(np.asarray(resized)), (size, wanted)


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


def zigzag(number: int, width: int, height: int) -> list[float]:
    return [v for k in range(number) for v in ((k % 2) * width, (k * 7) % height)]


@pytest.mark.parametrize(
    ("polygons", "size_hw", "word"),
    [
        ([[0, 0, 2**28, 1, 0, 1]], (1, 2**28), "8192"),
        ([zigzag(30_000, 8192, 16)], (16, 8192), "outlines"),
        ([zigzag(100_000, 640, 480)], (480, 640), "outlines"),
        ([zigzag(90, 640, 480)] * 2, (480, 640), "outlines"),
        ([[1, 1, 2, 1, 2, 2]] * 5001, (480, 640), "5000 at most"),
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_drawn(polygons, size_hw, word):
    started = time.perf_counter()
    with pytest.raises(BadValueError, match=word):
        rasters.coco_mask(polygons, size_hw)
    assert time.perf_counter() - started < 1


def test_an_outline_is_measured_on_the_canvas_that_it_is_drawn_on():
    flat = [0, -9000, 0, 9000, 8000, 0]
    rasters.coco_mask([flat], (1, 8000))
    with pytest.raises(BadValueError, match="outlines"):
        rasters.coco_mask_at([[flat]], (1, 8000))


def test_long_outlines_of_real_things_are_drawn():
    comb = [v for k in range(60) for v in (5 * k, 0, 5 * k, 400, 5 * k + 2, 400, 5 * k + 2, 0)]
    assert rasters.coco_mask([comb], (480, 640))[0].area_px > 10_000
    assert (
        rasters.lisa_masks([{"label": "x", "points": np.reshape(comb, (-1, 2)).tolist()}], (480, 640))[0].area_px
        > 10_000
    )


def test_the_same_pixels_twice():
    rng = np.random.default_rng(0)
    shapes = [{"label": n, "points": (rng.random((7, 2)) * 60).tolist()} for n in ("target", "ignore", "flag", "x")]
    assert rasters.lisa_masks(shapes, SIZE) == rasters.lisa_masks(shapes, SIZE)


def test_runs_without_length_are_written_anew():
    """Two of them at one place would make pycocotools stop joining masks there."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        dense = []
        masks = []
        for _ in range(2):
            runs = (rng.integers(0, 3, 12) * (rng.random(12) < 0.6)).tolist()
            runs.append(48 - sum(runs))
            values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
            dense.append(values.reshape(6, 8, order="F"))
            shape = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [6, 8], "counts": runs}}
            held = coco_of([], [shape], [], "a test").annotation(1)
            masks.append(mask_of(held, (6, 8))[0])
        assert masks == [Mask.from_dense(one) for one in dense]
        assert (union_masks(masks, (6, 8)).to_dense() == (dense[0] | dense[1])).all()
