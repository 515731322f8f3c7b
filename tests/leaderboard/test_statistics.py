"""Means, clustered errors and intervals against hand values and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from visenv.leaderboard.statistics import clustered_mean, paired_difference

from visenv.errors import BadValueError


def test_hand_values():
    found = clustered_mean([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "c"])
    # residuals .25 -.75 .25 .25; cluster sums -.5 .25 .25; squares .25 .0625 .0625 = .375; times 3/2; root; over 4
    assert found.mean == 0.75
    assert found.standard_error == pytest.approx(math.sqrt(1.5 * 0.375) / 4, abs=1e-15)
    half = stats.t.ppf(0.975, 2) * found.standard_error
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half))
    assert (found.n, found.num_clusters) == (4, 3)


def test_singletons_give_the_textbook_interval():
    values = np.random.default_rng(0).random(17).tolist()
    found = clustered_mean(values, range(17), confidence=0.9)
    assert found.standard_error == pytest.approx(stats.sem(values), rel=1e-12)
    low, high = stats.t.interval(0.9, 16, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_copies_in_a_cluster_add_nothing():
    values = np.random.default_rng(1).random(9)
    once = clustered_mean(values.tolist(), range(9))
    thrice = clustered_mean(np.repeat(values, 3).tolist(), np.repeat(np.arange(9), 3).tolist())
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert thrice.n == 27


@pytest.mark.parametrize(("values", "mean"), [([], None), ([0.4], 0.4), ([0.4, 0.6], 0.5)])
def test_one_cluster_has_no_interval(values, mean):
    found = clustered_mean(values, ["one"] * len(values))
    assert found.mean == mean and found.standard_error is None and found.low is None and found.high is None


def test_paired_difference_is_of_shared_samples_only():
    rng = np.random.default_rng(2)
    first = {i: float(v) for i, v in enumerate(rng.random(12))}
    second = {i: v - 0.1 for i, v in list(first.items())[2:]} | {99: 1.0}
    found = paired_difference(first, second, {i: i // 2 for i in range(100)})
    assert found.n == 10 and found.num_clusters == 5
    assert found.mean == pytest.approx(0.1) and found.standard_error == pytest.approx(0, abs=1e-12)
    unequal = {i: float(v) for i, v in enumerate(rng.random(12))}
    test = stats.ttest_rel([first[i] for i in range(12)], [unequal[i] for i in range(12)])
    interval = test.confidence_interval()
    found = paired_difference(first, unequal, {i: i for i in range(12)})
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        effects = np.repeat(rng.normal(0, 1, 20), 4) + rng.normal(0, 1, 80)
        found = clustered_mean(effects.tolist(), np.repeat(np.arange(20), 4).tolist())
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_bad_arguments():
    with pytest.raises(BadValueError, match="clusters"):
        clustered_mean([1.0], [])
    with pytest.raises(BadValueError, match="confidence"):
        clustered_mean([1.0], [1], confidence=95)


@pytest.mark.parametrize(
    ("value", "low", "high"), [(1.0, 0.05**0.1, 1.0), (0.0, 0.0, 1 - 0.05**0.1), (0.5, None, None)]
)
def test_equal_values_are_not_certainty(value, low, high):
    found = clustered_mean([value] * 20, [i // 2 for i in range(20)], bounds=(0, 1))
    assert found.mean == value and found.standard_error == 0 and found.low < found.high
    if low is not None:
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    else:
        assert found.high - value == pytest.approx(value - found.low)
    bare = clustered_mean([value] * 20, range(20))
    assert bare.low == bare.high == value, "without bounds nothing else can be said"


def test_a_hundred_right_answers_are_the_rule_of_three():
    assert clustered_mean([1.0] * 100, range(100), bounds=(0, 1)).low == pytest.approx(1 - 3 / 100, abs=1e-3)
