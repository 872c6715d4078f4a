"""Permutation tests of many units at once, with labels exchanged over clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probe.stats.metrics import Floats

__all__ = ["Permuted", "cluster_rows", "exchange_labels", "permutation_test"]

#: Statistics (permutation × unit), and weights (permutation × row), that are held at once.
BLOCK = 1 << 20


class Permuted(NamedTuple):
    """What `permutation_test` gives, each of shape (units,).

    Attributes
    ----------
    difference : numpy.ndarray
        Mean over fake rows − mean over real rows, in the unit of the values.
    statistic : numpy.ndarray
        The difference in standard deviations of its permutation distribution; 0 for a constant.
    p : numpy.ndarray
        One-sided p-value, in (0, 1].
    p_max : numpy.ndarray
        The same against the largest statistic of all units (maxT), which bounds the chance of any
        false finding in the family (Westfall and Young 1993).
    """

    difference: Floats
    statistic: Floats
    p: Floats
    p_max: Floats


@dataclass(frozen=True)
class _Rows:
    """Means by cluster and label: what may be exchanged.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (rows, units).
    labels : numpy.ndarray
        Shape (rows,).
    partner : numpy.ndarray
        Shape (rows,): position of the same cluster's row of the other label, or −1.
    where : numpy.ndarray
        Shape (n,): the row of every sample.
    """

    values: Floats
    labels: NDArray[np.bool_]
    partner: NDArray[np.int64]
    where: NDArray[np.int64]


def cluster_rows(values: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> _Rows:
    """Average values, shape (n, units), by cluster and label; each row then counts once."""
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
    """Draw labels that the null hypothesis of `permutation_test` makes as likely as the given.

    Parameters
    ----------
    labels, clusters : array_like
        Shape (n,), 0 real and 1 fake; any cluster labels.
    n_permutations : int
        How many draws; fewer come where swaps alone are fewer.
    seed : int
        Seed of the draws.

    Returns
    -------
    numpy.ndarray
        Shape (draws, n), without the labels as given.
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
    """Test, unit by unit, whether values are larger on fakes than on reals.

    Values are averaged by cluster and label first, so that a cluster counts once however many
    samples it has. Under the null hypothesis labels are exchangeable: within a cluster that holds
    both, its two rows swap; clusters that hold one label exchange it among each other. All units
    see the same permutations. Where swaps alone are fewer than `n_permutations`, all are taken.

    Parameters
    ----------
    values : array_like
        Shape (n, units), finite.
    labels : array_like
        Shape (n,), 0 real and 1 fake.
    clusters : array_like
        Shape (n,), any labels.
    n_permutations : int, default 9999
        Draws beside the observed labels; the smallest p is 1 / (n_permutations + 1).
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Permuted
        Differences, statistics, p-values.

    Raises
    ------
    ValueError
        If shapes do not belong together, a value is not finite or there is one class only.
    """
    rows = _checked(values, labels, clusters)
    center, scale = _null_moments(rows)
    safe = np.where(scale > 0, scale, 1.0)
    difference = _label_weights(rows, rows.labels[None])[0] @ rows.values
    observed = np.where(scale > 0, (difference - center) / safe, 0.0)
    above, above_max = np.zeros(len(observed)), np.zeros(len(observed))
    # Sums of the same terms in another order differ in their last digits.
    bar = observed - 1e-9
    n, step = 0, max(1, BLOCK // max(rows.values.shape))
    for labelings in _relabeled(rows, n_permutations, seed, step):
        block = _label_weights(rows, labelings)
        n += len(block)
        drawn = np.where(scale > 0, (block @ rows.values - center) / safe, 0.0)
        above += (drawn >= bar).sum(axis=0)
        above_max += len(drawn) - np.searchsorted(np.sort(drawn.max(axis=1)), bar)
    # Labels as observed are the first draw and count among the others.
    return Permuted(difference, observed, above / n, above_max / n)


def _checked(values: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> _Rows:
    data, y, groups = np.asarray(values), np.asarray(labels), np.asarray(clusters)
    if data.ndim != 2 or y.shape != (len(data),) or groups.shape != y.shape:
        raise ValueError(
            f"values {data.shape}, labels {y.shape} and clusters {groups.shape} do not belong "
            "together; they need shapes (n, units), (n,) and (n,)"
        )
    if not np.isfinite(data).all():
        raise ValueError("some values are not finite")
    if len(np.unique(y.astype(bool))) < 2:
        raise ValueError("all labels are the same; a test needs fakes and reals")
    return cluster_rows(data, y, groups)


def _label_weights(rows: _Rows, labelings: NDArray[np.bool_]) -> Floats:
    """Weight of every row under each relabeling, shape (draws, rows)."""
    fake, real = rows.labels.sum(), (~rows.labels).sum()
    return np.asarray(np.where(labelings, 1.0 / fake, -1.0 / real), dtype=np.float64)


def _relabeled(
    rows: _Rows, n_permutations: int, seed: int, step: int
) -> Iterator[NDArray[np.bool_]]:
    """Label of every row, shape (some, rows), under each relabeling; the first is as observed."""
    first = np.flatnonzero(rows.partner > np.arange(len(rows.labels)))
    alone = np.flatnonzero(rows.partner < 0)
    n_swaps, pure = len(first), rows.labels[alone]
    fixed = not len(pure) or pure.all() or not pure.any()
    every = bool(fixed and 2**n_swaps <= n_permutations + 1)
    total = 2**n_swaps if every else n_permutations + 1
    rng, others = np.random.default_rng(seed), np.random.PCG64(seed)
    # Exchanges are drawn after all swaps, each of which takes one step of the generator.
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
    """Mean and deviation of the difference over all relabelings, shape (units,)."""
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
    # Rounding leaves a trace of spread on constants.
    return center, np.where(scale > 1e-12 * (np.abs(x).max(axis=0) + 1e-300), scale, 0.0)
