"""Codes that are measured many at once, against a reader that goes digit by digit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visenv import Mask
from visenv.errors import BadValueError
from visenv.masks import intersection_and_areas, read_masks, union_masks
from visenv.rle import MAX_PX, measure, number, rle_total, runs_of

RUNS = st.lists(st.sampled_from([0, 0, 1, 2, 5, 15, 16, 31, 32, 500, 10**6, MAX_PX]) | st.integers(0, 70), max_size=40)
TEXTS = st.binary(max_size=20) | st.lists(st.integers(48, 111), max_size=30).map(bytes)


def encoded(runs):
    """Write runs as pycocotools does."""
    return b"".join(number(run - (runs[i - 2] if i > 2 else 0)) for i, run in enumerate(runs))


def read(code):
    """Return the runs of a code, digit by digit, or ``None``."""
    runs, value, place = [], 0, 0
    for char in code:
        digit = char - 48
        if not 0 <= digit < 64 or place == 6:
            return None
        value |= (digit & 31) << 5 * place
        place += 1
        if digit & 32:
            continue
        runs.append(value - (digit >> 4 << 5 * place) + (runs[-2] if len(runs) > 2 else 0))
        value = place = 0
    return runs if runs and not place and all(0 <= run <= MAX_PX for run in runs) else None


@settings(max_examples=300, deadline=None)
@given(codes=st.lists(RUNS.map(encoded) | TEXTS, max_size=6))
def test_codes_together_say_what_each_says_alone(codes):
    found = measure(codes)
    for code, total, marked, is_plain in zip(codes, *found, strict=True):
        runs = read(code)
        if runs is None:
            assert (total, marked, is_plain) == (-1, 0, False)
        else:
            assert (total, marked) == (sum(runs), sum(runs[1::2])) and runs_of(code).tolist() == runs
            assert is_plain == (encoded(runs) == code and 0 not in runs[1:])


def test_sums_that_wrap_are_seen():
    """Runs whose sum is the size only modulo 2**64 or 2**32 are no mask of that size; pycocotools would read on and on."""
    huge = number(2**39) * 8193
    assert rle_total(huge) == -1
    for runs in ([2**27] * 32 + [12], [0, MAX_PX + 1], [5, 2**32 - 5, 12], [5, MAX_PX, 7, 2**29 - 1, 7, 2**30 - 2]):
        assert rle_total(encoded(runs)) == (sum(runs) if max(runs) <= MAX_PX else -1)
        with pytest.raises(BadValueError, match="add up"):
            Mask.from_json({"size": [3, 4], "counts": encoded(runs).decode()})


@pytest.mark.parametrize(
    ("runs", "same"),
    [
        ([2, 1, 0, 1, 2], [2, 2, 2]),
        ([2, 2, 2, 0], [2, 2, 2]),
        ([0, 0, 6], [6]),
        ([0, 3, 0, 3], [0, 6]),
        ([3, 0, 3], [6]),
    ],
)
def test_codes_of_equal_pixels_are_equal_masks(runs, same):
    """A code with empty runs, on which pycocotools stops early when it merges, is written anew."""
    odd = Mask.from_json({"size": [2, 3], "counts": encoded(runs).decode()})
    plain = Mask.from_json({"size": [2, 3], "counts": encoded(same).decode()})
    assert odd == plain == Mask.from_dense(plain.to_dense())
    assert odd.area_px == plain.to_dense().sum()
    assert intersection_and_areas(odd, odd) == (odd.area_px,) * 3


def test_a_digit_too_many_changes_nothing():
    spare = Mask.from_json({"size": [2, 3], "counts": "R022"})  # 2 as two digits
    assert spare == Mask.from_json({"size": [2, 3], "counts": "222"}) and spare.counts == b"222"


def test_masks_read_together_and_those_that_were_read_already():
    rng = np.random.default_rng(0)
    masks = [Mask.from_dense(rng.random((30, 20)) < share) for share in (0, 0.1, 0.5, 1)]
    told = read_masks([m.to_json() for m in masks])
    assert told == masks and [m.area_px for m in told] == [int(m.to_dense().sum()) for m in masks]
    assert read_masks([masks[0], masks[1].to_json()]) == masks[:2] and read_masks([]) == []
    with pytest.raises(BadValueError, match="add up"):
        read_masks([masks[0].to_json(), {"size": [3, 3], "counts": "a2"}])


def test_a_mask_without_pixels_costs_nothing():
    tracemalloc.start()
    empty = Mask.empty((8192, 16384))
    assert empty.area_px == 0 and union_masks([], (8192, 16384)) == empty
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert Mask.empty((7, 5)) == Mask.from_dense(np.zeros((7, 5), bool))
    for size in ((0, 5), (5, 0)):
        with pytest.raises(BadValueError):
            Mask.empty(size)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), dense=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)),
)  # fmt: skip
def test_rows_and_columns_are_taken_as_from_an_array(data, dense):
    rows, columns = (
        np.array(sorted(data.draw(st.lists(st.integers(0, side - 1), min_size=1, max_size=20)))) for side in dense.shape
    )
    assert Mask.from_dense(dense).take(rows, columns) == Mask.from_dense(dense[rows][:, columns])
