"""AUROC and moments by cluster, so that resampling clusters costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from probe.stats import MIN_CLUSTERS, Floats, cluster_counts, percentile_bounds

__all__ = [
    "Pairs",
    "Spread",
    "Tally",
    "bounds",
    "columns_auroc",
    "pairs_of",
    "resampled",
    "spread_of",
    "tally",
]


@dataclass(frozen=True)
class Pairs:
    """How often a fake of one cluster scores above a real of another, ties counting one half.

    Attributes
    ----------
    wins, count : numpy.ndarray
        Shape (clusters, clusters): fakes of the row's cluster against reals of the column's.
    """

    wins: Floats
    count: Floats

    def auroc(self, counts: Floats | None = None) -> Floats:
        """AUROC with clusters counted so often, shape (resamples, clusters) to (resamples,)."""
        c = np.ones((1, len(self.wins))) if counts is None else counts
        top = np.einsum("rc,rc->r", c @ self.wins, c)
        bottom = np.einsum("rc,rc->r", c @ self.count, c)
        out: Floats = np.divide(top, bottom, out=np.full(len(c), np.nan), where=bottom > 0)
        return out


def pairs_of(
    labels: NDArray[np.bool_],
    scores: NDArray[Any],
    clusters: NDArray[np.int64],
) -> Pairs:
    """Compare every fake with every real, by cluster.

    Parameters
    ----------
    labels, scores : numpy.ndarray
        Shape (n,). Samples whose score is NaN are left out.
    clusters : numpy.ndarray
        Shape (n,), codes from 0.
    """
    n_clusters = int(clusters.max()) + 1
    wins, count = np.zeros((n_clusters, n_clusters)), np.zeros((n_clusters, n_clusters))
    scored = np.isfinite(scores)
    fakes, reals = np.flatnonzero(scored & labels), np.flatnonzero(scored & ~labels)
    if not len(fakes) or not len(reals):
        return Pairs(wins, count)
    rows, row = np.unique(clusters[fakes], return_inverse=True)
    by_cluster = reals[np.argsort(clusters[reals], kind="stable")]
    columns, starts = np.unique(clusters[by_cluster], return_index=True)
    for column, part in zip(columns, np.split(scores[by_cluster], starts[1:]), strict=True):
        ordered = np.sort(part)
        below = np.searchsorted(ordered, scores[fakes], "left")
        ties = np.searchsorted(ordered, scores[fakes], "right") - below
        wins[rows, column] = np.bincount(row, below + 0.5 * ties)
        count[rows, column] = np.bincount(row) * len(part)
    return Pairs(wins, count)


def columns_auroc(labels: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Floats, Floats]:
    """AUROC of many columns, shape (n, columns), each with labels of its own or the same for all.

    Returns
    -------
    auroc, pairs : numpy.ndarray
        Shape (columns,); NaN and 0 where a class is missing.
    """
    y = labels if labels.ndim == 2 else labels[:, None]
    ranks = rankdata(scores, axis=0)
    positive = y.sum(axis=0).astype(np.float64) * np.ones(scores.shape[1])
    negative = len(y) - positive
    pairs = positive * negative
    top = np.where(y, ranks, 0).sum(axis=0) - positive * (positive + 1) / 2
    return np.divide(top, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0), pairs


@dataclass(frozen=True)
class Tally:
    """Sums of a quantity by cluster and label, for class-balanced means.

    Attributes
    ----------
    sums, counts : numpy.ndarray
        Shape (clusters, classes).
    """

    sums: Floats
    counts: Floats

    def mean(self, counts: Floats | None = None) -> Floats:
        """Mean of the classes' means, shape (resamples, clusters) to (resamples,).

        NaN where a class that occurs in the data does not occur in the resample.
        """
        c = np.ones((1, len(self.sums))) if counts is None else counts
        there = self.counts.sum(axis=0) > 0
        bottom = c @ self.counts[:, there]
        means = np.divide(
            c @ self.sums[:, there], bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0
        )
        return np.asarray(means.mean(axis=1))


def tally(
    values: NDArray[Any], classes: NDArray[np.int64], clusters: NDArray[np.int64], n_classes: int
) -> Tally:
    """Sum values, shape (n,), by cluster and class; NaN values are left out."""
    kept, n_clusters = np.isfinite(values), int(clusters.max()) + 1
    where = clusters[kept] * n_classes + classes[kept]
    shape = (n_clusters, n_classes)
    sums = np.bincount(where, values[kept], minlength=n_clusters * n_classes)
    counts = np.bincount(where, minlength=n_clusters * n_classes)
    return Tally(
        np.asarray(sums, dtype=np.float64).reshape(shape), counts.reshape(shape).astype(np.float64)
    )


@dataclass(frozen=True)
class Spread:
    """Count, sum and sum of squares of scores by cluster and label.

    Attributes
    ----------
    moments : numpy.ndarray
        Shape (3, clusters, 2).
    """

    moments: Floats

    def dprime(self, counts: Floats | None = None) -> Floats:
        """Difference of the means of fakes and reals in pooled deviations, with n − 1 in each.

        Shape (resamples, clusters) to (resamples,); NaN where a label is missing.
        """
        c = np.ones((1, self.moments.shape[1])) if counts is None else counts
        n, total, squares = np.einsum("rc,mcl->mrl", c, self.moments)
        mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
        inside = (squares - n * mean**2).sum(axis=1)
        variance = np.divide(
            inside, n.sum(axis=1) - 2, out=np.full(len(c), np.nan), where=n.sum(axis=1) > 2
        )
        gap = mean[:, 1] - mean[:, 0]
        return np.asarray(
            np.divide(gap, np.sqrt(variance), out=np.full(len(c), np.nan), where=variance > 0)
        )


def spread_of(
    labels: NDArray[np.bool_], scores: NDArray[Any], clusters: NDArray[np.int64]
) -> Spread:
    """Take moments of scores, shape (n,), by cluster and label; NaN scores are left out."""
    kept = np.isfinite(scores)
    # Moments about the mean: sums of squares of large numbers lose their digits.
    center = float(scores[kept].mean()) if kept.any() else 0.0
    s, shape = scores[kept].astype(np.float64) - center, (int(clusters.max()) + 1, 2)
    where = 2 * clusters[kept] + labels[kept]
    sums = [np.bincount(where, w, minlength=2 * shape[0]) for w in (None, s, s**2)]
    return Spread(np.stack(sums).reshape(3, *shape).astype(np.float64))


def resampled(statistic: Any, n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """Take a statistic of cluster counts on resamples; NaN below five clusters.

    The same number of clusters and the same seed give the same resamples, so that what two
    detectors score on the same samples can be subtracted draw by draw.
    """
    if n_clusters < MIN_CLUSTERS or not n_resamples:
        return np.full(n_resamples, np.nan)
    return np.asarray(statistic(cluster_counts(n_clusters, n_resamples, seed)))


def bounds(
    statistic: Any, n_clusters: int, n_resamples: int, ci: float, seed: int
) -> tuple[float, float]:
    """Percentile interval of a statistic of cluster counts; NaN below five clusters."""
    draws = resampled(statistic, n_clusters, n_resamples, seed)
    if not np.isfinite(draws).any():
        return np.nan, np.nan
    low, high = percentile_bounds(draws, ci)
    return float(low), float(high)
