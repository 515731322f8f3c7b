"""Means with the uncertainty that comes from having asked only some samples. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from visenv.errors import bad_value

__all__ = ["Estimate", "clustered_mean", "paired_difference"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean and how sure it is. What is not defined is ``None``."""

    mean: float | None
    """``None`` without values."""
    standard_error: float | None
    """``None`` with fewer than two clusters."""
    low: float | None
    """Lower end of the confidence interval."""
    high: float | None
    n: int
    """Number of values."""
    num_clusters: int


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Return the mean of values that come in clusters, with its standard error and confidence interval.

    With G clusters, residuals e and n values, the standard error is
    ``sqrt(G / (G - 1) * sum_g (sum_{i in g} e_i)^2) / n``; the interval takes the t distribution with G - 1 degrees of
    freedom. With one value per cluster that is the textbook ``s / sqrt(n)``.

    Where all values are equal that interval has no width, however few they are. With ``bounds`` it then says what is
    really known: seen in none of G clusters, other values have a share of at most ``1 - (1 - confidence)^(1 / G)``, and
    could lie at either bound.

    Args:
        values: One number per sample.
        clusters: The cluster of each.
        confidence: Of the interval, between 0 and 1.
        bounds: The least and the greatest value there can be.

    Raises:
        BadValueError: Lists of different length, or a confidence that is none.

    Example:
        >>> clustered_mean([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"]).standard_error
        0.5

    Source: E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640, equation 4 (the sum over clusters); the factor
    G / (G - 1) and the t distribution follow Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference",
    Journal of Human Resources 50 (2015), section VI; equal values as in Hanley and Lippman-Hand, "If Nothing Goes Wrong,
    Is Everything All Right?", JAMA 249 (1983), of which 3 / n is the short form.
    """
    if len(values) != len(clusters):
        raise bad_value("clusters", len(clusters), expected=f"one per value, {len(values)}")
    if not 0 < confidence < 1:
        raise bad_value("confidence", confidence, expected="a number between 0 and 1")
    n = len(values)
    num_clusters = len(set(clusters))
    if not n:
        return Estimate(mean=None, standard_error=None, low=None, high=None, n=0, num_clusters=0)
    mean = math.fsum(values) / n
    if num_clusters < 2:
        return Estimate(mean=mean, standard_error=None, low=None, high=None, n=n, num_clusters=num_clusters)
    residuals: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        residuals.setdefault(cluster, []).append(value - mean)
    squares = math.fsum(math.fsum(group) ** 2 for group in residuals.values())
    error = math.sqrt(num_clusters / (num_clusters - 1) * squares) / n
    if bounds is not None and min(values) == max(values):
        share = 1 - (1 - confidence) ** (1 / num_clusters)
        low, high = mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)
        return Estimate(mean=mean, standard_error=0.0, low=low, high=high, n=n, num_clusters=num_clusters)
    half = float(special.stdtrit(num_clusters - 1, 0.5 + confidence / 2)) * error
    return Estimate(mean=mean, standard_error=error, low=mean - half, high=mean + half, n=n, num_clusters=num_clusters)


def paired_difference(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    clusters: Mapping[Hashable, Hashable],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Return how much better ``first`` is than ``second`` on the samples that both have.

    Args:
        first: Score by sample.
        second: Score by sample.
        clusters: The cluster of every shared sample.
        confidence: Of the interval.

    Example:
        >>> paired_difference({1: 1.0, 2: 0.5}, {1: 0.5, 2: 0.5, 3: 0.9}, {1: "a", 2: "b"}).mean
        0.25

    Source: as :func:`clustered_mean`, on the differences (Miller, section 4.2).
    """
    shared = [key for key in first if key in second]
    return clustered_mean([first[k] - second[k] for k in shared], [clusters[k] for k in shared], confidence=confidence)
