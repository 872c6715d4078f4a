"""Intervals by the cluster bootstrap."""

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

#: With fewer clusters than this a bootstrap interval is not believable, and none is given.
MIN_CLUSTERS = 5

#: Weights of samples, doubles, that a metric which is not in `METRICS` is given at once.
ROWS = 1 << 22


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes
    ----------
    estimate : float
        The statistic on the sample; NaN where it is not defined.
    low, high : float
        Bounds; NaN where there are fewer than `MIN_CLUSTERS` clusters.
    n_samples, n_clusters : int
        What it rests on.
    """

    estimate: float
    low: float
    high: float
    n_samples: int
    n_clusters: int


def cluster_weights(clusters: ArrayLike, n_resamples: int, seed: int) -> Floats:
    """Draw how often each sample counts when whole clusters are drawn with replacement.

    Parameters
    ----------
    clusters : array_like
        Shape (n,), any labels.
    n_resamples : int
        How many resamples.
    seed : int
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Shape (n_resamples, n), whole numbers.
    """
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return cluster_counts(int(codes.max()) + 1, n_resamples, seed)[:, codes]


def cluster_counts(n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """Draw how often each cluster counts; shape (n_resamples, n_clusters), whole numbers."""
    return np.concatenate([*_count_blocks(n_clusters, n_resamples, seed, n_resamples)])


def _count_blocks(n_clusters: int, n_resamples: int, seed: int, step: int) -> Iterator[Floats]:
    """Draw what `cluster_counts` draws, at most `step` resamples at a time."""
    rng = np.random.default_rng(seed)
    share = np.full(n_clusters, 1.0 / n_clusters)
    for start in range(0, max(n_resamples, 1), max(step, 1)):
        size = min(step, n_resamples - start)
        yield rng.multinomial(n_clusters, share, size=size).astype(np.float64)


def percentile_bounds(draws: Floats, ci: float = 0.95) -> tuple[Floats, Floats]:
    """Take the bounds of a percentile interval over axis 0; NaN draws do not count."""
    tail = 100 * (1 - ci) / 2
    with warnings.catch_warnings():
        # A statistic that no resample defines has no interval: NaN, not a warning.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def inverted_level(draws: Floats) -> Floats:
    """Give the two-sided p at which a percentile interval would just touch 0.

    Parameters
    ----------
    draws : numpy.ndarray
        Of a difference, shape (..., resamples); NaN do not count.

    Returns
    -------
    numpy.ndarray
        Shape (...), above 0 and at most 1: one draw is added on either side. NaN of no draws.

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
    """Estimate several metrics with percentile intervals over the same resampled clusters.

    Scores are sorted once, and weights of samples are held for some resamples at a time: memory
    grows with the samples, not with samples × resamples. The bounds are those of
    `cluster_bootstrap`, to the last bit.

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
        By metric; without bounds (NaN) if there are fewer than `MIN_CLUSTERS` clusters.
    """
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    ranked = Ranked.of(labels, scores)
    # Without weights each sample is a resample's only cluster.
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
    """Estimate a metric with a percentile interval over resampled clusters.

    Frames of one video, and videos of one identity, are not independent, so clusters are drawn,
    not samples (Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Weights of samples
    are held for some resamples at a time.

    Parameters
    ----------
    metric : callable
        From (labels, scores, weights) to one value a row of weights.
    labels, scores : array_like
        Shape (n,).
    clusters : array_like
        Shape (n,), any labels.
    n_resamples : int, default 1000
        How many resamples; those without both classes do not count.
    ci : float, default 0.95
        Coverage.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    Interval
        Without bounds (NaN) if there are fewer than `MIN_CLUSTERS` clusters.
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
