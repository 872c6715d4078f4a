"""Means and log ratios over clusters: intervals, and permutation tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from probe.stats import (
    MIN_CLUSTERS,
    cluster_counts,
    cluster_rows,
    exchange_labels,
    percentile_bounds,
    permutation_test,
)

__all__ = [
    "FLOOR",
    "Doubles",
    "Estimate",
    "Ratio",
    "estimate_mean",
    "estimate_ratio",
    "exchanged",
    "swapped",
]

Doubles = NDArray[np.float64]

#: Lower bound of log2 ratios: without it, a region without mass would give minus infinity.
FLOOR = -10.0

#: Numerator and denominator, each of shape (n, columns), and a sign of +1 or −1. A statistic is the
#: sum over such terms of sign × log2(sum of numerator / sum of denominator).
Ratio = tuple[Doubles, Doubles, int]


class Estimate(NamedTuple):
    """An estimate with its bounds, as numbers or arrays; NaN where undefined."""

    value: Any
    low: Any
    high: Any


def _by_cluster(values: Doubles, clusters: NDArray[Any]) -> Doubles:
    """Sum values, shape (n, …), by cluster."""
    _, codes = np.unique(clusters, return_inverse=True)
    out = np.zeros((int(codes.max()) + 1, *values.shape[1:]))
    np.add.at(out, codes, values)
    return out


def estimate_mean(
    values: Doubles, clusters: NDArray[Any], n_resamples: int, ci: float, seed: int
) -> Estimate:
    """Estimate means over axis 0, with percentile intervals from the cluster bootstrap.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,) or (n, columns); rows with a NaN are left out.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Number of bootstrap resamples; confidence level; seed.

    Returns
    -------
    Estimate
        Means with bounds; bounds are NaN below five clusters.
    """
    kept = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    nan = np.full(values.shape[1:], np.nan)[()]
    if not kept.any():
        return Estimate(nan, nan, nan)
    values, clusters = values[kept], clusters[kept]
    sums, sizes = _by_cluster(values, clusters), _by_cluster(np.ones(len(values)), clusters)
    if len(sizes) < MIN_CLUSTERS:
        return Estimate(values.mean(axis=0), nan, nan)
    counts = cluster_counts(len(sizes), n_resamples, seed)
    draws = (counts @ sums) / (counts @ sizes).reshape(-1, *[1] * (values.ndim - 1))
    return Estimate(values.mean(axis=0), *percentile_bounds(draws, ci))


def swapped(
    one: Doubles, other: Doubles, clusters: NDArray[Any], n_permutations: int, seed: int
) -> float:
    """Return the two-sided p-value that two values per sample, shape (n,), differ in mean.

    The two values are swapped within clusters, for all samples of a cluster at once; clusters have
    the same weight. NaN below two clusters, or if nothing is defined.
    """
    kept = np.isfinite(one) & np.isfinite(other)
    if len(np.unique(clusters[kept])) < 2:
        return float("nan")
    values = np.concatenate([one[kept], other[kept]])
    labels = np.repeat([1, 0], kept.sum())
    both = np.column_stack([values, -values])
    found = permutation_test(both, labels, np.tile(clusters[kept], 2), n_permutations, seed)
    return float(min(1.0, 2 * found.p.min()))


def _log_ratios(terms: Sequence[tuple[Doubles, Doubles, int]]) -> Doubles:
    """Add signed log2 ratios, each at least `FLOOR`; NaN where a denominator is 0."""
    total: Doubles = np.zeros(terms[0][0].shape)
    for top, bottom, sign in terms:
        with np.errstate(invalid="ignore", divide="ignore"):
            total = total + sign * np.log2(np.maximum(top / bottom, 2.0**FLOOR))
    return np.where(np.all([term[1] > 0 for term in terms], axis=0), total, np.nan)


def estimate_ratio(
    terms: Sequence[Ratio], clusters: NDArray[Any], n_resamples: int, ci: float, seed: int
) -> Estimate:
    """Estimate a sum of signed log2 ratios of means per column, with intervals over clusters.

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Number of bootstrap resamples; confidence level; seed. Bounds are NaN below five clusters.
    """
    sums = [(_by_cluster(top, clusters), _by_cluster(low, clusters), s) for top, low, s in terms]
    value = _log_ratios([(top.sum(axis=0), low.sum(axis=0), s) for top, low, s in sums])
    n = len(sums[0][0])
    if n < MIN_CLUSTERS:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    counts = cluster_counts(n, n_resamples, seed)
    draws = _log_ratios([(counts @ top, counts @ low, sign) for top, low, sign in sums])
    low, high = percentile_bounds(draws, ci)
    known = np.isfinite(value)
    return Estimate(value, np.where(known, low, np.nan), np.where(known, high, np.nan))


def exchanged(
    terms: Sequence[Ratio],
    inside: NDArray[np.bool_],
    clusters: NDArray[Any],
    n_permutations: int,
    seed: int,
) -> Doubles:
    """Test whether a sum of signed log2 ratios differs between two sets of samples.

    Values are first averaged by cluster and set, so that clusters have the same weight in a set.
    Under the null hypothesis clusters are exchangeable between the sets; a cluster in both sets
    swaps its two means. The statistic is the difference divided by its standard error, computed
    again for each permutation. The test is therefore valid for sets of unequal variance, with many
    clusters (Chung and Romano 2013, doi:10.1214/13-AOS1090).

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    inside : numpy.ndarray
        Shape (n,), whether a sample is in the first set.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_permutations, seed : int
        Number of permutations in addition to the observed sets; seed.

    Returns
    -------
    numpy.ndarray
        Shape (columns,), two-sided p-values; NaN where a ratio is undefined.
    """
    stacked = np.concatenate([np.concatenate([top, low], axis=1) for top, low, _ in terms], axis=1)
    rows = cluster_rows(stacked, inside, clusters)
    # Each row is a cluster within a set; rows of one cluster share a code, so that they swap.
    codes = np.where(
        rows.partner >= 0,
        np.minimum(rows.partner, np.arange(len(rows.labels))),
        np.arange(len(rows.labels)),
    )
    drawn = exchange_labels(rows.labels, codes, n_permutations, seed)
    sets = np.concatenate([rows.labels[None], drawn]).astype(np.float64)
    signs = [term[2] for term in terms]
    one, spread = _side(sets, rows.values, signs)
    other, others_spread = _side(1 - sets, rows.values, signs)
    # The constant keeps differences that are rounding errors small if there is no variance.
    statistic = (one - other) / (np.sqrt(spread + others_spread) + 1e-6)
    with np.errstate(invalid="ignore"):
        # Sums in another order differ in the last digits.
        reached = np.abs(statistic) >= np.abs(statistic[0]) - 1e-9
    return np.where(np.isfinite(statistic[0]), reached.mean(axis=0), np.nan)


def _side(sets: Doubles, values: Doubles, signs: Sequence[int]) -> tuple[Doubles, Doubles]:
    """Return the statistic of one of the two sets and its variance, each (draws, columns).

    The variance is that of a function of means by the delta method, from values divided by their
    means.
    """
    size = sets.sum(axis=1, keepdims=True)
    each = np.split(values, 2 * len(signs), axis=1)
    means = [sets @ one / size for one in each]
    for k in range(len(signs)):
        means[2 * k] = np.maximum(means[2 * k], 2.0**FLOOR * means[2 * k + 1])
    value = _log_ratios([(means[2 * k], means[2 * k + 1], s) for k, s in enumerate(signs)])
    slopes = [s * way for s in signs for way in (1, -1)]
    square: Doubles = np.zeros(value.shape)
    for j, k in itertools.product(range(len(each)), repeat=2):
        with np.errstate(invalid="ignore", divide="ignore"):
            moment = sets @ (each[j] * each[k]) / size / (means[j] * means[k])
        square = square + slopes[j] * slopes[k] * moment
    # Means cancel in the residuals of a ratio; rounding can leave a negative trace.
    return value, np.maximum(square, 0) / np.log(2) ** 2 / size
