"""Means and log ratios over clusters: intervals, and tests by exchange of clusters."""

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

#: No log2 ratio is below this: a region without any mass would else be infinitely far from even.
FLOOR = -10.0

#: A numerator and a denominator, each of shape (n, columns), and +1 or −1. A statistic is the
#: sum, over such terms, of the sign times log2 of (sum of numerator / sum of denominator).
Ratio = tuple[Doubles, Doubles, int]


class Estimate(NamedTuple):
    """An estimate with its bounds, numbers or arrays; NaN where not defined."""

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
    """Estimate means over axis 0 with percentile intervals over resampled clusters.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,) or (n, columns); rows with a NaN do not count.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Of the bootstrap.

    Returns
    -------
    Estimate
        Without bounds (NaN) below five clusters.
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
    """Test whether two values a sample, shape (n,), differ in mean; two-sided p.

    The two are swapped within clusters, all samples of a cluster at once; clusters count once.
    NaN below two clusters, or where nothing is defined.
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
    """Add up signed log2 ratios, none below `FLOOR`; NaN where a denominator is 0."""
    total: Doubles = np.zeros(terms[0][0].shape)
    for top, bottom, sign in terms:
        with np.errstate(invalid="ignore", divide="ignore"):
            total = total + sign * np.log2(np.maximum(top / bottom, 2.0**FLOOR))
    return np.where(np.all([term[1] > 0 for term in terms], axis=0), total, np.nan)


def estimate_ratio(
    terms: Sequence[Ratio], clusters: NDArray[Any], n_resamples: int, ci: float, seed: int
) -> Estimate:
    """Estimate a sum of signed log2 ratios of means, column by column, over clusters.

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Of the bootstrap; without bounds (NaN) below five clusters.
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

    Values are averaged by cluster and set first, so that a cluster counts once in a set. Under
    the null hypothesis clusters are exchangeable between the sets; a cluster that stands in both
    swaps its two means. The statistic is the difference over its standard error, computed anew
    for every exchange, so that sets of unequal spread are told apart by their level alone, nearly
    so for many clusters (Chung and Romano 2013, doi:10.1214/13-AOS1090).

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    inside : numpy.ndarray
        Shape (n,), which of the two sets.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_permutations, seed : int
        Of the draws beside the sets as observed.

    Returns
    -------
    numpy.ndarray
        Shape (columns,), two-sided p-values; NaN where a ratio is not defined.
    """
    stacked = np.concatenate([np.concatenate([top, low], axis=1) for top, low, _ in terms], axis=1)
    rows = cluster_rows(stacked, inside, clusters)
    # Every row a cluster of its own set; partners share a code so that they swap.
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
    # Not quite nought: values without any spread differ by rounding only.
    statistic = (one - other) / (np.sqrt(spread + others_spread) + 1e-6)
    with np.errstate(invalid="ignore"):
        # Sums of the same terms in another order differ in their last digits.
        reached = np.abs(statistic) >= np.abs(statistic[0]) - 1e-9
    return np.where(np.isfinite(statistic[0]), reached.mean(axis=0), np.nan)


def _side(sets: Doubles, values: Doubles, signs: Sequence[int]) -> tuple[Doubles, Doubles]:
    """Statistic of one of the two sets and its variance, each of shape (draws, columns).

    The variance is that of a function of means (the delta method): of residuals in which each
    value is divided by its mean.
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
    # In residuals, means cancel where every ratio's own do; rounding may leave a trace below 0.
    return value, np.maximum(square, 0) / np.log(2) ** 2 / size
