"""Permutation tests of many units at once, with labels permuted over clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probe.stats.metrics import Floats

__all__ = ["Permuted", "cluster_rows", "exchange_labels", "permutation_test"]

#: Statistics (permutation × unit), and weights (permutation × row), per block.
BLOCK = 1 << 20


class Permuted(NamedTuple):
    """Result of `permutation_test`; each array has shape (units,).

    Attributes
    ----------
    difference : numpy.ndarray
        Mean over fakes − mean over reals, each over cluster means, in the unit of the values.
    statistic : numpy.ndarray
        The difference, centered and in standard deviations of its null distribution; 0 for a
        constant unit.
    p : numpy.ndarray
        One-sided p-value, in (0, 1].
    p_max : numpy.ndarray
        P-value against the largest statistic of all units (maxT), which controls the family-wise
        error rate (Westfall and Young 1993).
    """

    difference: Floats
    statistic: Floats
    p: Floats
    p_max: Floats


@dataclass(frozen=True)
class _Rows:
    """Means by cluster and label, which are the rows that the test permutes.

    Attributes
    ----------
    values : numpy.ndarray
        Means, shape (rows, units).
    labels : numpy.ndarray
        Label of each row, shape (rows,).
    partner : numpy.ndarray
        Index of the same cluster's row with the other label, or −1, shape (rows,).
    where : numpy.ndarray
        Row of every sample, shape (n,).
    """

    values: Floats
    labels: NDArray[np.bool_]
    partner: NDArray[np.int64]
    where: NDArray[np.int64]


def cluster_rows(values: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> _Rows:
    """Return the means of values, shape (n, units), by cluster and label."""
    data = np.asarray(values, dtype=np.float64)
    y = np.asarray(labels).astype(np.int64)
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    keys, where = np.unique(2 * codes + y, return_inverse=True)
    sums = np.zeros((len(keys), data.shape[1]))
    np.add.at(sums, where, data)
    other = np.searchsorted(keys, keys ^ 1)
    found = (other < len(keys)) & (keys[np.minimum(other, len(keys) - 1)] == keys ^ 1)
    means = sums / np.bincount(where)[:, None]
    return _Rows(means, keys % 2 == 1, np.where(found, other, -1), where)


def exchange_labels(
    labels: ArrayLike, clusters: ArrayLike, n_permutations: int, seed: int
) -> NDArray[np.bool_]:
    """Draw permuted labels under the null hypothesis of `permutation_test`.

    Parameters
    ----------
    labels, clusters : array_like
        Labels (0 real, 1 fake) and clusters of the samples, shape (n,).
    n_permutations : int
        Number of draws; fewer if there are fewer distinct permutations by swaps alone.
    seed : int
        Random seed.

    Returns
    -------
    numpy.ndarray
        Permuted labels, shape (draws, n), without the observed labels.
    """
    y = np.asarray(labels)
    rows = cluster_rows(np.zeros((len(y), 1)), y, clusters)
    drawn = np.concatenate([*_relabeled(rows, n_permutations, seed, n_permutations + 1)])
    return np.asarray(drawn[1:, rows.where])


def permutation_test(
    values: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Permuted:
    """Test for each unit whether its values are larger on fakes than on reals.

    Values are first averaged by cluster and label, so that every cluster has the same weight. Under
    the null hypothesis labels are exchangeable: the two means of a cluster with both labels are
    swapped, and clusters with one label exchange it with each other. All units use the same
    permutations. If only swaps are possible, and there are at most `n_permutations` + 1 of them,
    all are used.

    Parameters
    ----------
    values : array_like
        Finite values, shape (n, units).
    labels : array_like
        Labels, shape (n,): 0 for real, 1 for fake.
    clusters : array_like
        Cluster of each sample, shape (n,), any labels.
    n_permutations : int, default 9999
        Number of random permutations in addition to the observed labels; the smallest possible p
        is 1 / (n_permutations + 1).
    seed : int, default 0
        Random seed.

    Returns
    -------
    Permuted
        Differences, statistics and p-values.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite or there is only one class.
    """
    rows = _checked(values, labels, clusters)
    center, scale = _null_moments(rows)
    safe = np.where(scale > 0, scale, 1.0)
    difference = _label_weights(rows, rows.labels[None])[0] @ rows.values
    observed = np.where(scale > 0, (difference - center) / safe, 0.0)
    above, above_max = np.zeros(len(observed)), np.zeros(len(observed))
    # Tolerance: sums of the same terms in another order differ in their last digits.
    bar = observed - 1e-9
    n, step = 0, max(1, BLOCK // max(rows.values.shape))
    for labelings in _relabeled(rows, n_permutations, seed, step):
        block = _label_weights(rows, labelings)
        n += len(block)
        drawn = np.where(scale > 0, (block @ rows.values - center) / safe, 0.0)
        above += (drawn >= bar).sum(axis=0)
        above_max += len(drawn) - np.searchsorted(np.sort(drawn.max(axis=1)), bar)
    # The observed labels are the first draw and are included in the counts.
    return Permuted(difference, observed, above / n, above_max / n)


def _checked(values: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> _Rows:
    data, y, groups = np.asarray(values), np.asarray(labels), np.asarray(clusters)
    if data.ndim != 2 or y.shape != (len(data),) or groups.shape != y.shape:
        raise ValueError(
            f"values {data.shape}, labels {y.shape} and clusters {groups.shape} do not match; "
            "they need shapes (n, units), (n,) and (n,)"
        )
    if not np.isfinite(data).all():
        raise ValueError("some values are not finite")
    if len(np.unique(y.astype(bool))) < 2:
        raise ValueError("all labels are the same; a test needs fakes and reals")
    return cluster_rows(data, y, groups)


def _label_weights(rows: _Rows, labelings: NDArray[np.bool_]) -> Floats:
    """Return the weight of every row in the difference of means, shape (draws, rows)."""
    fake, real = rows.labels.sum(), (~rows.labels).sum()
    return np.asarray(np.where(labelings, 1.0 / fake, -1.0 / real), dtype=np.float64)


def _relabeled(
    rows: _Rows, n_permutations: int, seed: int, step: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield blocks of row labels, shape (draws, rows); the first draw is the observed labels."""
    first = np.flatnonzero(rows.partner > np.arange(len(rows.labels)))
    alone = np.flatnonzero(rows.partner < 0)
    n_swaps, pure = len(first), rows.labels[alone]
    fixed = not len(pure) or pure.all() or not pure.any()
    every = bool(fixed and 2**n_swaps <= n_permutations + 1)
    total = 2**n_swaps if every else n_permutations + 1
    rng, others = np.random.default_rng(seed), np.random.PCG64(seed)
    # Exchanges continue the random stream after all swaps, one step of the generator per swap.
    mixing = np.random.Generator(others.advance(total * n_swaps))
    for start in range(0, total, step):
        count = min(step, total - start)
        if every:
            numbers = np.arange(start, start + count)[:, None]
            swaps = (numbers >> np.arange(n_swaps)) & 1 > 0
        else:
            swaps = rng.random((count, n_swaps)) < 0.5
            swaps[: start == 0] = False
        drawn = np.broadcast_to(rows.labels, (count, len(rows.labels))).copy()
        drawn[:, first] ^= swaps
        drawn[:, rows.partner[first]] ^= swaps
        if not fixed:
            mixed = np.broadcast_to(pure, (count - (start == 0), len(pure)))
            drawn[int(start == 0) :, alone] = mixing.permuted(mixed, axis=1)
        yield drawn


def _null_moments(rows: _Rows) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the null distribution of the difference, (units,)."""
    x, y = rows.values, rows.labels
    a, b = 1.0 / y.sum(), 1.0 / (~y).sum()
    paired = (rows.partner >= 0) & y
    fake, real = x[paired], x[rows.partner[paired]]
    center = 0.5 * (a - b) * (fake + real).sum(axis=0)
    variance = (0.25 * (a + b) ** 2 * (fake - real) ** 2).sum(axis=0)
    alone = x[rows.partner < 0]
    if len(alone):
        share = y[rows.partner < 0].mean()
        center = center + (a * share - b * (1 - share)) * alone.sum(axis=0)
        spread = alone.var(axis=0, ddof=1) if len(alone) > 1 else np.zeros(x.shape[1])
        variance = variance + (a + b) ** 2 * len(alone) * share * (1 - share) * spread
    scale = np.sqrt(variance)
    # Rounding leaves a tiny deviation on constant units, which is set to 0.
    return center, np.where(scale > 1e-12 * (np.abs(x).max(axis=0) + 1e-300), scale, 0.0)
