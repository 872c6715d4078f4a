"""Confidence intervals by the cluster bootstrap."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from probe.stats.metrics import BLOCK, METRICS, Floats, Metric, Ranked

__all__ = [
    "MIN_CLUSTERS",
    "Interval",
    "bootstrap_metrics",
    "cluster_bootstrap",
    "cluster_counts",
    "cluster_weights",
    "percentile_bounds",
]

#: Minimum number of clusters for a bootstrap interval; with fewer, none is given.
MIN_CLUSTERS = 5

#: Sample weights (doubles) per call of a metric that is not in `METRICS`.
ROWS = 1 << 22


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes
    ----------
    estimate : float
        The statistic on all samples; NaN if it is not defined.
    low, high : float
        Bounds of the interval; NaN if there are fewer than `MIN_CLUSTERS` clusters.
    n_samples, n_clusters : int
        Number of samples and clusters.
    """

    estimate: float
    low: float
    high: float
    n_samples: int
    n_clusters: int


def cluster_weights(clusters: ArrayLike, n_resamples: int, seed: int) -> Floats:
    """Draw bootstrap weights of samples, with whole clusters drawn with replacement.

    Parameters
    ----------
    clusters : array_like
        Cluster of each sample, shape (n,), any labels.
    n_resamples : int
        Number of bootstrap resamples.
    seed : int
        Random seed.

    Returns
    -------
    numpy.ndarray
        Number of times each sample is drawn, shape (n_resamples, n), whole numbers.
    """
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return cluster_counts(int(codes.max()) + 1, n_resamples, seed)[:, codes]


def cluster_counts(n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """Draw the bootstrap count of each cluster, shape (n_resamples, n_clusters), whole numbers."""
    return np.concatenate([*_count_blocks(n_clusters, n_resamples, seed, n_resamples)])


def _count_blocks(n_clusters: int, n_resamples: int, seed: int, step: int) -> Iterator[Floats]:
    """Yield the draws of `cluster_counts`, at most `step` resamples at a time."""
    rng = np.random.default_rng(seed)
    share = np.full(n_clusters, 1.0 / n_clusters)
    for start in range(0, max(n_resamples, 1), max(step, 1)):
        size = min(step, n_resamples - start)
        yield rng.multinomial(n_clusters, share, size=size).astype(np.float64)


def percentile_bounds(draws: Floats, ci: float = 0.95) -> tuple[Floats, Floats]:
    """Return the bounds of a percentile interval over axis 0, ignoring NaN."""
    tail = 100 * (1 - ci) / 2
    with warnings.catch_warnings():
        # A statistic that is NaN in all resamples has the bounds NaN, without a warning.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def inverted_level(draws: Floats) -> Floats:
    """Return two-sided p-values of differences by inverting the percentile interval.

    The p-value is the level at which the interval just includes 0.

    Parameters
    ----------
    draws : numpy.ndarray
        Bootstrap draws of differences, shape (..., resamples); NaN are ignored.

    Returns
    -------
    numpy.ndarray
        P-values, shape (...), in (0, 1], with one draw added on either side. NaN if all draws are.

    References
    ----------
    Davison and Hinkley 1997, Bootstrap Methods and their Application, ch. 5.
    """
    there = np.isfinite(draws)
    n = there.sum(axis=-1)
    below, above = ((there & side).sum(axis=-1) for side in (draws <= 0, draws >= 0))
    p = np.minimum(2 * (np.minimum(below, above) + 1) / (n + 1), 1.0)
    return np.where(n > 0, p, np.nan)


def bootstrap_metrics(
    metrics: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike,
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Estimate several metrics with percentile intervals over the same cluster resamples.

    Scores are sorted once, and resamples are processed in blocks, so that memory grows with the
    number of samples, not with samples × resamples. The bounds equal those of
    `cluster_bootstrap` to the last bit.

    Parameters
    ----------
    metrics : sequence of str
        Names in `METRICS`.
    labels, scores, clusters
        As in `cluster_bootstrap`.
    n_resamples, ci, seed
        As in `cluster_bootstrap`.

    Returns
    -------
    dict of str to Interval
        Interval by metric; its bounds are NaN if there are fewer than `MIN_CLUSTERS` clusters.
    """
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    ranked = Ranked.of(labels, scores)
    # The estimate itself: one resample in which all samples have weight 1.
    values = ranked.measured(metrics, np.zeros_like(codes), np.ones((1, 1)))
    draws = np.empty((len(metrics), 0))
    if len(names) >= MIN_CLUSTERS:
        blocks = _count_blocks(len(names), n_resamples, seed, max(1, BLOCK // len(names)))
        draws = np.concatenate([ranked.measured(metrics, codes, one) for one in blocks], axis=1)
    return {
        name: _interval(float(value), drawn, ci, len(codes), len(names))
        for name, value, drawn in zip(metrics, values[:, 0], draws, strict=True)
    }


def cluster_bootstrap(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike,
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate a metric with a percentile interval over cluster resamples.

    Frames of one video, and videos of one identity, are not independent, so clusters are resampled,
    not samples (Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Resamples are
    processed in blocks to limit memory.

    Parameters
    ----------
    metric : callable
        Function from (labels, scores, weights) to one value per row of weights.
    labels, scores : array_like
        Labels (0 real, 1 fake) and scores of the samples, shape (n,).
    clusters : array_like
        Cluster of each sample, shape (n,), any labels.
    n_resamples : int, default 1000
        Number of bootstrap resamples; those without both classes are ignored.
    ci : float, default 0.95
        Confidence level of the interval, between 0 and 1.
    seed : int, default 0
        Random seed.

    Returns
    -------
    Interval
        Estimate and interval; the bounds are NaN if there are fewer than `MIN_CLUSTERS` clusters.
    """
    options: dict[str, Any] = {"n_resamples": n_resamples, "ci": ci, "seed": seed}
    for name, known in METRICS.items():
        if metric is known:
            return bootstrap_metrics([name], labels, scores, clusters, **options)[name]
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    estimate = float(metric(labels, scores, None)[0])
    draws = np.empty(0)
    if len(names) >= MIN_CLUSTERS:
        blocks = _count_blocks(len(names), n_resamples, seed, max(1, ROWS // len(codes)))
        draws = np.concatenate([metric(labels, scores, one[:, codes]) for one in blocks])
    return _interval(estimate, draws, ci, len(codes), len(names))


def _interval(
    estimate: float, draws: Floats, ci: float, n_samples: int, n_clusters: int
) -> Interval:
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(estimate, np.nan, np.nan, n_samples, n_clusters)
    tail = 100 * (1 - ci) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(estimate, float(low), float(high), n_samples, n_clusters)
