"""Run-length masks against dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visenv import Mask
from visenv.errors import BadValueError
from visenv.masks import box_iou_matrix, mask_iou_matrix, union_masks
from visenv.rle import rle_total

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=24)
DENSE = arrays(bool, SHAPES)


@settings(max_examples=200, deadline=None)
@given(dense=DENSE)
def test_a_mask_is_its_dense_array(dense):
    mask = Mask.from_dense(dense)
    np.testing.assert_array_equal(mask.to_dense(), dense)
    assert mask.area_px == dense.sum() and rle_total(mask.counts) == dense.size
    assert Mask.from_json(mask.to_json()) == mask
    x1, y1, x2, y2 = mask.box_xyxy
    np.testing.assert_array_equal(mask.crop_hw, dense[y1:y2, x1:x2])
    assert not dense.any() or (dense[y1:y2, x1:x2].sum() == dense.sum() and dense[:, x1].any() and dense[y2 - 1].any())
    assert Mask.from_crop(mask.crop_hw, (x1, y1), dense.shape) == mask


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_counts_of_two_masks(data, shape):
    a, b = (data.draw(arrays(bool, shape)) for _ in range(2))
    first, second = Mask.from_dense(a), Mask.from_dense(b)
    assert first.intersection_px(second) == (a & b).sum()
    assert first.minus(second) == Mask.from_dense(a & ~b)
    assert union_masks([first, second], shape) == Mask.from_dense(a | b)
    union = (a | b).sum()
    assert mask_iou_matrix([first], [second])[0, 0] == pytest.approx((a & b).sum() / union if union else 0)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), dense=DENSE, x=st.integers(-30, 30), y=st.integers(-30, 30))
def test_a_crop_is_cut_at_the_canvas(data, dense, x, y):
    height, width = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    canvas = np.zeros((height + 120, width + 120), bool)
    canvas[y + 60 : y + 60 + dense.shape[0], x + 60 : x + 60 + dense.shape[1]] = dense
    expected = canvas[60 : 60 + height, 60 : 60 + width]
    np.testing.assert_array_equal(Mask.from_crop(dense, (x, y), (height, width)).to_dense(), expected)


@settings(max_examples=300, deadline=None)
@given(counts=st.binary(max_size=30) | st.text("0123456789:;<=>?@ABCPQRSTUVWXYZ`abcmno", max_size=20).map(str.encode))
def test_hostile_codes_are_refused_before_they_are_decoded(counts):
    data = {"size": [7, 5], "counts": counts.decode("latin-1")}
    try:
        mask = Mask.from_json(data)
    except BadValueError:
        return
    assert mask.to_dense().shape == (7, 5)


@pytest.mark.parametrize(
    "data",
    [None, {}, {"size": [1], "counts": ""}, {"size": [0, 4], "counts": ""}, {"size": [10**9, 10**9], "counts": "1"}],
)
def test_other_json_is_refused(data):
    with pytest.raises(BadValueError):
        Mask.from_json(data)


@settings(max_examples=50, deadline=None)
@given(
    x=st.integers(0, 60),
    y=st.integers(0, 60),
    w=st.integers(4, 40),
    h=st.integers(4, 40),
    factor=st.sampled_from([2, 4]),
)
def test_an_enlarged_mask_maps_back(x, y, w, h, factor):
    small = Mask.from_box((x, y, x + w, y + h), (100, 100))
    large = Mask.from_box(tuple(factor * v for v in (x, y, x + w, y + h)), (100 * factor, 100 * factor))
    back = large.warp(np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]]), (100, 100))
    assert mask_iou_matrix([back], [small])[0, 0] > 0.7


def test_boxes_that_only_touch_do_not_overlap():
    np.testing.assert_array_equal(box_iou_matrix([(0, 0, 2, 2)], [(2, 0, 4, 2), (1, 0, 3, 2)]), [[0, 1 / 3]])
    assert box_iou_matrix([], [(0, 0, 1, 1)]).shape == (0, 1)
